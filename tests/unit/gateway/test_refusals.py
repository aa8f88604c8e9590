"""The table of refusals (DESIGN §4), row by row, for both hosts."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.domain.budget import Mode
from spendgate.domain.scope import Scope
from spendgate.gateway.reply import Reply, spend_headers
from spendgate.gateway.wire import Host

ERROR_KEYS = {"type", "code", "message", "param"}
REFUSAL_KEYS = {"error", "error_code", "message", "retryable", "suggested_model", "spend"}
SPEND_KEYS = {
    "request_id",
    "decision",
    "model_requested",
    "model_served",
    "cost_usd",
    "reserved_usd",
    "max_tokens_granted",
    "max_tokens_source",
    "tools_disabled",
    "price_version",
    "usage_source",
    "budgets",
}
BUDGET_KEYS = {
    "budget_id",
    "scope",
    "window",
    "limit_usd",
    "spent_usd",
    "held_usd",
    "remaining_usd",
    "status",
    "resets_at",
}


def assert_refused(
    reply: Any,
    status: int,
    code: str,
    *,
    retryable: bool = False,
    host: Host = Host.ENDPOINT,
) -> None:
    assert (reply.status, reply.body["error"]["code"]) == (status, code)
    assert set(reply.body) - {"budget"} == REFUSAL_KEYS
    assert set(reply.body["error"]) == ERROR_KEYS
    is_unknown_to_databricks = status == 402 and host is Host.ENDPOINT
    final = "INVALID_PARAMETER_VALUE"  # else mlflow.deployments repeats a 402 for minutes
    assert reply.body["error_code"] == (final if is_unknown_to_databricks else code.upper())
    assert reply.body["message"] == reply.body["error"]["message"]
    assert reply.body["retryable"] is retryable
    if reply.body["spend"] is not None:
        assert set(reply.body["spend"]) == SPEND_KEYS
        assert reply.body["spend"]["decision"] == "refuse"
        assert reply.body["spend"]["cost_usd"] == "0.000000000"


def test_the_spend_object_has_its_keys_and_figures(gate: Callable[..., Any]) -> None:
    opened = gate()

    opened.chat()
    spend = opened.chat(own={"agent": "triage"}).body["spend"]

    assert set(spend) == SPEND_KEYS
    reserved = spend.pop("reserved_usd")
    price_version = spend.pop("price_version")
    assert "0.001500000" < reserved < "0.002500000"  # 100 tokens at $15, and a short prompt at $3
    assert len(price_version) == 12
    assert spend == {
        "request_id": "call-2",
        "decision": "allow",
        "model_requested": "big",
        "model_served": "big",
        "cost_usd": "0.000135000",
        "max_tokens_granted": 100,
        "max_tokens_source": "client",
        "tools_disabled": [],
        "usage_source": "reported",
        "budgets": [
            {
                "budget_id": "users",
                "scope": "user:alice",
                "window": "day",
                "limit_usd": "10",
                "spent_usd": "0.000270000",
                "held_usd": "0.000000000",
                "remaining_usd": "9.999730000",
                "status": "ok",
                "resets_at": "2026-03-11T00:00:00Z",
            }
        ],
    }


def test_the_asgi_hosts_headers_repeat_the_figures(gate: Callable[..., Any], budget: Any) -> None:
    opened = gate(budget(), budget(id="whole", scope={}, limit_usd="5", window="lifetime"))

    reply = opened.chat(host=Host.ASGI)

    assert reply.body["spend"]["budgets"][1]["resets_at"] is None
    assert spend_headers(reply) == {
        "X-Spend-Request-Id": "call-1",
        "X-Spend-Decision": "allow",
        "X-Spend-Cost-Usd": "0.000135000",
        "X-Spend-Remaining-Usd": "4.999865000",
    }


@pytest.mark.parametrize(
    ("others", "least"),
    [(["10.000000000"], "9.500000000"), (["-0.000000001", "0.000000000"], "-0.000000001")],
)
def test_of_several_budgets_the_headers_name_what_the_tightest_leaves(
    others: list[str], least: str
) -> None:
    budgets = [{"remaining_usd": text} for text in [*others, "9.500000000"]]
    spend = {"request_id": "r", "decision": "allow", "cost_usd": "0", "budgets": budgets}

    headers = spend_headers(Reply(200, {"spend": spend}))

    assert headers["X-Spend-Remaining-Usd"] == least


@pytest.mark.parametrize("host", Host)
def test_an_exhausted_budget_says_everything_a_caller_can_act_on(
    gate: Callable[..., Any], budget: Callable[..., Any], host: Host
) -> None:
    opened = gate(budget(limit_usd="0.0003"), models={"small": {}})

    reply = opened.chat(host=host)

    assert_refused(reply, 402, "budget_exhausted", host=host)
    assert reply.body["error"]["type"] == "budget_exceeded"
    assert reply.retry_after_seconds is None
    assert reply.body["suggested_model"] == "small"
    (shown,) = reply.body["spend"]["budgets"]
    assert set(shown) == BUDGET_KEYS
    assert shown["status"] == "hard"
    assert (shown["limit_usd"], shown["remaining_usd"]) == ("0.0003", "0.000300000")
    for part in ("users", "user:alice", "day", "0.0003", "2026-03-11T00:00:00Z", "small"):
        assert part in reply.body["error"]["message"]
    (record,) = opened.decisions
    assert (record.decision, record.code) == ("refuse", "budget_exhausted")
    assert (record.budget_id, record.suggested_model) == ("users", "small")
    assert opened.upstream.bodies == []
    assert opened.held_nano == 0


@pytest.mark.parametrize(("host", "status"), [(Host.ASGI, 429), (Host.ENDPOINT, 402)])
def test_a_budget_held_by_calls_in_flight_asks_for_a_retry(
    gate: Callable[..., Any], budget: Callable[..., Any], host: Host, status: int
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False))
    refused: list[Any] = []

    def meanwhile(_body: object) -> Any:
        refused.append(opened.chat(host=host))
        return opened_answer

    opened_answer = opened.upstream.call("warm-up", {})
    opened.upstream.script.append(meanwhile)
    opened.chat()

    (reply,) = refused
    assert_refused(reply, status, "budget_held", retryable=True, host=host)
    assert reply.body["error"]["type"] == "budget_exceeded"
    assert reply.retry_after_seconds == 1.0
    assert spend_headers(reply)["Retry-After"] == "1"
    (shown,) = reply.body["spend"]["budgets"]
    assert shown["held_usd"] > "0.0015"
    assert "retry" in reply.body["error"]["message"]
    # As soon as the call in flight has settled, the same call fits.
    assert opened.chat(host=host).status == 200


def test_a_refusal_in_band_is_an_empty_answer_of_status_200(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.0003", refusal="in_band"))

    reply = opened.chat()

    assert reply.status == 200
    assert reply.body["error"]["code"] == "budget_exhausted"
    (choice,) = reply.body["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"] == reply.body["error"]["message"]
    assert reply.body["usage"]["total_tokens"] == 0
    assert reply.body["spend"]["budgets"][0]["status"] == "hard"
    assert opened.upstream.bodies == []


def test_a_model_without_a_price_is_refused(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(own={"model": "unheard-of"})

    assert_refused(reply, 400, "model_not_priced")
    assert reply.body["error"]["param"] == "model"
    assert reply.body["spend"]["model_requested"] == "unheard-of"
    assert opened.upstream.bodies == []


def test_a_call_that_no_budget_covers_is_refused(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(scope={"org": "acme"}))

    reply = opened.chat()

    assert_refused(reply, 403, "no_budget")
    assert "user:alice" in reply.body["error"]["message"]
    (record,) = opened.decisions
    assert (record.decision, record.code, record.scopes) == (
        "refuse",
        "no_budget",
        {"user": "alice"},
    )
    assert opened.upstream.bodies == []


def test_who_is_covered_by_nothing_is_told_what_the_nearest_budget_asks_for(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(
        budget(id="a", scope={"org": "acme", "team": "x", "user": "*"}),
        budget(id="b", scope={"org": "acme", "user": "alice"}),
        budget(id="c", scope={"user": "bob"}),
        budget(id="d", scope={"user": "*"}, expires_at="2020-01-01T00:00:00Z"),
    )

    message = opened.chat().body["error"]["message"]

    assert message.endswith("(user:alice); the nearest one also asks for org: name it")


def test_another_case_of_a_value_is_told_before_a_budget_that_asks_for_more(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(
        budget(id="a", scope={"user": "*", "tags": {"cost_center": "*"}}),
        budget(id="b", scope={"org": "acme", "user": "*"}),
        budget(id="c", scope={"org": "other-acme", "user": "*"}),
    )

    message = opened.chat(own={"org": "Acme"}).body["error"]["message"]

    assert message.endswith(
        "(org:Acme, user:alice); a budget has org:acme; values are case-sensitive"
    )


def test_a_budget_that_has_expired_is_no_way_out(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(
        budget(id="a", scope={"org": "acme"}, expires_at="2020-01-01T00:00:00Z"),
        budget(id="b", scope={"team": "x"}, expires_at="2020-01-01T00:00:00Z"),
    )

    message = opened.chat(own={"org": "Acme"}).body["error"]["message"]

    assert message.endswith("(org:Acme, user:alice)")


def test_the_policy_may_let_unmatched_calls_through_and_they_are_recorded(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(scope={"org": "acme"}), defaults={"unmatched": "allow"})

    reply = opened.chat()

    assert reply.status == 200
    assert reply.body["spend"]["budgets"] == []
    (event,) = opened.events
    assert (event.cost_nano, event.facts.budget_ids) == (135_000, ())


@pytest.mark.parametrize("scope", ["user:alice", "user:*", "all"])
def test_a_paused_scope_is_refused(gate: Callable[..., Any], scope: str) -> None:
    opened = gate()
    opened.ledger.policies.pause(Scope.parse(scope), "incident", opened.clock())

    reply = opened.chat()

    assert_refused(reply, 403, "scope_paused")
    assert scope in reply.body["error"]["message"]
    assert [record.code for record in opened.decisions] == ["scope_paused"]
    assert opened.upstream.bodies == []


def test_a_pause_of_somebody_else_is_no_matter(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.ledger.policies.pause(Scope.parse("user:bob"), "incident", opened.clock())

    assert opened.chat().status == 200


@pytest.mark.parametrize("host", Host)
def test_scenario_11_an_unreachable_ledger_fails_closed(
    gate: Callable[..., Any], host: Host
) -> None:
    opened = gate()
    opened.failing.break_down("reserve")

    reply = opened.chat(host=host)

    assert_refused(reply, 503, "ledger_unavailable", retryable=True)
    assert opened.upstream.bodies == []


def test_a_shadow_budget_refuses_nothing_and_says_what_it_would_have(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.0003", mode=Mode.SHADOW))

    reply = opened.chat()

    assert (reply.status, reply.body["spend"]["decision"]) == (200, "allow")
    assert opened.spent_nano == 135_000
    (record,) = opened.decisions
    assert (record.decision, record.code, record.budget_id) == (
        "shadow",
        "budget_exhausted",
        "users",
    )


def test_an_image_that_no_other_model_bounds_hinders_neither_chain_nor_suggestion(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    chain = [{"from": ["big"], "to": "small"}]
    opened = gate(
        budget(limit_usd="0.01", auto_downgrade=chain), models={"big": {"image_tokens": 100}}
    )
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [{"role": "user", "content": [image]}]

    assert opened.chat(messages=messages).status == 200
    assert_refused(opened.chat(messages=messages, n=50), 402, "budget_exhausted")
