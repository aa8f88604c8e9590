"""llama.cpp's server behaves as the gate expects of an OpenAI-compatible upstream."""

from collections.abc import Iterator

import httpx
import openai
import pytest

pytestmark = pytest.mark.server


@pytest.fixture
def client(llama_server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{llama_server}/v1", api_key="none", max_retries=0, timeout=30
    ) as client:
        yield client


def tokens_of(llama_server: str, text: str) -> list[int]:
    answer = httpx.post(f"{llama_server}/tokenize", json={"content": text})
    return answer.raise_for_status().json()["tokens"]


def test_the_server_lists_only_the_model_that_was_built_here(
    client: openai.OpenAI, llama_model: str
) -> None:
    assert [model.id for model in client.models.list()] == [llama_model]


def test_the_tokenizer_falls_back_to_bytes_for_text_it_has_no_piece_for(
    llama_server: str,
) -> None:
    known = tokens_of(llama_server, "the budget limit")
    unknown = tokens_of(llama_server, "żółw")

    assert len(known) == 3
    # One piece for the leading blank and "w" each, two bytes for each of the other letters.
    assert len(unknown) == 8


def test_usage_counts_the_prompt_with_the_chat_template_around_it(
    client: openai.OpenAI, llama_server: str, llama_model: str
) -> None:
    content = "the agent answers with words"

    answer = client.chat.completions.create(
        model=llama_model, messages=[{"role": "user", "content": content}], max_tokens=5
    )

    assert answer.usage is not None
    # The template adds the begin-of-sequence token that `/tokenize` leaves out.
    expected = 1 + len(tokens_of(llama_server, f"user: {content}\nassistant:"))
    assert answer.usage.prompt_tokens == expected
    assert answer.usage.total_tokens == expected + answer.usage.completion_tokens


def test_max_tokens_bounds_the_completion(client: openai.OpenAI, llama_model: str) -> None:
    answer = client.chat.completions.create(
        model=llama_model, messages=[{"role": "user", "content": "the budget"}], max_tokens=17
    )

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 17
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content


def test_a_repeated_prompt_reports_cached_tokens(client: openai.OpenAI, llama_model: str) -> None:
    # llama.cpp keeps a slot's last prompt, and picks the slot that shares the longest prefix.
    prompt = "team task window month spend hold settle refuse " * 4

    answers = [
        client.chat.completions.create(
            model=llama_model, messages=[{"role": "user", "content": prompt}], max_tokens=1
        )
        for _ in range(2)
    ]

    usage = answers[1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    cached = usage.prompt_tokens_details.cached_tokens
    assert cached is not None
    assert 0 < cached < usage.prompt_tokens


def test_a_stream_ends_with_the_usage_of_the_chunks_before_it(
    client: openai.OpenAI, llama_model: str
) -> None:
    chunks = list(
        client.chat.completions.create(
            model=llama_model,
            messages=[{"role": "user", "content": "answers cost money"}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    pieces = [c for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(pieces) == 12
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


def test_attribution_fields_of_databricks_are_accepted(
    client: openai.OpenAI, llama_model: str
) -> None:
    answer = client.chat.completions.create(
        model=llama_model,
        messages=[{"role": "user", "content": "the budget"}],
        max_tokens=2,
        extra_body={"client_request_id": "r-1#0", "usage_context": {"team": "support"}},
    )

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


def test_the_model_generates_on_this_machine_at_a_plausible_rate(
    llama_server: str, llama_model: str
) -> None:
    answer = httpx.post(
        f"{llama_server}/v1/chat/completions",
        json={
            "model": llama_model,
            "messages": [{"role": "user", "content": "the model answers"}],
            "max_tokens": 64,
        },
        timeout=30,
    )

    timings = answer.raise_for_status().json()["timings"]
    assert timings["predicted_n"] == 64
    # Loose on both sides: a real model ran, and a shared machine may be slow.
    assert 1 < timings["predicted_per_second"] < 1_000_000


def test_a_prompt_beyond_the_context_is_refused_with_a_readable_error(
    client: openai.OpenAI, llama_model: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(
            model=llama_model,
            messages=[{"role": "user", "content": "the budget " * 5000}],
            max_tokens=1,
        )

    assert refusal.value.status_code == 400
    assert "context" in refusal.value.message
