"""Any OpenAI-compatible model server from an event loop: one call per hold, never retried.

aiohttp takes a third of httpx's time per call (measured, docs/benchmarks.md).
"""

import asyncio
import json
from collections.abc import Mapping

import aiohttp

from spendgate.adapters.openai_answer import (
    ANSWER_BYTES_MAX,
    KEEPALIVE_SECONDS,
    is_event_stream,
    parsed_answer,
    request_headers,
    retry_after_seconds,
    shown_host,
)
from spendgate.adapters.upstream_request import base_url
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent, UpstreamOutcome

_NOT_SENT: tuple[type[Exception], ...] = (
    aiohttp.ClientConnectorError,  # with its kinds for DNS and TLS
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)
_LOST: tuple[type[Exception], ...] = (aiohttp.ClientError, TimeoutError, OSError)
# Above this size parsing takes milliseconds, in which the event loop would serve nobody else.
_THREAD_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024


class AsyncOpenAIUpstream:
    """One model server; its connections belong to the event loop of its first call."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 290.0,
        connect_seconds: float = 5.0,
    ) -> None:
        self._base = base_url(url)
        self.name = shown_host(self._base)
        self._headers = request_headers(api_key)
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=connect_seconds, ceil_threshold=timeout_seconds + 1
        )
        self._session: aiohttp.ClientSession | None = None

    async def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Send one body and read the whole answer.

        A failure before the request was written can't have been billed; a later one may have been.
        """
        try:
            response = await self._post(route, body)
            return await _whole(response)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except _LOST as error:
            return UpstreamLost(type(error).__name__)

    async def stream(
        self, route: str, body: Mapping[str, object]
    ) -> "UpstreamOutcome | AsyncOpenAIUpstreamStream":
        """Send one body that asks for a stream."""
        try:
            response = await self._post(route, body)
            if is_event_stream(response.status, response.headers.get("content-type", "")):
                return AsyncOpenAIUpstreamStream(response)
            return await _whole(response)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except _LOST as error:
            return UpstreamLost(type(error).__name__)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, route: str, body: Mapping[str, object]) -> aiohttp.ClientResponse:
        content = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode("ascii")
        session = self._session
        if session is None:
            session = self._session = self._opened()
        return await session.post(f"{self._base}/{route}", data=content, allow_redirects=False)

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=self._headers,
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("user-agent",),
            trust_env=False,
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
        while piece := await response.content.read(_PIECE_BYTES):
            answer += piece
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
