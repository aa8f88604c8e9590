"""Any OpenAI-compatible model server over HTTP: one call per hold, never retried underneath."""

import json
import time
from collections.abc import Mapping
from contextlib import closing

import httpx

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

CONNECTIONS_MAX = 256
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class OpenAIUpstream:
    """One model server; safe for many threads."""

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
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            headers=request_headers(api_key),
            timeout=httpx.Timeout(timeout_seconds, connect=connect_seconds),
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=CONNECTIONS_MAX,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
            follow_redirects=False,
            trust_env=False,
        )

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Send one body and read the whole answer, within `timeout_seconds` of now.

        A failure before the request was written can't have been billed; a later one may have been.
        """
        content = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with self._client.stream("POST", f"{self._base}/{route}", content=content) as response:
                answer = _read(response, deadline)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except httpx.HTTPError as error:
            return UpstreamLost(type(error).__name__)
        retry_after = retry_after_seconds(response.headers.get("retry-after", ""))
        return UpstreamAnswer(response.status_code, parsed_answer(answer), retry_after)

    def stream(
        self, route: str, body: Mapping[str, object]
    ) -> "UpstreamOutcome | OpenAIUpstreamStream":
        """Send one body that asks for a stream; all of it comes within `timeout_seconds` of now."""
        content = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
        deadline = time.monotonic() + self._timeout_seconds
        try:
            request = self._client.build_request("POST", f"{self._base}/{route}", content=content)
            response = self._client.send(request, stream=True)
            if is_event_stream(response.status_code, response.headers.get("content-type", "")):
                return OpenAIUpstreamStream(response, deadline)
            with closing(response):
                answer = _read(response, deadline)
        except _NOT_SENT as error:
            return UpstreamNotSent(type(error).__name__)
        except httpx.HTTPError as error:
            return UpstreamLost(type(error).__name__)
        retry_after = retry_after_seconds(response.headers.get("retry-after", ""))
        return UpstreamAnswer(response.status_code, parsed_answer(answer), retry_after)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


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
