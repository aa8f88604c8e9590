"""One key, one bill: idempotency keys on every route of the running host, with two workers."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from tests.contract.running_app import MODEL, App, running

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
RESPONSES = {"model": MODEL, "input": "hi", "max_output_tokens": 20}
EMBEDDINGS = {"model": "databricks-gte-large-en", "input": "hi"}
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "chat stream": ("/v1/chat/completions", {**CHAT, "stream": True}),
    "responses": ("/v1/responses", RESPONSES),
    "responses stream": ("/v1/responses", {**RESPONSES, "stream": True}),
    "embeddings": ("/v1/embeddings", EMBEDDINGS),
}
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("keys"), simulator) as app:
        yield app


@pytest.fixture
def billed(simulator: str) -> Callable[[str], int]:
    """Say how many calls the provider has billed for a request."""

    def count(request_id: str) -> int:
        bill = httpx.get(f"{simulator}/bill").json()["by_client_request_id"]
        return sum(name.partition("#")[0] == request_id for name in bill)

    return count


def ask(app: App, route: str, key: str, timeout: float = 30, **fields: Any) -> httpx.Response:
    path, body = ROUTES[route]
    headers = {"Idempotency-Key": key, "X-Spend-User": "ann"}
    return httpx.post(app.url + path, json={**body, **fields}, headers=headers, timeout=timeout)


def ask_until_done(app: App, route: str, key: str, **fields: Any) -> httpx.Response:
    """Come again as long as the first call runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = ask(app, route, key, **fields)
        if answer.status_code != 409 or not answer.json()["retryable"]:
            return answer
        time.sleep(0.05)
    raise AssertionError("the first call never ended")


def request_id(answer: httpx.Response) -> str:
    """Find the request's id in the `spend` object, or in the last event that has one."""
    if answer.text.startswith("{"):
        return answer.json()["spend"]["request_id"]
    events = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    documents = [json.loads(text) for text in events if text.startswith("{")]
    return next(one["spend"]["request_id"] for one in reversed(documents) if one.get("spend"))


@pytest.mark.parametrize("route", ROUTES)
def test_a_repeated_call_is_answered_and_billed_once(
    app: App, billed: Callable[[str], int], route: str
) -> None:
    key = f"again {route}"
    first = ask(app, route, key)
    assert first.status_code == 200, first.text

    for _ in range(6):
        again = ask(app, route, key)
        if again.status_code == 200:  # the worker that has the answer
            assert again.text == first.text
            assert again.headers["Idempotent-Replayed"] == "true"
        else:
            error = again.json()["error"]
            assert (again.status_code, error["code"]) == (409, "idempotency_replayed")
            assert request_id(again) == request_id(first)
            assert again.headers["X-Should-Retry"] == "false"
    assert billed(request_id(first)) == 1


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_is_never_used_for_another_body(app: App, route: str) -> None:
    key = f"other {route}"
    ask(app, route, key)

    answer = ask(app, route, key, user="x")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("route", ["chat", "chat stream", "responses stream", "embeddings"])
def test_a_retry_after_a_time_out_never_pays_twice(
    app: App, billed: Callable[[str], int], route: str
) -> None:
    key, slow = f"late {route}", {"simulate": {"latency_ms": 1000}}
    with pytest.raises(httpx.ReadTimeout):
        ask(app, route, key, timeout=0.3, **slow)

    answer = ask_until_done(app, route, key, **slow)

    assert answer.status_code == 200 or answer.json()["error"]["code"] == "idempotency_replayed"
    assert billed(request_id(answer)) == 1


def test_openai_s_client_makes_one_attempt_where_a_retry_cant_help(app: App) -> None:
    answers: list[int] = []
    hooks = {"response": [lambda answer: answers.append(answer.status_code)]}
    headers = {"Idempotency-Key": "sdk", "X-Spend-User": "ann"}
    with openai.OpenAI(
        base_url=f"{app.url}/v1",
        api_key="any",
        max_retries=3,
        http_client=openai.DefaultHttpxClient(event_hooks=hooks),
    ) as client:

        def chat(text: str) -> Any:
            return client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": text}],
                max_tokens=5,
                extra_headers=headers,
            )

        chat("hi")
        with pytest.raises(openai.ConflictError) as caught:
            chat("ho")

    assert caught.value.code == "idempotency_conflict"
    assert answers == [200, 409]


def test_a_key_that_is_said_twice_must_be_one(app: App) -> None:
    answer = ask(app, "chat", "a", custom_inputs={"idempotency_key": "b"})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "custom_inputs.idempotency_key"
    assert ask(app, "chat", "c", custom_inputs={"idempotency_key": "c"}).status_code == 200
