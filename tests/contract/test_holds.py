"""Two phases over the wire: both hosts on one ledger, the model called by the test itself."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.contract.running_app import MODEL, App, running

pytestmark = pytest.mark.server

KEY = "a key that is long enough for HS256, really"
CANARY = "the canary sings"
BUDGETS = """
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 10}
  - {id: poor, scope: {agent: poor}, limit_usd: 0.000001}
"""
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[dict[str, App]]:
    home = tmp_path_factory.mktemp("holds")
    shared = {"SPENDGATE_SIGNING_KEY": KEY, "SPENDGATE_HOLD_TTL_SECONDS": "400"}
    with (
        running(home, simulator, budgets=BUDGETS, workers=2, kind="app", **shared) as app,
        running(home, simulator, budgets=BUDGETS, workers=1, kind="serve", **shared) as serve,
    ):
        yield {"app": app, "serve": serve}
    for kind in ("app", "serve"):
        assert CANARY not in (home / f"{kind}.log").read_text()


@pytest.fixture(scope="module")
def mine(hosts: dict[str, App]) -> str:
    return hosts["app"].cli("token", "mint", "--agent", "mine", "--ttl", "600")


@pytest.fixture(scope="module")
def other(hosts: dict[str, App]) -> str:
    return hosts["app"].cli("token", "mint", "--agent", "other", "--ttl", "600")


def reserve(hosts: dict[str, App], kind: str, token: str | None, **fields: Any) -> httpx.Response:
    own: dict[str, Any] = {**fields.pop("own", {}), "model": MODEL}
    body = {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 30, **fields}
    if kind == "app":
        headers = {"authorization": f"Bearer {token}"} if token else {}
        path, body = "/api/holds", {**body, "custom_inputs": own}
        return httpx.post(hosts["app"].url + path, json=body, headers=headers, timeout=30)
    own |= {"operation": "reserve", **({"spend_token": token} if token else {})}
    return invoke(hosts, {**body, "custom_inputs": own})


def end(
    hosts: dict[str, App], kind: str, token: str | None, hold_id: str, verb: str, answer: Any = None
) -> httpx.Response:
    if kind == "app":
        url = f"{hosts['app'].url}/api/holds/{hold_id}/{verb}"
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.post(url, json=answer or {}, headers=headers, timeout=30)
    own = {"operation": verb, "hold_id": hold_id, **({"spend_token": token} if token else {})}
    if answer:
        own["answer"] = answer
    # MLflow's server takes a body for a request only if it has messages, prompt or input.
    return invoke(hosts, {"messages": [], "custom_inputs": own})


def invoke(hosts: dict[str, App], body: dict[str, Any]) -> httpx.Response:
    return httpx.post(hosts["serve"].url + "/invocations", json=body, timeout=30)


def call(simulator: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call the model as an agent does, around the gate."""
    answer = httpx.post(f"{simulator}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200
    return answer.json()


def billed(simulator: str) -> int:
    return int(httpx.get(f"{simulator}/bill").json()["total_nano_usd"])


def nano(usd: str) -> int:
    return int(Decimal(usd) * 10**9)


@pytest.mark.parametrize("ending", ["app", "serve"])
@pytest.mark.parametrize("reserving", ["app", "serve"])
def test_a_hold_of_one_host_is_settled_at_the_bill_by_either(
    hosts: dict[str, App], simulator: str, mine: str, reserving: str, ending: str
) -> None:
    hold = reserve(hosts, reserving, mine).json()
    before = billed(simulator)
    answer = call(simulator, hold["body"])

    first, again = (end(hosts, ending, mine, hold["hold_id"], "settle", answer) for _ in range(2))

    assert first.status_code == 200, first.text
    ended = first.json()
    assert (ended["state"], ended["changed"]) == ("settled", True)
    assert nano(ended["spend"]["cost_usd"]) == billed(simulator) - before > 0
    assert ended["spend"]["budgets"][0]["scope"] == "agent:mine"
    assert Decimal(ended["spend"]["budgets"][0]["held_usd"]) == 0
    assert (again.json()["changed"], again.json()["spend"]["cost_usd"]) == (
        False,
        ended["spend"]["cost_usd"],
    )
    late = end(hosts, ending, mine, hold["hold_id"], "void").json()
    assert (late["state"], late["changed"]) == ("settled", False)


@pytest.mark.parametrize("name", ["usage", "answer"])
def test_usage_beside_the_operation_leaves_the_hold_open(
    hosts: dict[str, App], mine: str, name: str
) -> None:
    hold_id = reserve(hosts, "serve", mine).json()["hold_id"]
    own = {"operation": "settle", "hold_id": hold_id, "spend_token": mine}
    said = {"prompt_tokens": 20, "completion_tokens": 5}

    refused = invoke(hosts, {"messages": [], name: said, "custom_inputs": own})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    ended = end(hosts, "serve", mine, hold_id, "void").json()
    assert (ended["state"], ended["changed"]) == ("voided", True)


@pytest.mark.parametrize("kind", ["app", "serve"])
def test_a_void_releases_all(hosts: dict[str, App], mine: str, kind: str) -> None:
    hold = reserve(hosts, kind, mine, stream=True).json()
    assert hold["body"]["stream"] is True

    ended = end(hosts, kind, mine, hold["hold_id"], "void").json()

    assert (ended["state"], nano(ended["spend"]["cost_usd"])) == ("voided", 0)
    assert Decimal(ended["spend"]["budgets"][0]["held_usd"]) == 0
    conflict = end(hosts, kind, mine, hold["hold_id"], "settle")
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "hold_voided")


@pytest.mark.parametrize("kind", ["app", "serve"])
@pytest.mark.parametrize("verb", ["settle", "void"])
def test_somebody_else_cannot_end_it(
    hosts: dict[str, App], mine: str, other: str, kind: str, verb: str
) -> None:
    hold = reserve(hosts, kind, mine).json()

    by_other = end(hosts, kind, other, hold["hold_id"], verb)
    by_nobody = end(hosts, kind, None, hold["hold_id"], verb)
    by_administrator = end(hosts, kind, "the administrator's token", hold["hold_id"], verb)

    assert (by_other.status_code, by_other.json()["error"]["code"]) == (404, "hold_not_found")
    assert [by_nobody.status_code, by_administrator.status_code] == [401, 401]
    mine_yet = end(hosts, kind, mine, hold["hold_id"], "void").json()
    assert mine_yet["changed"] is True


@pytest.mark.parametrize("kind", ["app", "serve"])
def test_reserving_needs_a_token_and_is_refused_as_a_call_is(
    hosts: dict[str, App], mine: str, kind: str
) -> None:
    poor = hosts["app"].cli("token", "mint", "--agent", "poor", "--ttl", "600")

    without = reserve(hosts, kind, None)
    too_dear = reserve(hosts, kind, poor)
    wrong = reserve(hosts, kind, mine, n=0)

    assert (without.status_code, without.json()["error"]["code"]) == (401, "invalid_spend_token")
    assert (too_dear.status_code, too_dear.json()["budget"]["budget_id"]) == (402, "poor")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "n")


@pytest.mark.parametrize("kind", ["app", "serve"])
def test_an_idempotency_key_holds_once(hosts: dict[str, App], mine: str, kind: str) -> None:
    own = {"idempotency_key": f"key-{kind}"}

    answers = [reserve(hosts, kind, mine, own=own) for _ in range(4)]

    holds = {one.json()["hold_id"] for one in answers}  # a worker without the answer names it too
    assert len(holds) == 1
    assert {one.status_code for one in answers} <= {200, 409}
    (hold_id,) = holds
    ended = end(hosts, kind, mine, hold_id, "void").json()
    assert ended["changed"] is True
    assert Decimal(ended["spend"]["budgets"][0]["held_usd"]) == 0


def test_a_percent_encoded_id_of_the_tables_is_understood(hosts: dict[str, App], mine: str) -> None:
    hold = reserve(hosts, "app", mine).json()
    as_in_tables = hold["client_request_id"].replace("#", "%23")

    assert end(hosts, "app", mine, as_in_tables, "void").json()["changed"] is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/holds", 405),
        ("GET", "/api/holds/hold-1.1/settle", 405),
        ("POST", "/api/holds/hold-1.1/refund", 404),
        ("POST", "/api/holds/hold-1.1", 404),
        ("POST", "/api/holds/", 404),
    ],
)
def test_other_paths_are_none(hosts: dict[str, App], method: str, path: str, status: int) -> None:
    assert httpx.request(method, hosts["app"].url + path).status_code == status


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/holds", {"custom_inputs": [1]}, "custom_inputs"),
        ("/api/holds", {"custom_inputs": {"operation": "void"}}, "custom_inputs.operation"),
        ("/api/holds/hold-1.1/void", {"custom_inputs": {"hold_id": "x"}}, "custom_inputs.hold_id"),
        ("/api/holds/hold-1.1/settle", {"usage": [1]}, "usage"),
        ("/api/holds/hold-1.1/settle", {"usag": {"prompt_tokens": 9}}, "usage"),
        ("/api/holds/hold-1.1/settle", {"usage": {"prompt_tokens": "9"}}, "usage"),
    ],
)
def test_a_wrong_body_names_its_field(
    hosts: dict[str, App], mine: str, path: str, body: Any, field: str
) -> None:
    headers = {"authorization": f"Bearer {mine}"}

    answer = httpx.post(hosts["app"].url + path, json=body, headers=headers, timeout=30)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
