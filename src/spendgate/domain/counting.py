"""The counted bound: the model's own tokenizer instead of bytes, and 2 % for what it can't see.

A template's text is not known here, so each text is counted by itself, as it stands and not as
JSON escapes it; tokens that would merge across their borders only lower the true count.
"""

import json
from collections.abc import Callable, Mapping
from typing import cast

from spendgate.domain.json_tree import fields, items
from spendgate.domain.rendering import (
    INDENT,
    INDENTED_FIELDS,
    layout_bytes,
    rendered_arguments,
    repeated_texts,
    spaced_json,
)

CountTokens = Callable[[str], int]
"""Counts a text's tokens as one model does, special ones as plain text."""

MARGIN_PERCENT = 2
TOKENS_PER_OBJECT = 8
"""What a template puts around a part or a tool call."""
_LAYOUT_BYTES_MAX = 256 * 1024
_SPOKEN_FIELDS = ("messages", "input", "instructions", "prompt", "system")


def counted_tokens(prompt: Mapping[str, object], count: CountTokens) -> int:
    """Count what reaches the prompt by its own tokenizer, and add the margin."""
    tokens = sum(count(text) * times for text, times in repeated_texts(prompt))
    for name, value in prompt.items():
        if name in _SPOKEN_FIELDS:
            entries = items(cast(object, value)) if isinstance(value, list) else [value]
            tokens += sum(_spoken(entry, count) for entry in entries)
        else:
            tokens += _written(name, value, count)
    return -(-tokens * (100 + MARGIN_PERCENT) // 100)


def _spoken(entry: object, count: CountTokens) -> int:
    """Count the texts of a message, and what stands around the objects in it."""
    tokens = 0
    stack = [entry]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            tokens += count(node)
        elif isinstance(node, dict):
            entries = fields(cast(object, node))
            tokens += sum(map(count, entries)) + (TOKENS_PER_OBJECT if node is not entry else 0)
            arguments = entries.get("arguments")
            if isinstance(arguments, str):
                # Either text may reach the prompt, so the dearer one counts beside the other.
                rendered = rendered_arguments(arguments)
                tokens += max(0, count(rendered) - count(arguments))
            stack += entries.values()
        elif isinstance(node, list):
            stack += cast(list[object], node)
        else:
            tokens += count(spaced_json(node))
    return tokens


def _written(name: str, value: object, count: CountTokens) -> int:
    if name not in INDENTED_FIELDS:
        return count(spaced_json({name: value}))
    layout = layout_bytes(value)
    if layout > _LAYOUT_BYTES_MAX:
        return count(spaced_json(value)) + layout
    return count(json.dumps(value, ensure_ascii=False, indent=INDENT))
