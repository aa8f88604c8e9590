"""An agent asks for more budget with its own spend token, on `spendgate app` as it runs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.contract.running_app import App, running

from spendgate.adapters.spend_token import mint_token
from spendgate.app.own_requests import PENDING_MAX

ADMIN, KEY = "an administrator's token of the tests", "a signing key, long enough for HS256 ..."
BUDGETS = """
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 1}
  - {id: acme, scope: {org: acme}, limit_usd: 5}
  - {id: secret-project, scope: {org: other}, limit_usd: 5}
"""
WISH = {"budget_id": "agents", "amount_usd": "2", "reason": "a long report", "lasts": "4h"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    settings = {"SPENDGATE_ADMIN_TOKEN": ADMIN, "SPENDGATE_SIGNING_KEY": KEY}
    home = tmp_path_factory.mktemp("own")
    with running(home, simulator, budgets=BUDGETS, workers=1, **settings) as app:
        yield app


def bearer(app: App, text: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {text}"}
    return httpx.Client(base_url=f"{app.url}/api", headers=headers, timeout=30)


def token(name: str, key: str = KEY) -> str:
    scopes = {"agent": name, "org": "acme"}
    return mint_token(key, scopes, ttl_seconds=600, now=datetime.now(UTC))


def agent(app: App, name: str) -> httpx.Client:
    return bearer(app, token(name))


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_agent_asks_and_an_administrator_decides(app: App) -> None:
    with agent(app, "writer") as own, agent(app, "writer") as renewed, bearer(app, ADMIN) as admin:
        key = {"Idempotency-Key": "report-7"}
        asked: dict[str, Any] = own.post("/requests", json=WISH, headers=key).json()
        again = renewed.post("/requests", json=WISH, headers=key)
        path = f"/requests/{asked['request_id']}"

        assert (again.status_code, again.json()) == (201, asked)
        assert asked["requested_by"] == "token:org:acme,agent:writer"
        assert code(own.post(f"{path}/approve", json={})) == (401, "invalid_admin_token")
        assert code(own.get("/budgets")) == (401, "invalid_admin_token")
        assert admin.post(f"{path}/approve", json={}).json()["status"] == "approved"
        (seen,) = renewed.get("/requests").json()["requests"]
        assert (seen["status"], seen["request_id"]) == ("approved", asked["request_id"])
        assert admin.get("/budgets/agents").json()["limit_now_usd"] == "3"


def test_an_agent_sees_and_touches_only_what_it_asked_itself(app: App) -> None:
    with agent(app, "first") as first, agent(app, "second") as second, bearer(app, ADMIN) as admin:
        mine = first.post("/requests", json={**WISH, "budget_id": "acme"}).json()

        assert second.get("/requests").json() == {"requests": []}
        taken = {**WISH, "budget_id": "acme", "request_id": mine["request_id"]}
        assert code(second.post("/requests", json=taken)) == (409, "already_exists")
        assert mine in admin.get("/requests").json()["requests"]
        assert code(first.get("/requests?status=lost")) == (400, "invalid_request")


@pytest.mark.parametrize("budget_id", ["secret-project", "secret-projec"])
def test_a_budget_of_others_is_refused_as_one_that_is_not_there(app: App, budget_id: str) -> None:
    with agent(app, "curious") as own:
        answer = own.post("/requests", json={**WISH, "budget_id": budget_id})

    assert code(answer) == (403, "scope_forbidden")
    assert answer.json()["error"]["param"] == "budget_id"
    assert "secret-project" not in answer.text


def test_an_agent_in_a_loop_can_t_ask_without_an_end(app: App) -> None:
    with agent(app, "looping") as own:
        asked = [own.post("/requests", json=WISH) for _ in range(PENDING_MAX)]
        assert {one.status_code for one in asked} == {201}

        assert code(own.post("/requests", json=WISH)) == (429, "too_many_requests")
        repeat = {**WISH, "request_id": asked[0].json()["request_id"]}
        assert own.post("/requests", json=repeat).status_code == 201


def test_a_token_that_is_no_good_asks_for_nothing(app: App) -> None:
    forged = token("forger", "another key, long enough for HS256 ....")
    revoked = token("gone")
    app.cli("token", "revoke", "--scope", "agent:gone", "--reason", "test")
    for text in (forged, revoked, "eyJ"):
        with bearer(app, text) as own:
            assert code(own.post("/requests", json=WISH)) == (401, "invalid_spend_token")
            assert code(own.get("/requests")) == (401, "invalid_spend_token")
    with bearer(app, "a wrong administrator's token") as nobody:
        assert code(nobody.post("/requests", json=WISH)) == (401, "invalid_admin_token")
    assert code(httpx.get(f"{app.url}/api/requests")) == (401, "invalid_admin_token")
    with agent(app, "writer") as own:
        wrong = own.post("/requests", json={**WISH, "amount_usd": -1, "budget_id": 5})
        assert code(wrong) == (400, "invalid_request")
        assert own.delete("/requests").status_code == 405
