"""Write a chat answer as OpenAI does: one body, or a stream of chunks."""

from collections.abc import Iterator
from dataclasses import dataclass

from spendgate.simulator.chat import ChatAnswer, Choice, is_claude
from spendgate.simulator.directive import Directives
from spendgate.simulator.usage import GARBAGE, chat_usage
from spendgate.simulator.wire import JsonObject, encode

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """What every part of one answer repeats."""

    id: str
    created: int
    model: str
    usage: JsonObject | None
    """As reported; None where the call gets no usage."""

    chunk_usage: JsonObject | None = None
    """The usage in chunks before the last."""


def frame_of(answer: ChatAnswer, call_id: str, created: int, directives: Directives) -> Frame:
    """Decide how the usage of `answer` is reported."""
    usage: JsonObject | None = chat_usage(
        answer.usage,
        claude=is_claude(answer.model),
        cache_excluded=directives.cache_excluded,
    )
    if directives.garbage_usage:
        usage = GARBAGE
    running: JsonObject | None = None
    if directives.running_usage:
        running = {
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": None,
            "total_tokens": None,
        }
    if directives.no_usage:
        usage = running = None
    return Frame(f"chatcmpl-{call_id}", created, answer.model, usage, running)


def completion_body(answer: ChatAnswer, frame: Frame) -> bytes:
    """Write the whole answer as one `chat.completion`."""
    body: dict[str, object] = {
        "id": frame.id,
        "object": "chat.completion",
        "created": frame.created,
        "model": frame.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(answer.choices)
        ],
        "system_fingerprint": None,
    }
    if frame.usage is not None:
        body["usage"] = frame.usage
    return encode(body)


def stream_events(answer: ChatAnswer, frame: Frame, *, include_usage: bool) -> Iterator[bytes]:
    """Write server-sent events: a word a chunk, then the usage if asked for, then [DONE]."""
    head: dict[str, object] = {
        "id": frame.id,
        "object": "chat.completion.chunk",
        "created": frame.created,
        "model": frame.model,
        "system_fingerprint": None,
    }
    if include_usage:
        head["usage"] = frame.chunk_usage
    opening = b"data: " + encode(head)[:-1] + b',"choices":['
    for index, choice in enumerate(answer.choices):
        for delta in _deltas(choice):
            yield b'%s{"index":%d,"delta":%s,"logprobs":null,"finish_reason":null}]}\n\n' % (
                opening,
                index,
                delta,
            )
        yield b'%s{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%s"}]}\n\n' % (
            opening,
            index,
            choice.finish_reason.encode("ascii"),
        )
    if include_usage and frame.usage is not None:
        yield b"data: " + encode({**head, "choices": [], "usage": frame.usage}) + b"\n\n"
    yield DONE


def _message(choice: Choice) -> JsonObject:
    message: dict[str, object] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.tool_call:
        call = choice.tool_call
        function = {"name": call.name, "arguments": call.arguments}
        message["content"] = None
        message["tool_calls"] = [{"id": call.id, "type": "function", "function": function}]
    return message


def _deltas(choice: Choice) -> Iterator[bytes]:
    call = choice.tool_call
    if call:
        function = {"name": call.name, "arguments": ""}
        opened = [{"index": 0, "id": call.id, "type": "function", "function": function}]
        yield encode({"role": "assistant", "content": None, "tool_calls": opened})
        filled = [{"index": 0, "function": {"arguments": call.arguments}}]
        yield encode({"tool_calls": filled})
        return
    yield b'{"role":"assistant","content":"","refusal":null}'
    blank = b""
    # The words are plain ASCII letters, so they need no JSON escaping.
    for word in choice.text.encode("ascii").split():
        yield b'{"content":"%s%s"}' % (blank, word)
        blank = b" "
