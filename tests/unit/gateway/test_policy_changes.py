"""A change of policy or prices is seen by the very next call, whichever way it points."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from spendgate.domain.budget import Raise
from spendgate.domain.scope import Scope
from spendgate.gateway.reply import Reply


def code(reply: Reply) -> object:
    error = reply.body.get("error")
    return error["code"] if isinstance(error, dict) else reply.status


def test_a_lowered_limit_binds_the_next_call(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate()
    assert code(opened.chat()) == 200

    opened.ledger.policies.put_budgets([budget(limit_usd="0.0002")])

    refused = opened.chat()
    assert code(refused) == "budget_exhausted"
    assert refused.body["spend"]["budgets"][0]["limit_usd"] == "0.0002"


def test_a_limit_below_what_is_spent_shows_what_is_over(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate()
    opened.chat()

    opened.ledger.policies.put_budgets([budget(limit_usd="0.000005")])

    (shown,) = opened.chat().body["spend"]["budgets"]
    assert shown["remaining_usd"] == "-0.000130000"


def test_a_raise_frees_the_next_call_until_it_ends(
    gate: Callable[..., Any], budget: Callable[..., Any], clock: Any
) -> None:
    opened = gate(budget(limit_usd="0.0001"))
    assert code(opened.chat()) == "budget_exhausted"

    ends = clock() + timedelta(hours=1)
    opened.ledger.policies.put_raise(Raise("r-1", "users", 10**9, "launch", ends))
    raised = opened.chat()
    assert raised.body["spend"]["budgets"][0]["limit_usd"] == "1.0001"

    clock.advance(hours=1)
    assert code(opened.chat()) == "budget_exhausted"


def test_a_pause_stops_and_a_resume_frees_the_next_call(gate: Callable[..., Any]) -> None:
    opened = gate()
    assert code(opened.chat()) == 200

    opened.ledger.policies.pause(Scope.parse("user:alice"), "incident", opened.clock())
    assert code(opened.chat()) == "scope_paused"
    assert code(opened.chat(own={"user": "bob"})) == 200

    opened.ledger.policies.resume(Scope.parse("user:alice"))
    assert code(opened.chat()) == 200
    assert [record.code for record in opened.decisions] == ["scope_paused"]


def test_a_new_budget_covers_the_next_call(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(scope={"org": "acme"}))
    assert code(opened.chat()) == "no_budget"

    opened.ledger.policies.put_budgets([budget(id="more")])
    assert code(opened.chat()) == 200

    opened.ledger.policies.remove_budget("more")
    assert code(opened.chat()) == "no_budget"


def test_a_price_makes_the_next_call_possible(gate: Callable[..., Any]) -> None:
    opened = gate()
    assert code(opened.chat(own={"model": "new"})) == "model_not_priced"

    row = {
        "model": "new",
        "effective_from": "2026-01-01T00:00:00Z",
        "usd_per_million": {"input": "1", "output": "2"},
        "source": "test",
    }
    opened.ledger.policies.put_price(json.dumps(row))

    assert opened.chat(own={"model": "new"}).body["spend"]["cost_usd"] == "0.000030000"


def test_a_budget_may_start_to_accept_what_is_only_asserted_and_stop_again(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(trust={"user": "trusted"}))
    assert code(opened.chat()) == "scope_forbidden"

    opened.ledger.policies.put_budgets([budget(trust={"user": "asserted"})])
    assert code(opened.chat()) == 200

    opened.ledger.policies.put_budgets([budget(trust={"user": "trusted"})])
    assert code(opened.chat()) == "scope_forbidden"
    assert len(opened.upstream.bodies) == 1


def test_a_budget_past_its_end_covers_nothing(
    gate: Callable[..., Any], budget: Callable[..., Any], clock: Any
) -> None:
    opened = gate(budget(expires_at="2026-03-10T13:00:00Z"))
    assert code(opened.chat()) == 200

    clock.advance(hours=1)

    assert code(opened.chat()) == "no_budget"


def test_a_refresh_takes_a_change_before_any_call_asks(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate()
    opened.chat()
    opened.ledger.policies.put_budgets([budget(limit_usd="0.0002")])

    opened.gateway.refresh()
    opened.failing.break_down("policies")

    assert code(opened.chat()) == "budget_exhausted"


def test_a_policy_that_changes_without_end_fails_closed(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate()
    real, count = opened.ledger.policies.policy, iter(range(10_000))

    class Restless:
        def policy(self) -> Any:
            policy = real()
            opened.ledger.policies.put_budgets([budget(limit_usd=1 + next(count))])
            return policy

        def __getattr__(self, name: str) -> Any:
            return getattr(opened.ledger.policies, name)

    opened.failing.policies = Restless()

    assert code(opened.chat()) == "ledger_unavailable"
    assert opened.upstream.bodies == []
    assert opened.held_nano == 0


@pytest.mark.parametrize("row", ['{"model": "x"}', "{}"])
def test_a_price_row_that_cant_be_read_fails_closed(gate: Callable[..., Any], row: str) -> None:
    opened = gate()
    opened.chat()

    opened.ledger.policies.put_price(row)

    assert code(opened.chat()) == "ledger_unavailable"
    assert opened.held_nano == 0
