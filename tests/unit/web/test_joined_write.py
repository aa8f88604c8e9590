"""An answer's head goes out with its body; one that has none yet doesn't wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from spendgate.web.joined_write import JoiningProtocol

REQUEST = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
HEAD: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"4")],
}


class Wire(asyncio.Transport):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """Read on: nothing is read here."""

    def resume_reading(self) -> None:
        """Read on: nothing is read here."""


Send = Callable[[dict[str, Any]], Awaitable[None]]
Answering = Callable[[Send, Wire], Awaitable[None]]


async def written(answering: Answering, request: bytes = REQUEST) -> Wire:
    wire, ended = Wire(), asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await answering(send, wire)
        ended.set()

    config = uvicorn.Config(app, ws="none", lifespan="off", server_header=False, date_header=False)
    config.load()
    protocol = JoiningProtocol(config, ServerState(), {})
    protocol.connection_made(wire)
    protocol.data_received(request)
    async with asyncio.timeout(10):
        await ended.wait()
        await asyncio.sleep(0)
    return wire


def test_a_head_and_its_body_are_one_write() -> None:
    async def answering(send: Send, _wire: Wire) -> None:
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"abcd"})

    wire = asyncio.run(written(answering))

    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd"]
    assert not wire.is_closed


def test_a_head_whose_body_comes_later_does_not_wait_for_it() -> None:
    async def answering(send: Send, wire: Wire) -> None:
        await send(HEAD)
        await asyncio.sleep(0)
        assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"]
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"cd"})

    wire = asyncio.run(written(answering))

    assert wire.writes[1:] == [b"ab", b"cd"]


def test_a_head_without_a_body_is_written_before_the_connection_closes() -> None:
    async def answering(send: Send, _wire: Wire) -> None:
        await send({**HEAD, "headers": [(b"content-length", b"0"), (b"connection", b"close")]})
        await send({"type": "http.response.body"})

    wire = asyncio.run(written(answering, REQUEST.replace(b"GET", b"HEAD")))

    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"]
    assert wire.is_closed
