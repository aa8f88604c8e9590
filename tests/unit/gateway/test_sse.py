"""Server-sent events are found whatever pieces their bytes come in."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.gateway.sse import SseEvent, SseParser

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
# Any text without a line end; a byte order mark or a colon may be in it.
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[SseEvent]]:
    """Write a stream as servers do, beside the events that it holds."""
    written = bytearray(draw(st.sampled_from([b"", b"\xef\xbb\xbf"])))
    line_end = draw(LINE_ENDS)  # one for all: a return and a newline of two lines would be one
    events: list[SseEvent] = []
    for _ in range(draw(st.integers(0, 5))):
        lines, event = draw(_event())
        for line in (*lines, b""):
            written += line + line_end
        if event is not None:
            events.append(event)
    return bytes(written), events


@st.composite
def _event(draw: st.DrawFn) -> tuple[list[bytes], SseEvent | None]:
    data = [text.encode() for text in draw(st.lists(TEXT, max_size=3))]
    name = draw(st.none() | TEXT)
    lines = [b"data:" + draw(st.sampled_from([b"", b" "])) + one for one in data]
    # The one blank after the colon is no part of the value.
    values = [line[5:].removeprefix(b" ") for line in lines]
    if name is not None:
        lines.insert(draw(st.integers(0, len(lines))), b"event: " + name.encode())
    comments = [b":" + text.encode() for text in draw(st.lists(TEXT, max_size=2))]
    for comment in (*comments, *draw(st.lists(st.just(b"retry: 5"), max_size=1))):
        lines.insert(draw(st.integers(0, len(lines))), comment)
    if data:
        return lines, SseEvent(b"\n".join(values), name)
    return lines, SseEvent(None) if comments else None


def parsed(pieces: Sequence[bytes]) -> list[SseEvent]:
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.end()


@given(streams(), st.data())
def test_any_split_gives_the_same_events(
    stream: tuple[bytes, list[SseEvent]], data: st.DataObject
) -> None:
    written, events = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))

    pieces = [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]

    assert parsed(pieces) == events
    assert parsed([bytes([one]) for one in written]) == events


@given(st.binary(max_size=200), st.integers(1, 7))
def test_any_bytes_are_read_the_same_whole_and_in_pieces(written: bytes, size: int) -> None:
    pieces = [written[start : start + size] for start in range(0, len(written), size)]

    assert parsed(pieces) == parsed([written])


@pytest.mark.parametrize("rest", [b'data: {"a":1}', b'data: {"a":1}\n', b'data: {"a":1}\r'])
def test_an_event_without_its_last_line_end_is_taken_at_the_end(rest: bytes) -> None:
    assert parsed([b"data: first\n\n", rest]) == [SseEvent(b"first"), SseEvent(b'{"a":1}')]


def test_an_event_is_found_with_the_piece_that_ends_it() -> None:
    parser = SseParser()

    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\ndata: b") == [SseEvent(b"a")]
    assert parser.feed(b"\n\n: ping\n\n") == [SseEvent(b"b"), SseEvent(None)]
