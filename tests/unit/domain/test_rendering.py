"""What a template writes is never longer than what the bound took it for."""

import json

import pytest

from spendgate.domain.bound import UnboundedError, input_tokens_max
from spendgate.domain.rendering import layout_bytes, rendered_arguments

BARE = {"messages": [{"role": "user", "content": "hello"}]}


def deep(levels: int, width: int) -> object:
    value: object = [1] * width
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "parameters": deep(50, 1_000)}},
        {"type": "function", "function": {"name": "f", "enum": [], "parameters": {}}},
        {"type": "function", "function": {"name": "f", "list": [[[1, [2]], 3], {"b": []}]}},
    ],
)
def test_tools_written_with_indents_are_inside_the_bound(tool: dict[str, object]) -> None:
    written = json.dumps(tool, indent=4)

    grown = input_tokens_max({**BARE, "tools": [tool]}) - input_tokens_max(BARE)

    assert grown >= len(written)
    assert len(json.dumps(tool)) + layout_bytes(tool) >= len(written)


def test_indents_are_counted_without_writing_them() -> None:
    tools = [deep(60, 200_000)]

    assert layout_bytes(tools) > 200_000 * 4 * 60


def test_a_single_schema_is_laid_out_as_an_object() -> None:
    assert layout_bytes({"a": 1}) == len("\n    ") + len("\n")
    assert layout_bytes("text") == layout_bytes([]) == layout_bytes({}) == 0


@pytest.mark.parametrize(
    "arguments", ["[1e15,1e15,1e15]", '{"a":[1,1,1,1]}', '{"a":{"b":1,"c":2}}']
)
@pytest.mark.parametrize("dialect", ["tool_calls", "function_call", "responses"])
def test_arguments_that_a_template_writes_anew_are_inside_the_bound(
    arguments: str, dialect: str
) -> None:
    call = {"name": "f", "arguments": arguments}
    body: dict[str, object] = {
        "tool_calls": {"messages": [{"role": "assistant", "tool_calls": [{"function": call}]}]},
        "function_call": {"messages": [{"role": "assistant", "function_call": call}]},
        "responses": {"input": [{"type": "function_call", **call}]},
    }[dialect]
    empty = json.loads(json.dumps(body).replace(json.dumps(arguments), '""'))
    written = json.dumps(json.loads(arguments))

    assert len(written) > len(arguments)
    assert input_tokens_max(body) - input_tokens_max(empty) >= len(written)


def test_arguments_that_are_no_json_count_as_they_are() -> None:
    assert rendered_arguments("{not json") == "{not json"
    assert rendered_arguments("9" * 5_000) == "9" * 5_000  # longer than Python reads an int
    assert rendered_arguments(f"[{' ' * 50}]") == f"[{' ' * 50}]"


def test_arguments_nested_without_end_are_refused() -> None:
    call = {"function": {"name": "f", "arguments": "[" * 200_000}}

    with pytest.raises(UnboundedError, match="nested too deeply"):
        input_tokens_max({"messages": [{"role": "assistant", "tool_calls": [call]}]})


def test_a_functions_name_counts_again_with_each_of_its_results() -> None:
    # gpt-oss and Gemini name the function in every result; the body names it once.
    name = "f" * 1_000
    call = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": name}}]}
    result = {"role": "tool", "tool_call_id": "c", "content": ""}

    none = input_tokens_max({"messages": [call]})
    many = input_tokens_max({"messages": [call, *[result] * 50]})

    assert many - none > 50 * 1_000


def test_a_functions_name_counts_again_in_a_responses_input() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f" * 1_000, "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": ""}

    assert input_tokens_max({"input": [call, *[result] * 50]}) > 51 * 1_000


def test_results_without_a_call_repeat_nothing() -> None:
    result = {"role": "tool", "tool_call_id": "c", "content": ""}

    one, two = (input_tokens_max({"messages": [result] * count}) for count in (1, 2))

    assert two - one < 100


def test_an_embeddings_instruction_counts_with_each_input() -> None:
    # Databricks' BGE and GTE put it before every input.
    body = {"input": ["a"] * 100, "instruction": "x" * 1_000}

    assert input_tokens_max(body) > 100 * 1_000
    assert input_tokens_max({**body, "input": "a"}) < 1_500
    assert input_tokens_max({**body, "instruction": None}) < 1_500


def test_template_arguments_count_with_each_message() -> None:
    messages = [{"role": "user", "content": "a"}] * 50
    arguments = {"persona": "x" * 1_000}

    assert input_tokens_max({"messages": messages, "chat_template_kwargs": arguments}) > 51_000
