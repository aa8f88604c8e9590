"""A whole answer in the form of a stream, for a client that asked for one and gets it at once."""

from collections.abc import Mapping

from spendgate.gateway.json_object import is_list, json_list, json_object
from spendgate.gateway.stream_chunk import DONE, StreamChunk
from spendgate.gateway.wire import RESPONSES


def streamed_form(
    route: str, answer: Mapping[str, object], *, wants_usage: bool
) -> tuple[StreamChunk, ...]:
    """Return the chunks that say the same as an answer, the `spend` object on the last."""
    if route == RESPONSES:
        kind = "response.completed"
        event = {"type": kind, "sequence_number": 0, "response": answer}
        return (StreamChunk({**event, "spend": answer.get("spend")}, kind),)
    chunk: dict[str, object] = {**answer, "object": "chat.completion.chunk"}
    chunk.pop("error", None)  # of a refusal in band: clients would raise it, which it must not be
    chunk["choices"] = [_delta_form(json_object(one)) for one in json_list(answer.get("choices"))]
    if not wants_usage:
        chunk.pop("usage", None)
        return (StreamChunk(chunk), DONE)
    last: dict[str, object] = {**chunk, "choices": []}
    chunk.pop("spend", None)
    chunk.pop("usage", None)
    return (StreamChunk(chunk), StreamChunk(last), DONE)


def _delta_form(choice: Mapping[str, object]) -> dict[str, object]:
    delta = dict(json_object(choice.get("message")))
    calls = delta.get("tool_calls")
    if is_list(calls):
        delta["tool_calls"] = [
            {"index": index, **json_object(one)} for index, one in enumerate(calls)
        ]
    return {**{name: value for name, value in choice.items() if name != "message"}, "delta": delta}
