"""Any OpenAI-compatible model server over HTTP: one call per hold, never retried underneath."""

import json
import math
import time
from collections.abc import Mapping
from contextlib import closing
from typing import cast
from urllib.parse import urlsplit

import httpx

from spendgate.errors import HostError
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent, UpstreamOutcome

KEEPALIVE_SECONDS = 2.0
"""Shorter than any server's own (uvicorn: 5 s), so that no call meets a connection being closed."""

CONNECTIONS_MAX = 256
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""No answer to one call is larger; a server that never ends must not fill the memory."""

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
        self.name = urlsplit(self._base).netloc.rpartition("@")[2]
        headers = {"content-type": "application/json", "accept": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            headers=headers,
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
        return UpstreamAnswer(response.status_code, _json_object(answer), _retry_after(response))

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
        return UpstreamAnswer(response.status_code, _json_object(answer), _retry_after(response))

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


def is_event_stream(status: int, content_type: str) -> bool:
    """Say whether an answer comes in pieces: every 2xx that doesn't say that it is JSON."""
    return 200 <= status < 300 and "json" not in content_type.lower()


def base_url(url: str) -> str:
    """Return the URL that routes are appended to; a bare host gets the usual `/v1`.

    Raises:
        HostError: if the text is no http(s) URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HostError(f"--upstream must be a URL such as http://127.0.0.1:8000/v1, got {url!r}")
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"


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


def _json_object(answer: bytes) -> Mapping[str, object] | None:
    try:
        # NaN and Infinity are no JSON, and what can't be sent on as JSON must not get further.
        parsed = json.loads(answer, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", parsed) if isinstance(parsed, dict) else None


def _finite(text: str) -> float | None:
    value = float(text)  # 1e999 becomes Infinity
    return value if math.isfinite(value) else None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header; its date form is rare and ignored."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 3600 else None
