"""A streamed answer on its way to the client, as server-sent events."""

import asyncio
from collections.abc import Iterable, Mapping

from starlette.types import Message, Receive, Send

from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.streamed_call import StreamedCall

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect what comes in pieces
]


class EventStream:
    """Sends one answer in pieces, and knows whether the client is still there to read it."""

    def __init__(self, receive: Receive, send: Send, *, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._call: StreamedCall | None = None
        self._is_gone = False

    async def send_whole(self, chunks: Iterable[StreamChunk], headers: Mapping[str, str]) -> None:
        """Send a stream that is there already."""
        await self._deliver(start_message(headers))
        await self._deliver(body_message(chunks, more=False))

    async def send_call(self, call: StreamedCall, headers: Mapping[str, str]) -> None:
        """Send a begun stream to its end; without a client it is read on as its budgets say."""
        await self._deliver(start_message(headers))
        while chunks := await call.read():
            await self._deliver(body_message(chunks, more=True))
        await self._deliver(body_message((), more=False))

    def attend(self, call: StreamedCall) -> "asyncio.Task[None]":
        """Tell the call when the client leaves; ASGI says so only to those who listen."""
        self._call = call
        return asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    async def _deliver(self, message: Message) -> None:
        if self._is_gone:
            return
        try:
            # A client that doesn't read would keep the stream, and the money, for ever.
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except (TimeoutError, OSError):
            self._leave()

    def _leave(self) -> None:
        self._is_gone = True
        if self._call is not None:
            self._call.leave()


def start_message(headers: Mapping[str, str]) -> Message:
    """Return the message that begins a stream."""
    own = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *own]}


def body_message(chunks: Iterable[StreamChunk], *, more: bool) -> Message:
    """Return the message that carries chunks."""
    body = b"".join(chunk.event for chunk in chunks)
    return {"type": "http.response.body", "body": body, "more_body": more}
