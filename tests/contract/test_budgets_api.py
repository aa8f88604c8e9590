"""The budgets API of `spendgate app`, as it runs: used, misused and fuzzed."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.contract.running_app import App, running

from spendgate.bootstrap import open_ledger
from spendgate.config import Settings

ADMIN = "an administrator's token of the tests"
BUDGETS = """
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 10}
  - {id: ann, scope: {user: ann}, limit_usd: 0.5}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[App]:
    home = tmp_path_factory.mktemp("api")
    settings = {"SPENDGATE_ADMIN_TOKEN": ADMIN, "SPENDGATE_FLUSH_SECONDS": "0.2"}
    with running(home, simulator, budgets=BUDGETS, workers=1, **settings) as app:
        yield app


@pytest.fixture(scope="module")
def api(app: App) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {ADMIN}", "X-Actor": "ann"}
    with httpx.Client(base_url=f"{app.url}/api", headers=headers, timeout=30) as client:
        yield client


def told(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_budget_lives_from_post_to_delete(app: App, api: httpx.Client) -> None:
    row = {"id": "night", "scope": {"agent": "night-bot"}, "limit_usd": 2.5, "window": "day"}
    made = api.post("/budgets", json=row)
    assert told(made, 201)["limit_usd"] == "2.5"
    assert made.headers["Location"] == "/api/budgets/night"
    assert told(api.post("/budgets", json=row), 409)["error"]["code"] == "already_exists"

    # What was read can be written back, by whoever read it last.
    read = api.get("/budgets/night")
    etag = read.headers["ETag"]
    whole = {**told(read), "limit_usd": "3"}
    assert told(api.put("/budgets/night", json=whole), 428)["error"]["param"] == "if-match"
    changed = api.put("/budgets/night", json=whole, headers={"If-Match": etag})
    assert told(changed)["limit_usd"] == "3"
    stale = api.put("/budgets/night", json=whole, headers={"If-Match": etag})
    assert told(stale, 412)["error"]["code"] == "changed_since"

    raised = api.post(
        "/budgets/night/raise",
        json={"amount": 1, "reason": "launch", "expires_at": "2099-01-01T00:00:00Z"},
        headers={"Idempotency-Key": "k1"},
    )
    assert told(raised, 201)["limit_now_usd"] == "4"
    again = api.post(
        "/budgets/night/raise",
        json={"amount": 1, "reason": "launch", "expires_at": "2099-01-01T00:00:00Z"},
        headers={"Idempotency-Key": "k1"},
    )
    assert told(again, 201) == told(raised, 201)
    (state,) = told(api.get("/budgets/night/state"))["states"]
    assert (state["limit_usd"], state["spent_usd"]) == ("4", "0.000000000")
    listed = json.loads(app.cli("budget", "list", "--json"))
    assert [one["id"] for one in listed] == ["agents", "ann", "night"]

    assert told(api.delete("/budgets/night"), 428)
    stale = api.delete("/budgets/night", headers={"If-Match": etag})
    assert told(stale, 412)["error"]["code"] == "changed_since"
    now = changed.headers["ETag"]
    assert told(api.delete("/budgets/night", headers={"If-Match": now})) == {
        "removed": "night", "note": None,
    }  # fmt: skip
    gone = told(api.get("/budgets/night"), 404)["error"]
    assert gone["code"] == "not_found"
    assert gone["message"] == "there is no budget 'night'; there are: agents, ann"


def test_an_edit_that_makes_a_budget_start_at_zero_is_told_with_what_was_spent(
    app: App, api: httpx.Client
) -> None:
    row = {"id": "edited", "scope": {"agent": "editor"}, "limit_usd": 3, "window": "day"}
    made = api.post("/budgets", json=row)
    assert told(made, 201)["notes"] == []
    assert app.chat({"agent": "editor"}).status_code == 200

    raised = api.put(
        "/budgets/edited", json={**row, "limit_usd": 4}, headers={"If-Match": made.headers["ETag"]}
    )
    assert told(raised)["notes"] == []
    # What an answer to PUT shows can be written back too, its notes among it.
    weekly = {**told(raised), "window": "week"}
    changed = api.put("/budgets/edited", json=weekly, headers={"If-Match": raised.headers["ETag"]})
    (note,) = told(changed)["notes"]
    assert note.startswith("budget 'edited' starts at zero from now: window day -> week")

    assert app.chat({"agent": "editor"}).status_code == 200
    gone = api.delete("/budgets/edited", headers={"If-Match": changed.headers["ETag"]})
    assert told(gone)["note"].startswith("budget 'edited' was removed")


def test_what_is_spent_shows_in_state_spend_and_the_recipes_form(
    app: App, api: httpx.Client
) -> None:
    assert app.chat({"agent": "spender"}).status_code == 200

    states = told(api.get("/budgets/agents/state"))["states"]
    assert "agent:spender" in [one["scope"] for one in states]
    assert {one["budget_id"] for one in told(api.get("/spend"))["budgets"]} >= {"agents", "ann"}
    usage = told(api.get("/budget", params={"scopeType": "agent", "scopeKey": "spender"}))
    assert usage["limit"] == "10.000000000"
    assert float(usage["spent"]) > 0
    assert usage["exceeded"] is False
    profile = {"scopeType": "team", "scopeKey": "blue", "monthlyLimit": 20, "softCap": 0.5}
    assert told(api.post("/budget", json=profile), 201)["id"] == "team-blue-month"
    assert told(api.post("/budget", json=profile))["soft_cap"] == 0.5
    health = told(httpx.get(f"{app.url}/api/health"))
    assert health["status"] == "ok"
    assert health["timestamp"].endswith("Z")


def test_a_request_is_explained_and_models_say_what_fits(app: App, api: httpx.Client) -> None:
    body = {
        "model": "databricks-claude-haiku-4-5",
        "max_tokens": 10,
        "custom_inputs": {"user": "ann"},
    }
    asked = {**body, "messages": [{"role": "user", "content": "hi"}]}
    explained = told(api.post("/explain", json=asked))
    assert (explained["decision"], explained["budgets"][0]["budget_id"]) == ("allow", "ann")
    # A limit that was changed since the last call is the one that is explained.
    changed = {**told(api.get("/budgets/ann")), "limit_usd": "0.4"}
    told(api.put("/budgets/ann", json=changed, headers={"If-Match": "*"}))
    assert told(api.post("/explain", json=asked))["budgets"][0]["limit_usd"] == "0.4"
    nobody = {**asked, "custom_inputs": {"user": "nobody"}}
    assert told(api.post("/explain", json=nobody), 400)["error"]["code"] == "no_budget"
    models = told(api.get("/models", params={"user": "ann", "max_tokens": "60000"}))["models"]
    assert {one["decision"] for one in models if one["kind"] == "chat"} == {"allow", "fit"}
    assert all(one["usd_per_million"]["input"] for one in models)
    assert told(api.get("/models"))["models"][0]["fits"] is None


def test_more_budget_is_asked_for_and_approved_once(app: App, api: httpx.Client) -> None:
    wish = {"budget_id": "ann", "amount_usd": 2, "reason": "a long report", "lasts": "12h"}
    key = {"Idempotency-Key": "wish-1"}
    asked = told(api.post("/requests", json=wish, headers=key), 201)
    assert told(api.post("/requests", json=wish, headers=key), 201) == asked
    assert (asked["status"], asked["requested_by"]) == ("pending", "api:ann")
    before = told(api.get("/budgets/ann"))["limit_now_usd"]

    path = f"/requests/{asked['request_id']}"
    approved = told(api.post(f"{path}/approve", json={"reason": "fine"}, headers={"X-Actor": "bo"}))

    assert (approved["status"], approved["decided_by"]) == ("approved", "api:bo")
    assert told(api.post(f"{path}/approve", json={})) == approved
    budget = told(api.get("/budgets/ann"))
    assert float(budget["limit_now_usd"]) == float(before) + 2
    assert budget["raises"][-1]["expires_at"] == approved["expires_at"]
    assert told(api.post(f"{path}/deny", json={}), 409)["error"]["code"] == "already_exists"
    denied = json.loads(
        app.cli("budget", "request", "ann", "--amount", "1", "--reason", "x", "--json")
    )
    assert "denied" in app.cli("budget", "deny", denied["request_id"], "--reason", "no")
    assert told(api.post(f"/requests/{denied['request_id']}/approve", json={}), 409)
    pending = told(api.get("/requests", params={"status": "pending"}))["requests"]
    assert pending == []
    assert told(api.get("/budgets/ann")) == budget


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("POST", "/budgets", {"id": "x", "scope": "all", "limit_usd": -1}, 400, "limit_usd"),
        ("POST", "/budgets", {"id": "x", "scope": {"users": "a"}, "limit_usd": 1}, 400, "scope"),
        ("POST", "/budgets", {}, 400, "is required"),
        ("PUT", "/budgets/other", {"id": "x", "scope": "all", "limit_usd": 1}, 400, "id: can't"),
        ("POST", "/budgets/ann/raise", {"amount": 0, "reason": "why"}, 400, "above 0"),
        ("POST", "/budgets/ann/raise", {"amount": 1}, 400, "reason: is required"),
        (
            "POST",
            "/budgets/ann/raise",
            {"amount": 1, "reason": "r", "expires_at": "2001-01-01T00:00:00Z"},
            400,
            "is past",
        ),
        ("POST", "/budgets/an/raise", {"amount": 1, "reason": "r"}, 404, "did you mean ann?"),
        ("GET", "/budget?scopeType=users&scopeKey=a", None, 400, "scopeType must be one of"),
        ("GET", "/budget?scopeType=session&scopeKey=a", None, 404, "no budget covers"),
        ("POST", "/budget", {"scopeType": "x", "scopeKey": "y", "limit": 1}, 400, "scopeType"),
        ("GET", "/spend?since=2030-01-01", None, 400, "since needs by"),
        ("GET", "/spend?by=colour", None, 400, "is unknown"),
        ("GET", "/models?max_tokens=0", None, 400, "max_tokens"),
        ("POST", "/explain?route=x", {}, 400, "route must be"),
        ("POST", "/requests", {"budget_id": "ann"}, 400, "amount_usd: is required"),
        (
            "POST",
            "/requests",
            {"budget_id": "an", "amount_usd": 1, "reason": "r"},
            404,
            "did you mean ann?",
        ),
        ("POST", "/requests/none/approve", {}, 404, "no request"),
        ("POST", "/requests/none/deny", {"why": "x"}, 400, "unknown key"),
        ("GET", "/requests?status=lost", None, 400, "status must be one of"),
        ("PATCH", "/budgets", {}, 405, "another method"),
    ],
)
def test_wrong_use_is_told_and_changes_nothing(
    app: App,
    api: httpx.Client,
    method: str,
    path: str,
    body: dict[str, object] | None,
    status: int,
    problem: str,
) -> None:
    before = told(api.get("/budgets"))

    answer = told(api.request(method, path, json=body), status)

    assert problem in answer["message"]
    assert told(api.get("/budgets")) == before


def test_nobody_administers_without_the_token(app: App) -> None:
    for method, path in (("GET", "budgets"), ("POST", "budgets"), ("GET", "models")):
        answer = httpx.request(method, f"{app.url}/api/{path}", timeout=30)
        assert told(answer, 401)["error"]["code"] == "invalid_admin_token"


def test_every_change_is_journalled_with_who_and_why(app: App, api: httpx.Client) -> None:
    ledger = open_ledger(Settings(home=app.home))
    before = ledger.policies.changes_since(0, 10_000)
    api.post("/budgets/ann/raise", json={"amount": 1, "reason": "by test", "id": "journalled"})
    app.cli("budget", "raise", "ann", "--amount", "1", "--reason", "by hand")

    new = ledger.policies.changes_since(before[-1].seq)
    ledger.close()

    assert [(one.actor.split(":")[0], one.reason, one.kind) for one in new] == [
        ("api", "by test", "raise"), (new[1].actor, "by hand", "raise"),
    ]  # fmt: skip
    assert new[0].actor == "api:ann"
    assert new[0].before is None
    assert json.loads(new[0].after or "")["amount_usd"] == "1"
    assert before[0].actor == "policy file"


def test_an_unknown_query_parameter_is_refused_and_the_documented_ones_are_named(
    api: httpx.Client, app: App
) -> None:
    document = httpx.get(f"{app.url}/openapi.json", timeout=30).json()
    others = ("/api/chat", "/api/holds", "/api/tokens", "/api/health")  # no administration
    asked = 0

    for path, operations in document["paths"].items():
        if not path.startswith("/api/") or path.startswith(others):
            continue
        shared = operations.get("parameters", [])
        for method in operations.keys() - {"parameters"}:
            operation = operations[method]
            given = [*shared, *operation.get("parameters", [])]
            known = ", ".join(one["name"] for one in given if one["in"] == "query") or "none"
            url = path.removeprefix("/api").replace("{", "").replace("}", "")

            error = told(api.request(method, url, params={"sinse": "2030-01-01"}), 400)["error"]

            what = "sinse: unknown query parameter; those of this path: "
            assert (error["message"], error["param"]) == (what + known, "sinse"), (method, path)
            assert "400" in operation["responses"], (method, path)
            asked += 1
    assert asked >= 16


def test_a_sum_with_a_misspelt_start_is_refused(api: httpx.Client) -> None:
    error = told(api.get("/spend?by=agent&sinse=2030-01-01"), 400)["error"]

    assert error["message"] == "sinse: unknown query parameter; those of this path: by, since"


def test_a_query_parameter_that_is_given_twice_is_refused(api: httpx.Client) -> None:
    error = told(api.get("/spend?by=agent&by=team"), 400)["error"]

    assert (error["message"], error["param"]) == ("by: is given twice; give it once", "by")
