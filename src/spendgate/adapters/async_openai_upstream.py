"""Any OpenAI-compatible model server from an event loop: one call per hold, never retried.

aiohttp takes a third of httpx's time per call (measured, docs/benchmarks.md).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import CoroutineType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from spendgate.adapters.credentials import Headers
from spendgate.adapters.json_bytes import json_bytes
from spendgate.adapters.model_server import ModelServer
from spendgate.adapters.openai_answer import (
    ANSWER_BYTES_MAX,
    REQUEST_HEADERS,
    is_event_stream,
    parsed_answer,
    retry_after_seconds,
)
from spendgate.errors import CredentialsError
from spendgate.gateway.begun import Begun
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent, UpstreamOutcome

_NOT_SENT: tuple[type[Exception], ...] = (
    CredentialsError,
    aiohttp.ClientConnectorError,  # with its kinds for DNS and TLS
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)
_LOST: tuple[type[Exception], ...] = (aiohttp.ClientError, TimeoutError, OSError)
# Above this size parsing takes milliseconds, in which the event loop would serve nobody else.
_THREAD_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024


class _PromptRequest(aiohttp.ClientRequest):
    """Is written when it is sent, and not a turn of the loop later, as from Python 3.12 on."""

    def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> "CoroutineType[Any, Any, None]":
        return _rest(Begun(super().write_bytes(writer, conn, content_length)))


async def _rest(begun: Begun[None]) -> None:
    if not begun.is_over:
        await begun


class AsyncOpenAIUpstream:
    """One model server; its connections belong to the event loop of its first call."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self.name = server.spec.name
        self._timeout = aiohttp.ClientTimeout(
            total=server.timeout_seconds,
            sock_connect=server.connect_seconds,
            ceil_threshold=server.timeout_seconds + 1,
        )
        self._session: aiohttp.ClientSession | None = None

    async def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Send one body and read the whole answer.

        A failure before the request was written can't have been billed; a later one may have been.
        """
        try:
            key, response = await self._post(route, body)
            return await self._answer(response, key)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except _LOST as error:
            return UpstreamLost(type(error).__name__)

    async def stream(
        self, route: str, body: Mapping[str, object]
    ) -> "UpstreamOutcome | AsyncOpenAIUpstreamStream":
        """Send one body that asks for a stream."""
        try:
            key, response = await self._post(route, body)
            if is_event_stream(response.status, response.headers.get("content-type", "")):
                return AsyncOpenAIUpstreamStream(response)
            return await self._answer(response, key)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except _LOST as error:
            return UpstreamLost(type(error).__name__)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(
        self, route: str, body: Mapping[str, object]
    ) -> tuple[Headers, aiohttp.ClientResponse]:
        try:
            key = self._server.credentials.ready()
            if key is None:
                key = await asyncio.to_thread(self._server.credentials)
            sent = self._server.request(route, body)
        except CredentialsError as error:
            self._server.report(error)
            raise
        content = json_bytes(sent.body)
        session = self._session
        if session is None:
            session = self._session = self._opened()
        headers = {**sent.headers, **key}
        response = await session.post(
            sent.url, data=content, headers=headers, allow_redirects=False
        )
        return key, response

    async def _answer(self, response: aiohttp.ClientResponse, key: Headers) -> UpstreamOutcome:
        outcome = await _whole(response)
        if isinstance(outcome, UpstreamAnswer) and self._server.is_renewed(outcome.status, key):
            return replace(outcome, is_key_renewed=True)
        return outcome

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=REQUEST_HEADERS,
            timeout=self._timeout,
            # A call in flight is what costs, not its connection: the budgets limit those.
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=self._server.limits.keepalive_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("user-agent",),
            trust_env=False,
            request_class=_PromptRequest,
        )


class AsyncOpenAIUpstreamStream:
    """An answer that comes in pieces, within its call's time and size."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._bytes = 0

    async def read(self) -> bytes | UpstreamLost | None:
        """Return the next bytes, None at a clean end, or how the rest was lost."""
        try:
            piece = await self._response.content.readany()
        except _LOST as error:
            return UpstreamLost(type(error).__name__)
        self._bytes += len(piece)
        if self._bytes > ANSWER_BYTES_MAX:
            return UpstreamLost("the answer is too long")
        return piece or None

    def close(self) -> None:
        """Give the connection back, or end it if the answer isn't read to its end."""
        # At the end mark the transfer's last bytes are mostly here, and the connection is kept;
        # else `close` ends it and wakes a `read` that waits, which `release` would not.
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


async def _whole(response: aiohttp.ClientResponse) -> UpstreamOutcome:
    try:
        answer = bytearray()
        while not response.content.at_eof():
            answer += await response.content.read(_PIECE_BYTES)
            if len(answer) > ANSWER_BYTES_MAX:
                return UpstreamLost("the answer is too long")
    finally:
        response.release()  # which closes the connection of an answer that isn't read to its end
    if len(answer) > _THREAD_BYTES:
        document = await asyncio.to_thread(parsed_answer, bytes(answer))
    else:
        document = parsed_answer(bytes(answer))
    retry_after = retry_after_seconds(response.headers.get("retry-after", ""))
    return UpstreamAnswer(response.status, document, retry_after)
