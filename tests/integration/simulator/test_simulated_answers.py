"""The simulator answers as OpenAI and Databricks do."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.simulator.pricelist import load_pricelist
from spendgate.simulator.prompt import count_prompt

pytestmark = pytest.mark.server

SONNET = "databricks-claude-sonnet-4-5"
HAIKU = "databricks-claude-haiku-4-5"
Json = dict[str, Any]
Chat = Callable[..., Json]
TOOL: Json = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "string"}, "limit": {"type": "integer"}},
        },
    },
}


def words_in(answer: Json) -> int:
    return len(answer["choices"][0]["message"]["content"].split())


def test_a_chat_answer_has_as_many_words_as_it_reports_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=HAIKU, messages=[{"role": "user", "content": "12345678"}]
    )

    assert answer.usage is not None
    assert answer.model == HAIKU
    assert answer.choices[0].finish_reason == "stop"
    assert len((answer.choices[0].message.content or "").split()) == answer.usage.completion_tokens
    # Eight bytes are two tokens, and the message's frame is three.
    assert answer.usage.prompt_tokens == 5
    assert answer.usage.total_tokens == 5 + answer.usage.completion_tokens


def test_the_same_body_always_gets_the_same_answer(chat: Chat) -> None:
    first, second, other = chat("hello"), chat("hello"), chat("other")

    assert first["choices"] == second["choices"]
    assert first["id"] != second["id"]
    assert first["choices"] != other["choices"]


def test_lengths_nobody_steers_spread_widely_around_the_mean(chat: Chat) -> None:
    lengths = [chat(f"question {number}")["usage"]["completion_tokens"] for number in range(200)]

    # The lengths come from hashes of these very bodies, so they are the same in every run.
    assert 200 < sum(lengths) / len(lengths) < 300
    assert min(lengths) < 25
    assert max(lengths) > 750


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_output_cap_clips_the_answer(chat: Chat, name: str) -> None:
    answer = chat(**{name: 7}, simulate={"output_tokens": 40})

    assert answer["usage"]["completion_tokens"] == 7
    assert answer["choices"][0]["finish_reason"] == "length"
    assert words_in(answer) == 7


def test_a_provider_can_be_told_to_ignore_the_output_cap(chat: Chat) -> None:
    answer = chat(max_tokens=7, simulate={"output_tokens": 40, "ignore_max_tokens": True})

    assert answer["usage"]["completion_tokens"] == 40
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_an_answer_can_be_longer_than_the_page_its_words_come_from(chat: Chat) -> None:
    assert words_in(chat(simulate={"output_tokens": 20_000})) == 20_000


def test_reasoning_is_part_of_the_completion_and_has_no_words(chat: Chat) -> None:
    told = chat(model="databricks-gpt-5", simulate={"output_tokens": 40, "reasoning_tokens": 15})
    own = chat(model="databricks-gpt-oss-120b", simulate={"output_tokens": 40})
    none = chat(simulate={"output_tokens": 40})

    reasoning = [
        answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
        for answer in (told, own, none)
    ]
    assert reasoning == [15, 10, 0]
    assert [words_in(answer) for answer in (told, own, none)] == [25, 30, 40]


def test_a_marked_prompt_is_read_from_the_cache_in_part(chat: Chat) -> None:
    marked = {"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral"}}
    content = [marked, {"type": "text", "text": "y" * 40}]

    claude = chat(content, model=SONNET)["usage"]
    llama = chat(content)["usage"]

    assert claude["prompt_tokens"] == llama["prompt_tokens"] == 113
    assert claude["prompt_tokens_details"]["cached_tokens"] == 75
    assert claude["cache_read_input_tokens"] == 75
    assert claude["cache_creation_input_tokens"] == 25
    assert llama["prompt_tokens_details"]["cached_tokens"] == 75
    assert "cache_creation_input_tokens" not in llama


def test_images_and_tools_count_towards_the_prompt(chat: Chat) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}

    plain = chat("abcd")["usage"]["prompt_tokens"]
    pictured = chat(["abcd", image])["usage"]["prompt_tokens"]
    equipped = chat("abcd", tools=[TOOL])["usage"]["prompt_tokens"]

    assert plain == 4
    assert pictured == plain + 765
    assert equipped > plain


@given(texts=st.lists(st.text(), min_size=1), bytes_per_token=st.integers(1, 8))
def test_a_prompt_never_has_more_tokens_than_bytes(texts: list[str], bytes_per_token: int) -> None:
    messages = [{"role": "user", "content": text} for text in texts]

    counted = count_prompt({"messages": messages}, bytes_per_token)

    size = sum(len(text.encode()) for text in texts)
    assert counted.tokens <= size + 3 * len(texts)
    assert counted.tokens >= size / bytes_per_token


def test_a_stream_with_usage_ends_as_openai_ends_it(events: Callable[..., list[Json]]) -> None:
    *before, last = events(stream_options={"include_usage": True}, simulate={"output_tokens": 5})

    words = [event["choices"][0]["delta"].get("content") or "" for event in before]
    assert len("".join(words).split()) == len([word for word in words if word]) == 5
    assert all(event["usage"] is None for event in before)
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert before[-1]["choices"] == [end]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5


def test_a_stream_without_usage_options_has_no_usage(events: Callable[..., list[Json]]) -> None:
    received = events(simulate={"output_tokens": 5})

    assert not any("usage" in event for event in received)
    assert received[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_openai_client_reads_a_stream_of_several_choices(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=HAIKU,
            messages=[{"role": "user", "content": "hi"}],
            n=2,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"simulate": {"output_tokens": 6}},
        )
    )

    texts = ["", ""]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
    assert [len(text.split()) for text in texts] == [6, 6]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


def test_a_tool_is_called_when_the_text_asks_for_it(chat: Chat) -> None:
    choice = chat("please use the tool", tools=[TOOL])["choices"][0]

    function = choice["message"]["tool_calls"][0]["function"]
    assert function["name"] == "find_order"
    assert json.loads(function["arguments"]) == {"order": "simulated", "limit": 1}
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None


def test_a_streamed_tool_call_comes_in_pieces(events: Callable[..., list[Json]]) -> None:
    choices = [event["choices"][0] for event in events("Use the tool!", tools=[TOOL])]

    opened, filled = (c["delta"]["tool_calls"][0] for c in choices if c["delta"])
    assert opened["function"] == {"name": "find_order", "arguments": ""}
    assert json.loads(filled["function"]["arguments"]) == {"order": "simulated", "limit": 1}
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_a_tools_own_message_is_answered_in_words(chat: Chat) -> None:
    messages = [
        {"role": "user", "content": "please use the tool"},
        {"role": "tool", "tool_call_id": "c", "content": "use the tool"},
    ]

    answer = chat(messages=messages, tools=[TOOL])

    assert answer["choices"][0]["finish_reason"] == "stop"
    assert words_in(answer) > 0


def test_a_cap_below_a_tool_call_leaves_words_instead_of_a_broken_call(chat: Chat) -> None:
    answer = chat("use the tool", tools=[TOOL], max_tokens=3)

    assert answer["choices"][0]["finish_reason"] == "length"
    assert words_in(answer) == 3


def test_token_lists_and_fewer_dimensions_are_embedded(http: httpx.Client) -> None:
    asked = {"model": "databricks-gte-large-en", "input": [[1, 2, 3], [4]], "dimensions": 8}

    answer = http.post("/v1/embeddings", json=asked).raise_for_status().json()

    assert [len(entry["embedding"]) for entry in answer["data"]] == [8, 8]
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_every_priced_model_is_listed(client: openai.OpenAI) -> None:
    listed = {model.id for model in client.models.list()}

    assert {SONNET, HAIKU, "databricks-gte-large-en", "deepseek-v4-flash"} <= listed
    assert listed == set(load_pricelist())
