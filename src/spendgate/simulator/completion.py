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

    cumulative_prompt: int | None = None
    """Where chunks report what was used so far: the prompt's tokens."""


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
    if directives.cumulative_usage and usage is not None:
        prompt = answer.usage.prompt_tokens
        return Frame(f"chatcmpl-{call_id}", created, answer.model, usage, cumulative_prompt=prompt)
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
    if include_usage and frame.cumulative_prompt is None:
        head["usage"] = frame.chunk_usage
    opening = b"data: " + encode(head)[:-1]
    said = 0
    for index, choice in enumerate(answer.choices):
        for delta in _deltas(choice):
            yield _chunk(opening + _so_far(frame, said), index, delta, b"null")
            said += 1
        finish = b'"%s"' % choice.finish_reason.encode("ascii")
        yield _chunk(opening + _so_far(frame, said), index, b"{}", finish)
    if include_usage and frame.usage is not None:
        yield b"data: " + encode({**head, "choices": [], "usage": frame.usage}) + b"\n\n"
    yield DONE


def error_event(frame: Frame) -> bytes:
    """Write the error that breaks a stream off."""
    error = {"message": f"The simulated model {frame.model} failed", "code": "server_error"}
    return b"data: " + encode({"error": error}) + b"\n\n"


def _chunk(opening: bytes, index: int, delta: bytes, finish: bytes) -> bytes:
    return b'%s,"choices":[{"index":%d,"delta":%s,"logprobs":null,"finish_reason":%s}]}\n\n' % (
        opening,
        index,
        delta,
        finish,
    )


def _so_far(frame: Frame, tokens: int) -> bytes:
    if frame.cumulative_prompt is None:
        return b""
    prompt = frame.cumulative_prompt
    return b',"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
        prompt,
        tokens,
        prompt + tokens,
    )


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
