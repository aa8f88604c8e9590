"""Webhooks in, on `spendgate app` as it runs: from the signed request to the row in Delta."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.contract.running_app import App, running

HELICONE_SECRET, SECRET = "helicone's secret", "a secret of the meters"
BUDGETS = """
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 1, window: lifetime}
  - {id: acme, scope: {org: acme}, limit_usd: 5, window: lifetime}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    settings = {
        "SPENDGATE_HELICONE_WEBHOOK_SECRET": HELICONE_SECRET,
        "SPENDGATE_WEBHOOK_SECRET": SECRET,
        "SPENDGATE_FLUSH_SECONDS": "0.2",
    }
    home = tmp_path_factory.mktemp("webhooks")
    with running(home, simulator, budgets=BUDGETS, workers=2, **settings) as app:
        yield app


def helicone(app: App, body: dict[str, Any]) -> httpx.Response:
    raw = json.dumps(body).encode()
    signed = hmac.new(HELICONE_SECRET.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"helicone-signature": signed}
    return httpx.post(f"{app.url}/webhook/helicone", content=raw, headers=headers, timeout=30)


def usage(app: App, name: str, body: dict[str, Any]) -> httpx.Response:
    raw, now = json.dumps(body).encode(), str(int(time.time()))
    digest = hmac.new(SECRET.encode(), f"{name}.{now}.".encode() + raw, hashlib.sha256).digest()
    signed = f"v1,{base64.b64encode(digest).decode()}"
    headers = {"webhook-id": name, "webhook-timestamp": now, "webhook-signature": signed}
    return httpx.post(f"{app.url}/webhooks/usage", content=raw, headers=headers, timeout=30)


def rows(app: App, events: int) -> list[dict[str, Any]]:
    """Return what was told elsewhere, once the host has flushed that much."""
    columns = "kind, agent_id, org_id, model, upstream, input_tokens, cost_usd, adjusted_by"
    query = f"SELECT {columns} FROM spend_events WHERE kind = 'external' ORDER BY cost_usd"
    for _ in range(100):
        found = json.loads(app.cli("sql", query, "--json"))
        if len(found) >= events:
            return found
        time.sleep(0.2)
    pytest.fail("the events didn't reach the table")


def test_spend_elsewhere_is_charged_and_stands_in_the_table(app: App) -> None:
    spend = {"scopeType": "agent", "scopeKey": "bot", "cost": 0.75, "requestId": "r-1"}
    spend |= {"provider": "OPENAI", "modelId": "gpt-4o", "inputTokens": 10, "outputTokens": 2}
    used = {"scope": {"org": "acme", "agent": "bot"}, "cost_usd": "0.25", "model": "whisper"}

    first = [helicone(app, spend).json(), usage(app, "m-1", used).json()]
    again = [helicone(app, spend).json(), usage(app, "m-1", used).json()]

    assert [one["changed"] for one in (*first, *again)] == [True, True, False, False]
    assert [one["budgets"] for one in first] == [["agents"], ["acme", "agents"]]
    assert [list(row.values()) for row in rows(app, 2)] == [
        ["external", "bot", "acme", "whisper", None, None, "0.250000000", "webhook:usage"],
        ["external", "bot", None, "gpt-4o", "OPENAI", 10, "0.750000000", "webhook:helicone"],
    ]
    # What was spent elsewhere is gone here.
    refused = app.chat({"agent": "bot"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exhausted")
    assert app.cli("audit").startswith("0 problems")


def test_a_call_of_the_gate_that_helicone_tells_of_is_charged_once(app: App) -> None:
    answered = app.chat({"agent": "own"}).json()
    request_id = answered["spend"]["request_id"]
    spend = {"scopeType": "agent", "scopeKey": "own", "cost": 0.5, "requestId": request_id}

    told = helicone(app, spend).json()

    assert (told["changed"], told["hold_id"]) == (False, f"{request_id}#1")
    (budget,) = app.chat({"agent": "own"}).json()["spend"]["budgets"]
    assert float(budget["spent_usd"]) < 0.1


def test_a_stranger_charges_nobody(app: App) -> None:
    forged = httpx.post(f"{app.url}/webhook/helicone", json={}, timeout=30)
    assert (forged.status_code, forged.json()["error"]["code"]) == (401, "invalid_signature")
    stranger = httpx.post(f"{app.url}/webhooks/usage", json={}, timeout=30)
    assert (stranger.status_code, stranger.json()["error"]["param"]) == (401, "webhook-id")
    unknown = helicone(app, {"scopeType": "person", "requestId": "r-2", "cost": 1})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "scopeType")
    uncovered = usage(app, "m-2", {"scope": "user:ann", "cost_usd": 1})
    assert (uncovered.status_code, uncovered.json()["error"]["param"]) == (400, "scope")
