"""What the official OpenAI client sees of a stream through the ASGI host."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.server

MODEL = "databricks-claude-haiku-4-5"
CANARY = "the canary sings"


@pytest.fixture
def client(app_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=app_url, api_key="sk-anything", max_retries=0) as client:
        yield client


def chunks_of(client: openai.OpenAI, user: str = "rich", **fields: Any) -> list[Any]:
    simulate = fields.pop("simulate", {"output_tokens": 4})
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": CANARY}],
        max_tokens=30,
        stream=True,
        extra_headers={"X-Spend-User": user},
        extra_body={"simulate": simulate},
        **fields,
    )
    return list(stream)


def words_of(chunks: list[Any]) -> str:
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


def test_the_finish_chunk_carries_the_spend_and_no_usage_is_seen(client: openai.OpenAI):
    chunks = chunks_of(client)

    assert len(words_of(chunks).split()) == 4
    assert all(one.choices for one in chunks)
    assert all(one.usage is None for one in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    spend = chunks[-1].model_extra["spend"]
    assert spend["usage_source"] == "reported"
    assert Decimal(spend["cost_usd"]) > 0
    assert [one for one in chunks if "spend" in (one.model_extra or {})] == chunks[-1:]


def test_who_asks_for_usage_gets_it_with_the_spend(client: openai.OpenAI):
    chunks = chunks_of(client, stream_options={"include_usage": True})

    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4
    assert chunks[-1].model_extra["spend"]["usage_source"] == "reported"
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_stream_says_whose_it_is_before_its_first_word(client: openai.OpenAI):
    with client.chat.completions.with_streaming_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": CANARY}],
        stream=True,
        extra_headers={"X-Spend-User": "rich"},
        extra_body={"simulate": {"output_tokens": 2}},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-spend-decision"] == "allow"
        request_id = answer.headers["x-spend-request-id"]
        text = answer.read().decode()

    assert f'"request_id":"{request_id}"' in text
    assert text.endswith("data: [DONE]\n\n")


def test_tools_are_streamed(client: openai.OpenAI):
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "use the tool"}],
        max_tokens=200,
        stream=True,
        tools=[{"type": "function", "function": {"name": "look", "parameters": {}}}],
        extra_headers={"X-Spend-User": "rich"},
    )
    deltas = [chunk.choices[0].delta for chunk in stream]

    called = [one.tool_calls[0].function for one in deltas if one.tool_calls]
    assert called[0] is not None
    assert called[0].name == "look"


def test_a_refusal_comes_before_the_first_byte(client: openai.OpenAI):
    with pytest.raises(openai.APIStatusError) as refused:
        chunks_of(client, "poor")

    assert refused.value.status_code == 402
    assert refused.value.code == "budget_exhausted"


def test_an_upstreams_failure_before_the_first_byte_keeps_its_status(client: openai.OpenAI):
    with pytest.raises(openai.InternalServerError) as failed:
        chunks_of(client, simulate={"status": 503})

    assert failed.value.status_code == 503
    assert failed.value.code == "upstream_error"


def test_a_stream_that_breaks_off_is_an_error_to_the_client(client: openai.OpenAI):
    with pytest.raises(openai.APIError) as broken:
        chunks_of(client, simulate={"output_tokens": 20, "close_connection": True})

    assert broken.value.code == "upstream_error"


def test_a_stream_is_given_again_for_its_idempotency_key(client: openai.OpenAI):
    def ask() -> list[Any]:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": CANARY}],
            stream=True,
            extra_headers={"X-Spend-User": "rich", "Idempotency-Key": "stream-1"},
            extra_body={"simulate": {"output_tokens": 3}},
        )
        return list(stream)

    first, again = ask(), ask()

    assert first == again


def test_a_refusal_in_band_has_the_form_of_a_stream(client: openai.OpenAI):
    chunks = chunks_of(client, "quiet")

    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert chunks[-1].model_extra["error_code"] == "BUDGET_EXHAUSTED"


def test_responses_answer_and_stream(client: openai.OpenAI):
    fields: dict[str, Any] = {
        "model": MODEL,
        "input": CANARY,
        "max_output_tokens": 40,
        "extra_headers": {"X-Spend-User": "rich"},
        "extra_body": {"simulate": {"output_tokens": 3}},
    }
    whole = client.responses.create(**fields)
    with client.responses.stream(**fields) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()

    assert len(whole.output_text.split()) == len(streamed.output_text.split()) == 3
    assert whole.usage is not None
    assert whole.usage.output_tokens == 3
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    for answer in (whole, streamed):
        assert Decimal((answer.model_extra or {})["spend"]["cost_usd"]) > 0


def test_what_the_provider_keeps_or_runs_has_no_bound(client: openai.OpenAI):
    for field, value in {
        "previous_response_id": "r",
        "conversation": "c",
        "background": True,
        "tools": [{"type": "web_search"}],
    }.items():
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(
                model=MODEL,
                input=CANARY,
                extra_headers={"X-Spend-User": "rich"},
                extra_body={field: value},
            )
        assert str(refused.value.param).startswith(field)


def test_models_are_listed_and_shown(client: openai.OpenAI):
    listed = {model.id for model in client.models.list()}

    assert MODEL in listed
    assert client.models.retrieve(MODEL).owned_by == "spendgate"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("canary")
    assert missing.value.code == "model_not_found"


RECIPE = {
    "prompt": CANARY,
    "scopeType": "user",
    "scopeKey": "rich",
    "modelId": MODEL,
    "tools": ["search"],
}


@pytest.mark.parametrize("path", ["/agent/chat", "/api/chat"])
@pytest.mark.parametrize(
    ("fields", "status", "body"),
    [
        ({"scopeKey": "poor"}, 402, {"error": "budget_exceeded", "message": ...}),
        ({"scopeType": "planet"}, 400, {"error": "bad_request", "details": ...}),
        ({"scopeType": None, "scopeKey": None}, 400, {"error": "bad_request", "details": ...}),
        ({"prompt": 7}, 400, {"error": "bad_request", "details": ...}),
        ({"modelId": "canary-1"}, 400, {"error": "bad_request", "details": ...}),
        ({"scopeKey": "nobody"}, 403, {"error": "no_budget", "message": ...}),
    ],
    ids=lambda value: str(value)[:24],
)
def test_the_recipes_paths_keep_their_statuses_and_json(
    app_url: str, path: str, fields: dict[str, object], status: int, body: dict[str, object]
):
    answer = httpx.post(app_url.removesuffix("/v1") + path, json={**RECIPE, **fields})

    assert answer.status_code == status
    said = answer.json()
    assert said.keys() == body.keys()
    assert said["error"] == body["error"]
    assert CANARY not in answer.text


@pytest.mark.parametrize("path", ["/agent/chat", "/api/chat"])
@pytest.mark.parametrize(
    ("fields", "status", "retry", "decision"),
    [
        ({"scopeKey": "poor"}, 402, "false", "refuse"),
        ({"simulate": {"status": 429}}, 429, "true", "allow"),
        ({"simulate": {"status": 500}}, 500, "false", "allow"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_the_recipes_paths_say_in_headers_what_their_json_has_no_place_for(
    app_url: str, path: str, fields: dict[str, object], status: int, retry: str, decision: str
):
    answer = httpx.post(app_url.removesuffix("/v1") + path, json={**RECIPE, **fields})

    assert answer.status_code == status
    assert answer.headers["x-should-retry"] == retry
    assert answer.headers["x-spend-decision"] == decision
    assert answer.headers["x-spend-request-id"]
    assert (float(answer.headers["x-spend-cost-usd"]) > 0) == (status == 500)


@pytest.mark.parametrize("path", ["/agent/chat", "/api/chat"])
def test_the_recipes_paths_answer_a_chat(app_url: str, path: str):
    answer = httpx.post(app_url.removesuffix("/v1") + path, json=RECIPE)

    assert answer.status_code == 200
    assert answer.json()["choices"]
    assert answer.json()["spend"]["budgets"][0]["scope"] == "user:rich"
