"""A closed loop of HTTP/1.1 clients that costs as little as it can.

One thread, one event loop, one connection per client; each client sends its next request when it
has read its last answer. Cores are shared with the servers that are measured, so a full HTTP client
would measure itself.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"transfer-encoding:\s*chunked", re.IGNORECASE)
LONGEST_SECONDS = 120.0


@dataclass
class Loop:
    """What a loop saw: seconds to the end of each answer, and to the first event of a stream."""

    whole: list[float] = field(default_factory=list[float])
    first_event: list[float] = field(default_factory=list[float])
    seconds: float = 0.0


def run_loop(
    url: str,
    body: Mapping[str, object],
    headers: Mapping[str, str],
    *,
    clients: int,
    calls: int,
) -> Loop:
    """Send so many calls from so many clients, each waiting for its answer.

    Raises:
        SystemExit: if any answer isn't a 200, or the server closes a connection.
    """
    return asyncio.run(_looped(url, _Shared(_request(url, body, headers), calls), clients))


def _request(url: str, body: Mapping[str, object], headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    content = json.dumps(body).encode()
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class _Shared:
    """What the clients of one loop have in common."""

    request: bytes
    left: int
    found: Loop = field(default_factory=Loop)


async def _looped(url: str, shared: _Shared, clients: int) -> Loop:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Client(shared), host, port))[1]
        for _ in range(clients)
    ]
    start = time.perf_counter()
    for client in connections:
        client.send()
    async with asyncio.timeout(LONGEST_SECONDS):
        await asyncio.gather(*(client.ended for client in connections))
    shared.found.seconds = time.perf_counter() - start
    return shared.found


class _Client(asyncio.Protocol):
    """One connection; answers come one at a time, because requests do."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._sent_at = 0.0
        self._has_event = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self) -> None:
        """Send the next request, or end."""
        assert self._transport is not None
        if self._shared.left <= 0:
            if not self.ended.done():
                self.ended.set_result(None)
            self._transport.close()
            return
        self._shared.left -= 1
        self._read, self._has_event = b"", False
        self._sent_at = time.perf_counter()
        self._transport.write(self._shared.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._read += data
        if not self._has_event and b"data: " in self._read:
            self._has_event = True
            self._shared.found.first_event.append(now - self._sent_at)
        if not _is_whole(self._read):
            return
        if not self._read.startswith(b"HTTP/1.1 200"):
            self._fail(f"an answer isn't 200: {self._read[:500]!r}")
            return
        self._shared.found.whole.append(now - self._sent_at)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed a connection")

    def _fail(self, message: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(SystemExit(message))


def _is_whole(answer: bytes) -> bool:
    head, end, rest = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if _CHUNKED.search(head):
        return rest.endswith(b"0\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(rest) >= int(length.group(1))
