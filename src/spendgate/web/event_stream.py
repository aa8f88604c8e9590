"""A streamed answer on its way to the client, as server-sent events."""

import asyncio
from collections.abc import Iterable, Mapping

from starlette.types import Message, Receive, Send

from spendgate.gateway.reply import Reply
from spendgate.gateway.stream_chunk import KEEP_ALIVE, StreamChunk
from spendgate.gateway.streamed_call import StreamedCall

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect what comes in pieces
]


class EventStream:
    """Sends one answer in pieces, and knows whether the client is still there to read it.

    While nothing comes, it sends a comment every `beat_seconds`: proxies close what is silent for
    a minute, and a model may think for longer. Every reader of events skips comments.
    """

    def __init__(
        self, receive: Receive, send: Send, *, seconds: float, beat_seconds: float = 0.0
    ) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._beat_seconds = beat_seconds
        self._call: StreamedCall | None = None
        self._is_gone = False
        self._start: Message | None = None
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None

    async def send_whole(self, chunks: Iterable[StreamChunk], headers: Mapping[str, str]) -> None:
        """Send a stream that is there already."""
        self._start = start_message(headers)
        await self._deliver(body_message(chunks, more=False))

    async def send_call(self, call: StreamedCall, headers: Mapping[str, str]) -> Reply | None:
        """Send a stream to its end; without a client it is read on as its budgets say.

        Returns a reply where it broke before anything was sent, so that it can have a status.
        """
        self._start = start_message(headers)
        self._wait_for_beat()
        try:
            failed = await call.begin()
            await self._stop_beat()
            if failed is not None and not self._has_begun:
                return failed
            self._wait_for_beat()
            while chunks := await call.read():
                await self._deliver(body_message(chunks, more=True))
        finally:
            await self._stop_beat()
        await self._deliver(body_message((), more=False))
        return None

    def attend(self, call: StreamedCall) -> "asyncio.Task[None]":
        """Tell the call when the client leaves; ASGI says so only to those who listen."""
        self._call = call
        return asyncio.get_running_loop().create_task(self._listen())

    @property
    def _has_begun(self) -> bool:
        return self._start is None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    async def _deliver(self, message: Message) -> None:
        if self._is_gone:
            return
        start, self._start = self._start, None
        self._sent_at = asyncio.get_running_loop().time()
        try:
            # A client that doesn't read would keep the stream, and the money, for ever.
            async with asyncio.timeout(self._seconds):
                if start is not None:
                    await self._send(start)
                await self._send(message)
        except (TimeoutError, OSError):
            self._leave()

    def _wait_for_beat(self) -> None:
        """Look again when the next comment may be due; a timer costs less than a task."""
        if self._beat_seconds > 0:
            loop = asyncio.get_running_loop()
            self._sent_at = self._sent_at or loop.time()
            self._timer = loop.call_at(self._sent_at + self._beat_seconds, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._sent_at + self._beat_seconds:
            self._sent_at = loop.time()
            if self._beat is None or self._beat.done():
                self._beat = loop.create_task(self._deliver(_BEAT))
        self._wait_for_beat()

    async def _stop_beat(self) -> None:
        """See that no comment is sent after this: the last message must be the last."""
        if self._timer is not None:
            self._timer.cancel()
        if self._beat is not None and not self._beat.done():
            await asyncio.wait({self._beat})

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


_BEAT = body_message((KEEP_ALIVE,), more=True)
