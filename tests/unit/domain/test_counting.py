"""The counted bound: a known tokenizer, what it can't see, and 2 %; never above the strict one."""

import json

import pytest

from spendgate.domain.bound import (
    TEMPLATE_TOKENS,
    TOKENS_PER_MESSAGE,
    TOOL_PREAMBLE_TOKENS,
    input_tokens_max,
)
from spendgate.domain.counting import counted_tokens


def words(text: str) -> int:
    """A tokenizer as simple as can be: a token per four characters begun."""
    return -(-len(text) // 4)


def chat(*contents: object, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": one} for one in contents], **fields}


def test_the_counted_bound_is_the_texts_by_the_tokenizer_and_two_percent() -> None:
    body = chat("x" * 4_000)

    tokens = input_tokens_max(body, count=words)

    roles = words("role") + words("user") + words("content")
    assert tokens == -(-(1_000 + roles) * 102 // 100) + TOKENS_PER_MESSAGE + TEMPLATE_TOKENS
    assert tokens < input_tokens_max(body) / 3


def test_a_tokenizer_of_single_bytes_is_never_above_the_strict_bound() -> None:
    body = chat("x" * 100, tools=[{"type": "function", "function": {"name": "f"}}])

    assert input_tokens_max(body, count=len) <= input_tokens_max(body)
    assert input_tokens_max(body, count=lambda text: 10 * len(text)) == input_tokens_max(body)


def test_text_is_counted_as_it_stands_and_not_as_json_escapes_it() -> None:
    seen: list[str] = []

    def remember(text: str) -> int:
        seen.append(text)
        return len(text)

    counted_tokens(chat("line\nline"), remember)

    assert "line\nline" in seen


def test_objects_inside_messages_bring_what_a_template_puts_around_them() -> None:
    one = counted_tokens(chat([{"text": ""}] * 100), words)
    two = counted_tokens(chat([{"text": ""}] * 200), words)

    assert two - one >= 100 * 8


def test_tools_are_counted_as_a_template_lays_them_out() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2]}}}]
    body = {"tools": tools}

    assert counted_tokens(body, len) >= len(json.dumps(tools, indent=4))
    with_tools = input_tokens_max({**chat("x" * 4_000), **body}, count=words)
    assert with_tools - input_tokens_max(chat("x" * 4_000), count=words) > TOOL_PREAMBLE_TOKENS


def test_a_layout_too_wide_to_write_counts_by_its_bytes() -> None:
    tools: object = [1] * 10_000
    for _ in range(50):
        tools = {"a": tools}

    assert counted_tokens({"tools": [tools]}, words) > 10_000 * 4 * 50


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x" * 4_000},
        {"input": ["x" * 4_000]},
        {"instructions": "x" * 4_000, "input": []},
        {"metadata": {"a": "x" * 4_000}},
        {"input": [1] * 4_000},
    ],
)
def test_every_text_is_counted_wherever_it_is(body: dict[str, object]) -> None:
    assert 1_000 <= counted_tokens(body, words) < 4_400


def test_arguments_count_as_the_longer_of_their_two_forms() -> None:
    call = {"name": "f", "arguments": "[1e15,1e15]"}
    body = {"messages": [{"role": "assistant", "tool_calls": [{"function": call}]}]}
    written = len("[1000000000000000.0, 1000000000000000.0]")

    assert counted_tokens(body, len) >= written


def test_repeated_texts_are_counted_each_time() -> None:
    body = {"input": ["a"] * 100, "instruction": "x" * 400}

    assert counted_tokens(body, words) >= 100 * 100
