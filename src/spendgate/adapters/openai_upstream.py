"""Any OpenAI-compatible model server over HTTP: one call per hold, never retried underneath."""

import time
from collections.abc import Mapping
from contextlib import closing

import httpx

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
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent, UpstreamOutcome

_NOT_SENT = (
    CredentialsError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class OpenAIUpstream:
    """One model server; safe for many threads."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self.name = server.spec.name
        self._timeout_seconds = server.timeout_seconds
        limits = server.limits
        self._client = httpx.Client(
            headers=REQUEST_HEADERS,
            timeout=httpx.Timeout(server.timeout_seconds, connect=server.connect_seconds),
            limits=httpx.Limits(
                max_connections=limits.connections_max,
                max_keepalive_connections=limits.connections_max,
                keepalive_expiry=limits.keepalive_seconds,
            ),
            follow_redirects=False,
            trust_env=False,
        )

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Send one body and read the whole answer, within `timeout_seconds` of now.

        A failure before the request was written can't have been billed; a later one may have been.
        """
        deadline = time.monotonic() + self._timeout_seconds
        try:
            key, request = self._request(route, body)
            with closing(self._client.send(request, stream=True)) as response:
                return self._whole(response, deadline, key)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except httpx.HTTPError as error:
            return UpstreamLost(type(error).__name__)

    def stream(
        self, route: str, body: Mapping[str, object]
    ) -> "UpstreamOutcome | OpenAIUpstreamStream":
        """Send one body that asks for a stream; all of it comes within `timeout_seconds` of now."""
        deadline = time.monotonic() + self._timeout_seconds
        try:
            key, request = self._request(route, body)
            response = self._client.send(request, stream=True)
            if is_event_stream(response.status_code, response.headers.get("content-type", "")):
                return OpenAIUpstreamStream(response, deadline)
            with closing(response):
                return self._whole(response, deadline, key)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except httpx.HTTPError as error:
            return UpstreamLost(type(error).__name__)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _request(self, route: str, body: Mapping[str, object]) -> tuple[Headers, httpx.Request]:
        try:
            key = self._server.credentials()
            sent = self._server.request(route, body)
        except CredentialsError as error:
            self._server.report(error)
            raise
        content = json_bytes(sent.body)
        headers = {**sent.headers, **key}
        return key, self._client.build_request("POST", sent.url, content=content, headers=headers)

    def _whole(self, response: httpx.Response, deadline: float, key: Headers) -> UpstreamAnswer:
        answer = parsed_answer(_read(response, deadline))
        retry_after = retry_after_seconds(response.headers.get("retry-after", ""))
        is_renewed = self._server.is_renewed(response.status_code, key)
        return UpstreamAnswer(response.status_code, answer, retry_after, is_renewed)


class OpenAIUpstreamStream:
    """An answer that comes in pieces, within its call's time and size."""

    def __init__(self, response: httpx.Response, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self._pieces = response.iter_bytes()
        self._bytes = 0

    def read(self) -> bytes | UpstreamLost | None:
        """Return the next bytes, None at a clean end, or how the rest was lost."""
        try:
            piece = next(self._pieces, None)
        except (httpx.HTTPError, httpx.StreamError) as error:
            return UpstreamLost(type(error).__name__)
        self._bytes += len(piece or b"")
        if time.monotonic() > self._deadline:
            return UpstreamLost("ReadTimeout")
        if self._bytes > ANSWER_BYTES_MAX:
            return UpstreamLost("the answer is too long")
        return piece

    def close(self) -> None:
        """Give the connection back, or end it if the answer isn't read to its end."""
        self._response.close()


def _read(response: httpx.Response, deadline: float) -> bytes:
    """Read an answer; httpx limits the time between two chunks, this limits their sum."""
    answer = bytearray()
    for chunk in response.iter_bytes():
        answer += chunk
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer took too long", request=response.request)
        if len(answer) > ANSWER_BYTES_MAX:
            raise httpx.ReadError("the answer is too long", request=response.request)
    return bytes(answer)
