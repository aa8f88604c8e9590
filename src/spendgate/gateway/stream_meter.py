"""What a stream used, read as it passes: a chunk is parsed once and goes on as it came if it can.

Pure: bytes in, chunks out. The last chunk is kept back until the money is settled, because it
carries the `spend` object. Usage in chunks is merged, never added up (`merge_stream_usage`); it
counts only where the stream came to its end.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

from spendgate.domain.usage import merge_stream_usage
from spendgate.gateway.json_object import is_object, json_list, json_object
from spendgate.gateway.outcome import Ending, Verb, judge, upstream_code
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost
from spendgate.gateway.sse import SseEvent, SseParser
from spendgate.gateway.stream_chunk import DONE, KEEP_ALIVE, StreamChunk
from spendgate.gateway.wire import RESPONSES


class StreamMeter(Protocol):
    """Reads one streamed answer."""

    @property
    def is_over(self) -> bool:
        """Whether the upstream said that this is the end."""
        ...

    def feed(self, piece: bytes) -> list[StreamChunk]:
        """Return the chunks that may be sent now."""
        ...

    def ending(self, lost: UpstreamLost | None, write_ttl: str | None) -> Ending:
        """Judge a stream that is over, ended or was lost; an error has no body."""
        ...

    def last(self, spend: Mapping[str, object]) -> list[StreamChunk]:
        """Return what was kept back, with the `spend` object."""
        ...

    def broken(self, error: Mapping[str, object]) -> list[StreamChunk]:
        """Return what was kept back, and the error that ends a broken stream."""
        ...


def stream_meter(route: str, *, wants_usage: bool) -> StreamMeter:
    """Make the meter for a route; a chat's client may want to see the usage or not."""
    return ResponsesMeter() if route == RESPONSES else ChatMeter(wants_usage=wants_usage)


class _Reader(ABC):
    """What both dialects share: events, the end, an error in between."""

    def __init__(self) -> None:
        self._parser = SseParser()
        self._usage: dict[str, object] | None = None
        self._has_ended = False
        self._error: Mapping[str, object] | None = None
        self.is_over = False

    def feed(self, piece: bytes) -> list[StreamChunk]:
        """Return the chunks that may be sent now."""
        return self._passed(self._parser.feed(piece))

    def ending(self, lost: UpstreamLost | None, write_ttl: str | None) -> Ending:
        """Judge a stream that is over, ended or was lost; an error has no body."""
        if lost is None and not self.is_over:
            self._passed(self._parser.end())
        if self._error is not None:
            problem = "the model server broke the stream off with an error"
            code = upstream_code(self._error)
            return Ending(Verb.EXPIRE, 502, problem=problem, upstream_code=code)
        if lost is not None and not self.is_over:
            return judge(lost, bills_5xx=True)
        if not self._has_ended:
            problem = "the model server's stream stopped before its end"
            return Ending(Verb.EXPIRE, 502, problem=problem)
        return judge(
            UpstreamAnswer(200, {"usage": self._usage}), bills_5xx=True, write_ttl=write_ttl
        )

    def _passed(self, events: Sequence[SseEvent]) -> list[StreamChunk]:
        chunks: list[StreamChunk] = []
        for event in events:
            if self.is_over:
                break
            if event.data is None:
                chunks.append(KEEP_ALIVE)
            elif event.data.strip() == b"[DONE]":
                self.is_over = self._has_ended = True
            else:
                document = _document(event.data)
                if document is not None:
                    raw = None if b"\n" in event.data or b"\r" in event.data else event.data
                    chunks += self._read(StreamChunk(document, event.name, raw))
        return chunks

    def _fail(self, error: Mapping[str, object]) -> None:
        self._error = error
        self.is_over = True

    def _merge(self, usage: object) -> None:
        if is_object(usage):
            self._usage = merge_stream_usage(self._usage, usage)

    @abstractmethod
    def _read(self, chunk: StreamChunk) -> list[StreamChunk]:
        """Take one chunk in and return what may be sent now."""


class ChatMeter(_Reader):
    """Chat completions: usage in a chunk of its own at the end, or in chunks on the way."""

    def __init__(self, *, wants_usage: bool) -> None:
        super().__init__()
        self._wants_usage = wants_usage
        self._held: StreamChunk | None = None
        self._frame: dict[str, object] = {}

    def last(self, spend: Mapping[str, object]) -> list[StreamChunk]:
        """Return the last chunk with the `spend` object, and the end mark."""
        alone: dict[str, object] = {**self._frame, "choices": []}
        held = alone if self._held is None else json_object(self._held.document)
        return [StreamChunk({**held, "spend": spend}), DONE]

    def broken(self, error: Mapping[str, object]) -> list[StreamChunk]:
        """Return what was kept back, the error, and the end mark."""
        held = [] if self._held is None else [self._held]
        return [*held, StreamChunk({"choices": [], **error}), DONE]

    def _read(self, chunk: StreamChunk) -> list[StreamChunk]:
        document = json_object(chunk.document)
        if _is_error(document):
            self._fail(document)
            return []
        if not self._frame:
            names = ("id", "object", "created", "model")
            self._frame = {name: document[name] for name in names if name in document}
        usage = document.get("usage")
        self._merge(usage)
        choices = json_list(document.get("choices"))
        is_usage_alone = not choices and is_object(usage)
        is_finish = any(json_object(one).get("finish_reason") is not None for one in choices)
        self._has_ended = self._has_ended or is_usage_alone or is_finish
        if not self._wants_usage:
            if is_usage_alone:
                return []
            if "usage" in document:
                kept = {name: value for name, value in document.items() if name != "usage"}
                chunk = replace(chunk, document=kept, raw=None)
        earlier = [] if self._held is None else [self._held]
        if is_usage_alone or is_finish:
            self._held = chunk
            return earlier
        self._held = None
        return [*earlier, chunk]


class ResponsesMeter(_Reader):
    """The Responses API: typed events, the last of which holds the whole answer and its usage."""

    _LAST = ("response.completed", "response.incomplete", "response.failed")

    def __init__(self) -> None:
        super().__init__()
        self._held: StreamChunk | None = None
        self._number = -1

    def last(self, spend: Mapping[str, object]) -> list[StreamChunk]:
        """Return the last event with the `spend` object, beside and inside the answer."""
        if self._held is None:  # the end mark came alone
            return [StreamChunk({"type": "response.spend", "spend": spend}, "response.spend")]
        document = json_object(self._held.document)
        answer = {**json_object(document.get("response")), "spend": spend}
        return [replace(self._held, document={**document, "response": answer, "spend": spend})]

    def broken(self, error: Mapping[str, object]) -> list[StreamChunk]:
        """Return the API's own error event, with ours inside."""
        inner = json_object(error.get("error"))
        said = {"code": inner.get("code"), "message": inner.get("message"), "param": None}
        number = {"sequence_number": self._number + 1}
        return [StreamChunk({"type": "error", **said, **number, **error}, "error")]

    def _read(self, chunk: StreamChunk) -> list[StreamChunk]:
        document = json_object(chunk.document)
        kind = document.get("type")
        number = document.get("sequence_number")
        if isinstance(number, int):
            self._number = number
        if kind == "error" or (kind is None and document.get("error") is not None):
            self._fail(document if "error" in document else {"error": document})
            return []
        if kind not in self._LAST:
            return [chunk]
        answer = json_object(document.get("response"))
        self._merge(answer.get("usage"))
        self._held = replace(chunk, document=_without_prose(document), raw=None)
        self.is_over = self._has_ended = True
        return []


def _is_error(document: Mapping[str, object]) -> bool:
    """Know an error in OpenAI's, vLLM's and Databricks' forms."""
    has_other_form = document.get("object") == "error" or "error_code" in document
    return document.get("error") is not None or (has_other_form and "choices" not in document)


def _without_prose(document: Mapping[str, object]) -> Mapping[str, object]:
    """Take the text out of a failed answer's error: it may repeat the prompt (decision 0006)."""
    answer = json_object(document.get("response"))
    error = answer.get("error")
    if not is_object(error):
        return document
    said = {**error, "message": "the model server reported an error"}
    return {**document, "response": {**answer, "error": said}}


def _document(data: bytes) -> Mapping[str, object] | None:
    try:
        # NaN and Infinity are no JSON, and what can't be sent on as JSON must not get further.
        parsed: object = json.loads(data, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", parsed) if isinstance(parsed, dict) else None


def _refused(_: str) -> None:
    raise ValueError("no JSON")


def _finite(text: str) -> float:
    value = float(text)  # 1e999 becomes Infinity
    if not math.isfinite(value):
        raise ValueError("no JSON")
    return value
