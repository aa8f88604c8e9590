"""Every status that the document gives a route of model calls can be had, in the form it says."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from tests.contract.running_app import App, running
from tests.contract.test_bad_input import CHAT, EMBEDDING, RESPONSE
from tests.openapi_operations import operations_of
from tests.started_server import free_port

UNREACHED = {
    CHAT["model"]: "databricks-llama-4-maverick",
    EMBEDDING["model"]: "databricks-bge-large-en",
}
"""Models of a server that isn't there, each in the place of one that is."""
BUDGETS = """
defaults: {{held_wait_seconds: 0}}
upstreams:
  away: {{url: "http://127.0.0.1:{port}/v1", models: [{models}]}}
budgets:
  - {{id: rich, scope: {{user: rich}}, limit_usd: 1000}}
  - {{id: poor, scope: {{user: poor}}, limit_usd: 0.000000001}}
  - {{id: quiet, scope: {{user: quiet}}, limit_usd: 0.000000001, refusal: in_band}}
  - {{id: busy, scope: {{user: "*", team: busy}}, limit_usd: 0.0003, fit: false}}
"""
ROUTES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSE,
    "/v1/embeddings": EMBEDDING,
    "/agent/chat": {**CHAT, "messages": None, "prompt": "hello"},
    "/api/chat": {**CHAT, "messages": None, "prompt": "hello"},
}
ELSEWHERE = {"408", "default"}
"""tests/integration/serving/test_running_app.py sends a body that never ends; the model server's
own failures have whatever status it gives them."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    home = tmp_path_factory.mktemp("statuses")
    models = ", ".join(UNREACHED.values())
    budgets = BUDGETS.format(port=free_port(), models=models)
    settings = {"SPENDGATE_BODY_BYTES_MAX": "100000"}
    with running(home, simulator, budgets=budgets, workers=1, **settings) as app:
        yield app


def ask(app: App, path: str, user: str, more: dict[str, Any], **headers: str) -> httpx.Response:
    body = {**ROUTES[path], **more}
    named = {"X-Spend-User": user} | {key.replace("_", "-"): one for key, one in headers.items()}
    return httpx.post(app.url + path, json=body, headers=named, timeout=60)


def asked(app: App, path: str) -> Iterator[httpx.Response]:
    """Ask for each status once."""
    model = ROUTES[path]["model"]
    yield ask(app, path, "rich", {})
    yield ask(app, path, "rich", {"model": None})
    yield ask(app, path, "rich", {}, X_Spend_Token="eyJx")
    yield ask(app, path, "poor", {})
    yield ask(app, path, "nobody", {})
    yield ask(app, path, "rich", {"top_p": 0.5}, Idempotency_Key=path)
    yield ask(app, path, "rich", {"top_p": 0.6}, Idempotency_Key=path)
    yield ask(app, path, "rich", {"metadata": {"a": "x" * 100_000}})
    yield ask(app, path, "rich", {}, Content_Type="text/plain")
    yield ask(app, path, "rich", {"model": UNREACHED[model]})
    for status in (429, 500, 503):
        yield ask(app, path, "rich", {"simulate": {"status": status}})
    yield ask(app, path, "rich", {"simulate": {"close_connection": True}})


@pytest.mark.parametrize("path", ROUTES)
def test_a_call_has_the_statuses_of_the_document_and_all_of_them(app: App, path: str) -> None:
    schema = schemathesis.openapi.from_url(f"{app.url}/openapi.json")
    document = httpx.get(f"{app.url}/openapi.json").json()
    (operation,) = [one for one in operations_of(document) if one.path == path]
    is_recipe = not path.startswith("/v1")

    seen: dict[int, Any] = {}
    for response in asked(app, path):
        schema[path]["POST"].validate_response(response)
        seen[response.status_code] = response.json()

    own = {str(status) for status in seen if status != 500}  # the model server's own
    assert own == operation.statuses - ELSEWHERE
    for status, body in seen.items():
        if status != 200:
            assert isinstance(body["error"], str) == is_recipe
    if is_recipe:
        assert (seen[400]["error"], seen[402]["error"]) == ("bad_request", "budget_exceeded")


def test_a_hold_has_the_statuses_of_the_document(app: App) -> None:
    path, url = "/api/holds", f"{app.url}/api/holds"
    document = httpx.get(f"{app.url}/openapi.json").json()
    (operation,) = [one for one in operations_of(document) if one.path == path]
    schema = schemathesis.openapi.from_url(f"{app.url}/openapi.json")
    rich, busy = {"X-Spend-User": "rich"}, {"X-Spend-User": "b", "X-Spend-Team": "busy"}
    wishes: list[tuple[dict[str, Any], dict[str, str]]] = [
        (CHAT, rich),
        ({}, rich),
        (CHAT, {**rich, "X-Spend-Token": "eyJx"}),
        (CHAT, {"X-Spend-User": "poor"}),
        (CHAT, {"X-Spend-User": "nobody"}),
        (CHAT, {**rich, "Idempotency-Key": "held"}),
        ({**CHAT, "top_p": 0.6}, {**rich, "Idempotency-Key": "held"}),
        ({**CHAT, "metadata": {"a": "x" * 100_000}}, rich),
        (CHAT, {**rich, "Content-Type": "text/plain"}),
        *[({**CHAT, "max_tokens": 15}, busy)] * 4,  # the budget holds two or three of them
    ]

    seen: set[str] = set()
    for body, headers in wishes:
        response = httpx.post(url, json=body, headers=headers, timeout=60)
        schema[path]["POST"].validate_response(response)
        seen.add(str(response.status_code))

    assert seen == operation.statuses - ELSEWHERE - {"503"}  # test_outage.py has the ledger away


@pytest.mark.parametrize("path", ["/api/holds", *ROUTES])
def test_a_refusal_in_band_is_in_the_document_too(app: App, path: str) -> None:
    schema = schemathesis.openapi.from_url(f"{app.url}/openapi.json")
    body = ROUTES.get(path, CHAT)

    told = httpx.post(app.url + path, json=body, headers={"X-Spend-User": "quiet"}, timeout=60)

    schema[path]["POST"].validate_response(told)
    assert told.status_code == 200
    assert told.json()["error"]["code"] == "budget_exhausted"
    document = httpx.get(f"{app.url}/openapi.json").json()
    told_of = document["paths"][path]["post"]["responses"]["200"]["description"]
    assert "in_band" in told_of
