"""What chat templates make longer than it is in the body.

A template may write JSON with spaces and indents, write a call's arguments anew from their text,
and repeat a name or an instruction at every place that refers to it. Without these, a body of
small numbers, deep lists or one long name could cost several times its own bytes.
"""

import json
from collections.abc import Iterator, Mapping
from typing import cast

from spendgate.domain.json_tree import children, fields, items
from spendgate.domain.unbounded import UnboundedError

INDENT = 4
"""Spaces per level: Llama's template writes tools so."""

INDENTED_FIELDS = frozenset(
    {"documents", "functions", "output_config", "response_format", "text", "tools"}
)
"""Fields that reach the prompt as JSON, by the template or by the provider."""

_SPACED = json.JSONEncoder(ensure_ascii=False)
_RESULT_ROLES = ("tool", "function")


def spaced_json(value: object) -> str:
    """Write JSON as templates do, with a space after each comma and colon."""
    return _SPACED.encode(value)


def rendered_arguments(arguments: str) -> str:
    """Return a call's arguments as the longer of their text and what a template makes of it.

    A template that parses them writes `1e15` as `1000000000000000.0`.
    """
    try:
        rendered = spaced_json(json.loads(arguments))
    except ValueError:
        return arguments
    except RecursionError:
        raise UnboundedError("arguments", "they are nested too deeply; send less") from None
    return max(arguments, rendered, key=len)


def called_functions(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the objects that hold a call's `name` and `arguments`, in any dialect's place."""
    for message in map(fields, items(body.get("messages"))):
        yield from (fields(fields(one).get("function")) for one in items(message.get("tool_calls")))
        yield fields(message.get("function_call"))
    yield from map(fields, items(body.get("input")))


def layout_bytes(value: object) -> int:
    """Count the line breaks and indents of a value written over many lines, or of each in a list.

    Counted and not written: the indents of a deep list are a hundred times its bytes.
    """
    total = 0
    level: list[object] = [cast(object, value)] if isinstance(value, dict) else items(value)
    depth = 0
    while level:
        held = list(map(children, level))
        below = [one for nodes in held for one in nodes]
        total += len(below) * (1 + INDENT * (depth + 1))
        total += sum(1 + INDENT * depth for nodes in held if nodes)
        level, depth = below, depth + 1
    return total


def repeated_texts(body: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Yield the texts that are written again, and how often beyond the first time.

    The name of a called function with each result (gpt-oss, Gemini), a template's arguments with
    each message, the instruction of an embedding with each of its inputs.
    """
    messages = [fields(one) for one in items(body.get("messages"))]
    inputs = items(body.get("input"))
    results = sum(one.get("role") in _RESULT_ROLES for one in messages)
    results += sum(str(fields(one).get("type")).endswith("_output") for one in inputs)
    if results:
        names = [one.get("name") for one in called_functions(body)]
        yield (
            max((name for name in names if isinstance(name, str)), key=_utf8_bytes, default=""),
            (results),
        )
    arguments = body.get("chat_template_kwargs")
    if arguments:
        yield spaced_json(arguments), len(messages)
    instruction = body.get("instruction")
    if isinstance(instruction, str) and len(inputs) > 1:
        yield instruction, len(inputs) - 1


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
