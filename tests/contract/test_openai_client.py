"""What the official OpenAI client sees of the ASGI host."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.server

CANARY = "the canary sings"
MODEL = "databricks-claude-haiku-4-5"
EMBEDDER = "databricks-gte-large-en"


@pytest.fixture
def sent() -> list[object]:
    """What the client really sends, retries included."""
    return []


@pytest.fixture
def client(app_url: str, sent: list[object]) -> Iterator[openai.OpenAI]:
    """A client as people make it: with its own retries and some API key."""
    web = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    with openai.OpenAI(base_url=app_url, api_key="sk-anything", http_client=web) as client:
        yield client


def ask(client: openai.OpenAI, user: str = "rich", **fields: object) -> dict[str, Any]:
    """Send one chat and return the JSON; what the client doesn't know goes into `extra_body`."""
    raw = client.chat.completions.with_raw_response.create(
        model=str(fields.pop("model", MODEL)),
        messages=[{"role": "user", "content": CANARY}],
        max_tokens=int(str(fields.pop("max_tokens", 30))),
        extra_headers={"X-Spend-User": user},
        extra_body=fields,
    )
    return json.loads(raw.text)


def test_a_chat_is_answered_with_its_cost(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": CANARY}],
        max_tokens=30,
        temperature=0.2,
        extra_body={"custom_inputs": {"user": "rich"}},
    )

    answer = raw.parse()
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 30
    spend = answer.model_extra["spend"] if answer.model_extra else {}
    assert Decimal(raw.headers["x-spend-cost-usd"]) == Decimal(spend["cost_usd"]) > 0
    assert raw.headers["x-spend-request-id"] == spend["request_id"]
    assert raw.headers["x-spend-decision"] == "allow"
    assert Decimal(raw.headers["x-spend-remaining-usd"]) < 1000


def test_tools_and_formats_pass(client: openai.OpenAI):
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "use the tool"}],
        max_tokens=200,
        tools=[
            {
                "type": "function",
                "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
            }
        ],
        tool_choice="required",
        extra_headers={"X-Spend-User": "rich"},
    )

    assert answer.choices[0].message.tool_calls


def test_embeddings_are_answered_with_their_cost(client: openai.OpenAI):
    raw = client.embeddings.with_raw_response.create(
        model=EMBEDDER, input=[CANARY, "b"], extra_headers={"X-Spend-User": "rich"}
    )

    assert len(raw.parse().data) == 2
    assert Decimal(raw.headers["x-spend-cost-usd"]) > 0


def test_an_exhausted_budget_is_told_once(client: openai.OpenAI, sent: list[object]):
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, "poor")

    assert refused.value.status_code == 402
    assert refused.value.code == "budget_exhausted"
    assert refused.value.type == "budget_exceeded"
    assert len(sent) == 1
    assert isinstance(refused.value.body, dict)
    assert "poor" in str(refused.value)
    assert CANARY not in refused.value.response.text


@pytest.mark.parametrize(
    ("fields", "kind", "code", "param"),
    [
        ({"user": "nobody"}, openai.PermissionDeniedError, "no_budget", None),
        ({"n": 0}, openai.BadRequestError, "invalid_request", "n"),
        ({"messages": CANARY}, openai.BadRequestError, "invalid_request", "messages"),
        ({"stream": "yes"}, openai.BadRequestError, "invalid_request", "stream"),
        ({"model": "canary-1"}, openai.BadRequestError, "model_not_priced", "model"),
        (
            {"custom_inputs": {"spend_token": CANARY}},
            openai.AuthenticationError,
            "invalid_spend_token",
            "spend_token",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_refusal_is_the_clients_own_error_class(
    client: openai.OpenAI,
    sent: list[object],
    fields: dict[str, str],
    kind: type[openai.APIStatusError],
    code: str,
    param: str | None,
):
    with pytest.raises(kind) as refused:
        ask(client, **{"user": "rich", **fields})

    assert refused.value.code == code
    if param is not None:
        assert refused.value.param == param
    assert len(sent) == 1
    assert CANARY not in refused.value.response.text


def test_an_upstreams_failure_is_retried_as_the_client_does(
    client: openai.OpenAI, sent: list[object]
):
    with pytest.raises(openai.InternalServerError) as failed:
        ask(client.with_options(max_retries=1), simulate={"status": 503})

    assert failed.value.code == "upstream_error"
    assert len(sent) == 2


def test_a_lost_answer_is_charged_once_and_not_sent_again(
    client: openai.OpenAI, sent: list[object]
):
    with pytest.raises(openai.InternalServerError) as failed:
        ask(client, simulate={"close_connection": True})

    assert (failed.value.status_code, failed.value.code) == (504, "upstream_error")
    assert Decimal(failed.value.response.headers["x-spend-cost-usd"]) > 0
    assert len(sent) == 1


def test_money_held_by_calls_in_flight_is_a_429_that_says_when(client: openai.OpenAI):
    once = client.with_options(max_retries=0)

    with ThreadPoolExecutor() as callers:
        slow = {"simulate": {"latency_ms": 2000, "output_tokens": 1}}
        first = callers.submit(ask, once, "busy", max_tokens=150, **slow)
        while held_usd(once) == 0:
            assert not first.done()
        with pytest.raises(openai.RateLimitError) as refused:
            ask(once, "busy", max_tokens=250)
        first.result()

    assert refused.value.code == "budget_held"
    assert int(refused.value.response.headers["retry-after"]) >= 1


def held_usd(client: openai.OpenAI) -> Decimal:
    """Ask something small and see what other calls hold."""
    answer = ask(client, "busy", max_tokens=1)
    return Decimal(answer["spend"]["budgets"][0]["held_usd"])


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", "/chat/completions", b"the canary sings", 400, "invalid_request"),
        ("POST", "/chat/completions", b'["the canary sings"]', 400, "invalid_request"),
        ("POST", "/chat/completions", b'{"messages": ' + b"[" * 100_000, 400, "invalid_request"),
        ("POST", "/chat/completions", b'{"top_p": NaN}', 400, "invalid_request"),
        ("POST", "/chat/completions", b" " * (17 * 1024 * 1024), 413, "invalid_request"),
        ("POST", "/embeddings", b'{"input": {"the canary sings": 1}}', 400, "invalid_request"),
        ("GET", "/chat/completions", b"", 405, "method_not_allowed"),
        ("POST", "/nowhere", b"the canary sings", 404, "not_found"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_every_failure_is_our_json(
    app_url: str, method: str, path: str, content: bytes, status: int, code: str
):
    answer = httpx.request(method, app_url + path, content=content, timeout=30)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["content-type"] == "application/json"
    assert CANARY not in answer.text


def test_health_is_ok(app_url: str):
    answer = httpx.get(app_url.removesuffix("/v1") + "/health")

    assert answer.json() == {"status": "ok"}
