"""Server-sent events, read from bytes in any pieces: a pure, incremental parser.

https://html.spec.whatwg.org/multipage/server-sent-events.html; where a server forgets the last
empty line, the event it had begun is taken all the same.
"""

from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event; without data it stands for comments, by which servers keep connections alive."""

    data: bytes | None
    name: str | None = None


class SseParser:
    """Finds events; whatever isn't complete yet waits for the next piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._data: list[bytes] = []
        self._name: str | None = None
        self._is_commented = False
        self._is_begun = False

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Return the events that end in this piece."""
        if b"\n" not in piece and b"\r" not in piece and not self._ends_with_return():
            self._parts.append(piece)  # joined once, however small the pieces of a long line are
            return []
        return self._taken(b"".join((*self._parts, piece)), is_last=False)

    def end(self) -> list[SseEvent]:
        """Return the event that was begun when the stream ended, if there is one."""
        rest = b"".join(self._parts)
        return self._taken(rest + b"\n\n", is_last=True)

    def _ends_with_return(self) -> bool:
        return bool(self._parts) and self._parts[-1].endswith(b"\r")

    def _taken(self, text: bytes, *, is_last: bool) -> list[SseEvent]:
        if not self._is_begun and text:
            if len(text) < len(_BOM) and _BOM.startswith(text) and not is_last:
                self._parts = [text]
                return []
            self._is_begun = True
            text = text.removeprefix(_BOM)
        lines = text.splitlines(keepends=True)
        self._parts = []
        # A return at the very end may be the first half of a line end.
        if lines and not is_last and not lines[-1].endswith(b"\n"):
            self._parts = [lines.pop()]
        events: list[SseEvent] = []
        for line in lines:
            self._read_line(line.rstrip(b"\r\n"), events)
        return events

    def _read_line(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._data:
                events.append(SseEvent(b"\n".join(self._data), self._name))
            elif self._is_commented:
                events.append(SseEvent(None))
            self._data, self._name, self._is_commented = [], None, False
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif not field:
            self._is_commented = True
