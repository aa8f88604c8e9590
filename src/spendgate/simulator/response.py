"""The Responses API: read its calls as chats, and write chat answers in its form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from spendgate.simulator.chat import ChatAnswer, Choice
from spendgate.simulator.completion import Frame
from spendgate.simulator.usage import Usage
from spendgate.simulator.wire import BadCallError, JsonObject, encode, list_in, object_in

_KEPT = ("previous_response_id", "conversation", "background")


def as_chat(body: JsonObject) -> JsonObject:
    """Return the chat that asks for the same. Raise BadCallError."""
    for name in _KEPT:
        if body.get(name):
            raise BadCallError(f"{name} is not simulated")
    given = body.get("input")
    items = [given] if isinstance(given, str) else list_in(given)
    if not items or not all(items):
        raise BadCallError("input must be a text or a list that is not empty")
    messages = [
        {"role": "user", "content": item} if isinstance(item, str) else object_in(item)
        for item in items
    ]
    instructions = body.get("instructions")
    if isinstance(instructions, str):
        messages.insert(0, {"role": "system", "content": instructions})
    tools = [_chat_tool(object_in(tool)) for tool in list_in(body.get("tools"))]
    chat: dict[str, object] = {
        "messages": messages,
        "tools": tools,
        "max_tokens": body.get("max_output_tokens"),
    }
    return chat if tools else {name: value for name, value in chat.items() if name != "tools"}


def response_body(answer: ChatAnswer, frame: Frame) -> bytes:
    """Write the whole answer as one `response`."""
    return encode(_response(answer, frame, _status(answer)))


def response_events(answer: ChatAnswer, frame: Frame) -> Iterator[bytes]:
    """Write the answer as the API's typed events."""
    events = _Events()
    begun = _response(answer, frame, "in_progress")
    begun["output"], begun["usage"] = [], None
    yield events.write("response.created", {"response": begun})
    yield events.write("response.in_progress", {"response": begun})
    yield from _item_events(events, answer.choices[0], _item(answer, frame))
    status = _status(answer)
    yield events.write(f"response.{status}", {"response": _response(answer, frame, status)})


@dataclass(slots=True)
class _Events:
    """Numbers events."""

    number: int = field(default=-1)

    def write(self, kind: str, fields: Mapping[str, object]) -> bytes:
        self.number += 1
        event = {"type": kind, "sequence_number": self.number, **fields}
        return b"event: %s\ndata: %s\n\n" % (kind.encode("ascii"), encode(event))


def _chat_tool(tool: JsonObject) -> JsonObject:
    if tool.get("type") != "function":
        raise BadCallError("only function tools are simulated")
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _status(answer: ChatAnswer) -> str:
    return "incomplete" if answer.choices[0].finish_reason == "length" else "completed"


def _response(answer: ChatAnswer, frame: Frame, status: str) -> dict[str, object]:
    reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
    response: dict[str, object] = {
        "id": frame.id.replace("chatcmpl-", "resp_"),
        "object": "response",
        "created_at": frame.created,
        "status": status,
        "error": None,
        "incomplete_details": reason,
        "model": frame.model,
        "output": [_item(answer, frame)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if frame.usage is not None:
        response["usage"] = _usage(answer.usage)
    return response


def _item(answer: ChatAnswer, frame: Frame) -> dict[str, object]:
    choice = answer.choices[0]
    item_id = frame.id.replace("chatcmpl-", "msg_")
    if choice.tool_call is None:
        part: dict[str, object] = {
            "type": "output_text",
            "text": choice.text,
            "annotations": [],
            "logprobs": [],
        }
        message: dict[str, object] = {
            "type": "message",
            "id": item_id,
            "role": "assistant",
            "content": [part],
        }
        return {**message, "status": "completed"}
    call = choice.tool_call
    called = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
    return {"type": "function_call", "id": item_id, "status": "completed", **called}


def _item_events(events: _Events, choice: Choice, item: JsonObject) -> Iterator[bytes]:
    place = {"output_index": 0, "item_id": item["id"]}
    empty: dict[str, object] = {"arguments": ""} if choice.tool_call else {"content": []}
    begun = {**item, **empty, "status": "in_progress"}
    yield events.write("response.output_item.added", {"output_index": 0, "item": begun})
    if choice.tool_call:
        text = choice.tool_call.arguments
        kind = "response.function_call_arguments"
        yield events.write(f"{kind}.delta", {**place, "delta": text})
        yield events.write(f"{kind}.done", {**place, "arguments": text})
    else:
        yield from _text_events(events, choice.text, place, object_in(list_in(item["content"])[0]))
    yield events.write("response.output_item.done", {"output_index": 0, "item": item})


def _text_events(
    events: _Events, text: str, place: JsonObject, part: JsonObject
) -> Iterator[bytes]:
    place = {**place, "content_index": 0}
    yield events.write("response.content_part.added", {**place, "part": {**part, "text": ""}})
    blank = ""
    for word in text.split():
        delta: dict[str, object] = {"delta": blank + word, "logprobs": []}
        yield events.write("response.output_text.delta", {**place, **delta})
        blank = " "
    done: dict[str, object] = {**place, "text": text, "logprobs": []}
    yield events.write("response.output_text.done", done)
    yield events.write("response.content_part.done", {**place, "part": part})


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
