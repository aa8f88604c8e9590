"""A stream on its way to the client: comments while nothing comes, and nothing after the end."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from spendgate.gateway.reply import Reply
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.web.event_stream import EventStream

BEAT = b": keep-alive\n\n"
WORD = StreamChunk({"a": 1})
BROKEN = StreamChunk({"choices": [], "error": {"code": "upstream_error"}})


class Client:
    """Takes what is sent; anybody can wait until a comment came, or stop it from reading."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.beats: asyncio.Queue[None] = asyncio.Queue()
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def send(self, message: Any) -> None:
        if message.get("body") == BEAT:
            self.beats.put_nowait(None)
        await self.may_read.wait()
        self.messages.append(message)

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def words(self) -> bytes:
        return self.text.replace(BEAT, b"")


class Call:
    """A streamed call: what it gives, and what must have happened before."""

    def __init__(self, client: Client, *pieces: Sequence[StreamChunk] | int) -> None:
        self._client = client
        self._pieces = list(pieces)
        self._first: Sequence[StreamChunk] | None = None
        self.failure: Reply | None = None

    async def begin(self) -> Reply | None:
        self._first = await self.read()
        return self.failure

    async def read(self) -> Sequence[StreamChunk]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        while self._pieces:
            piece = self._pieces.pop(0)
            if not isinstance(piece, int):
                return piece
            for _ in range(piece):
                await asyncio.wait_for(self._client.beats.get(), 30)
        return ()

    def leave(self) -> None:
        """Nothing to do."""


def sent(
    *pieces: Sequence[StreamChunk] | int,
    beat_seconds: float = 0.001,
    failure: Reply | None = None,
    before: Callable[[Client], None] = lambda _: None,
) -> tuple[Client, Reply | None]:
    async def main() -> tuple[Client, Reply | None]:
        client = Client()
        before(client)
        call: Any = Call(client, *pieces)
        call.failure = failure
        stream = EventStream(client.receive, client.send, seconds=30, beat_seconds=beat_seconds)
        return client, await stream.send_call(call, {"X-Spend-Decision": "allow"})

    return asyncio.run(main())


@pytest.mark.parametrize("beats", [1, 3])
def test_comments_come_while_a_model_thinks_before_its_first_word(beats: int) -> None:
    client, failed = sent(beats, (WORD,))

    assert failed is None
    assert client.messages[0]["status"] == 200
    assert client.text.startswith(BEAT * beats)
    assert client.words == b'data: {"a":1}\n\n'


def test_comments_come_between_words_too_and_never_inside_them() -> None:
    client, _ = sent((WORD, WORD), 2, (WORD,), 1, (WORD,))

    events = client.text.split(b"\n\n")[:-1]
    assert events.count(BEAT.strip()) >= 3
    assert set(events) == {BEAT.strip(), b'data: {"a":1}'}
    assert client.words == b'data: {"a":1}\n\n' * 4


def test_the_last_message_is_the_last() -> None:
    client, _ = sent(2, (WORD,), 2)

    assert [one["type"] for one in client.messages].count("http.response.start") == 1
    assert [one for one in client.messages if one.get("more_body") is False] == [
        client.messages[-1]
    ]


def test_a_stream_that_breaks_before_its_first_word_can_still_have_a_status() -> None:
    failure = Reply(502, {"error": {}})

    client, failed = sent((BROKEN,), failure=failure, beat_seconds=60)

    assert failed is failure
    assert client.messages == []


def test_after_a_comment_it_is_told_in_the_stream() -> None:
    client, failed = sent(1, (BROKEN,), failure=Reply(502, {"error": {}}))

    assert failed is None
    assert client.words == b'data: {"choices":[],"error":{"code":"upstream_error"}}\n\n'
    assert client.messages[-1]["more_body"] is False


def test_without_the_setting_no_comment_is_sent() -> None:
    client, _ = sent((WORD,), (WORD,), beat_seconds=0)

    assert client.text == b'data: {"a":1}\n\n' * 2


def test_comments_dont_pile_up_before_a_client_that_does_not_read() -> None:
    async def main() -> int:
        client = Client()
        client.may_read.clear()
        call: Any = Call(client, 1, (WORD,))
        stream = EventStream(client.receive, client.send, seconds=30, beat_seconds=0.001)
        task = asyncio.create_task(stream.send_call(call, {}))
        await asyncio.sleep(0.05)
        waiting = client.beats.qsize()
        client.may_read.set()
        await task
        return waiting

    # The first message is the start, which nobody reads; the comment waits behind it.
    assert asyncio.run(main()) == 0
