"""Less money left: fewer tokens, then a cheaper model, at prices that are asked anew."""

from collections.abc import Callable
from typing import Any

import pytest

CHAIN = [{"from": ["big"], "to": "mid"}, {"from": ["mid"], "to": "small"}]


def test_what_doesnt_fit_in_full_is_shrunk_to_what_is_left(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.01"))

    reply = opened.chat(max_tokens=100_000)

    spend = reply.body["spend"]
    granted = spend["max_tokens_granted"]
    assert (spend["decision"], spend["max_tokens_source"]) == ("fit", "fit")
    assert 256 <= granted < 667  # $0.01 buys 666 tokens at $15 per million, and no prompt
    assert opened.upstream.bodies[0]["max_tokens"] == granted
    # The largest that fits: one token more would pass the limit.
    assert "0.009985" < spend["reserved_usd"] <= "0.010000000"


def test_nothing_is_shrunk_below_the_floor(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.01", min_output_tokens=700))

    assert opened.chat(max_tokens=100_000).status == 402
    assert opened.chat(max_tokens=500).status == 200


def test_a_budget_may_want_no_fit(gate: Callable[..., Any], budget: Callable[..., Any]) -> None:
    opened = gate(budget(limit_usd="0.01", fit=False))

    assert opened.chat(max_tokens=1000).status == 402


def test_at_the_soft_cap_a_cheaper_model_is_asked_and_paid(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(soft_cap=0.0001, auto_downgrade=CHAIN))

    reply = opened.chat()

    spend = reply.body["spend"]
    assert (spend["decision"], spend["model_requested"]) == ("downgrade", "big")
    assert spend["model_served"] == opened.upstream.bodies[0]["model"] == "mid"
    assert spend["cost_usd"] == "0.000045000"  # 20 tokens at $1 and 5 at $5 per million
    (record,) = opened.decisions
    assert (record.decision, record.suggested_model) == ("downgrade", "mid")
    (event,) = opened.events
    assert (event.facts.model_requested, event.facts.model) == ("big", "mid")


def test_a_call_holds_no_money_for_tools_that_are_dropped(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    searching = {"type": "function", "function": {"name": "search", "description": "x" * 40_000}}
    counting = {"type": "function", "function": {"name": "count", "description": "y" * 400}}
    poor = budget(limit_usd="0.05", soft_cap=0.0001, disable_tools=["search", "browse"])
    of_org = budget(id="all", scope={}, disable_tools=["count"])
    opened = gate(poor, of_org)

    lost = opened.chat(tools=[searching, counting])
    bare = opened.chat(tools=[counting])
    kept = opened.chat(functions=[{"name": "look", "description": "x" * 40_000}])

    assert lost.body["spend"]["tools_disabled"] == ["browse", "search"]
    assert opened.upstream.bodies[0]["tools"] == opened.upstream.bodies[1]["tools"] == [counting]
    assert lost.body["spend"]["reserved_usd"] == bare.body["spend"]["reserved_usd"]
    assert kept.status == 402  # such a description alone costs $0.12


def test_a_budget_on_trial_changes_nothing_of_what_dropped_tools_cost(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    tools = [
        {"type": "function", "function": {"name": name, "description": "x" * 400}} for name in "abc"
    ]
    opened = gate(
        budget(soft_cap=0.0001, disable_tools=["a"]),
        budget(id="all", scope={}, soft_cap=0.0001, disable_tools=["b"]),
        budget(id="trial", scope={}, soft_cap=0.0001, mode="shadow", disable_tools=["c"]),
    )

    lost, bare = opened.chat(tools=tools), opened.chat(tools=tools[2:])

    assert opened.upstream.bodies[0]["tools"] == opened.upstream.bodies[1]["tools"] == tools[2:]
    assert lost.body["spend"]["reserved_usd"] == bare.body["spend"]["reserved_usd"]


def test_a_step_that_doesnt_fit_in_full_leads_to_the_next(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.03", soft_cap=0.0001, auto_downgrade=CHAIN))

    reply = opened.chat(max_tokens=10_000)

    assert reply.body["spend"]["model_served"] == "small"
    assert reply.body["spend"]["max_tokens_granted"] == 10_000


def test_a_downgrade_that_is_shrunk_as_well_is_called_a_downgrade(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.003", soft_cap=0.0001, auto_downgrade=CHAIN))

    spend = opened.chat(max_tokens=10_000).body["spend"]

    assert (spend["decision"], spend["max_tokens_source"]) == ("downgrade", "fit")
    assert spend["max_tokens_granted"] < 10_000


def test_an_unpriced_step_is_not_taken(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    chain = [{"from": ["big"], "to": "unheard-of"}]
    opened = gate(budget(soft_cap=0.0001, auto_downgrade=chain))

    assert opened.chat().body["spend"]["model_served"] == "big"


def test_the_tightest_of_all_budgets_decides(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(
        budget(id="org", scope={"org": "acme"}, limit_usd=500),
        budget(id="team", scope={"team": "*"}, limit_usd="0.012"),
        budget(id="user", scope={"user": "*"}, limit_usd="0.010"),
    )

    reply = opened.chat(max_tokens=100_000, own={"org": "acme", "team": "blue"})

    assert "0.009985" < reply.body["spend"]["reserved_usd"] <= "0.010000000"
    shown = [one["budget_id"] for one in reply.body["spend"]["budgets"]]
    assert shown == ["org", "team", "user"]
    assert {row.spent_nano for row in opened.ledger.balances()} == {135_000}


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_budget_that_is_short_moves_nothing_anywhere(
    gate: Callable[..., Any], budget: Callable[..., Any], position: int
) -> None:
    scopes = [{"org": "acme"}, {"team": "*"}, {"user": "*"}]
    limits = ["0.0001" if index == position else "10" for index in range(3)]
    opened = gate(
        *(
            budget(id=f"b{index}", scope=scope, limit_usd=limit)
            for index, (scope, limit) in enumerate(zip(scopes, limits, strict=True))
        )
    )

    reply = opened.chat(own={"org": "acme", "team": "blue"})

    assert reply.status == 402
    assert reply.body["budget"]["budget_id"] == f"b{position}"
    assert opened.ledger.balances() == []
