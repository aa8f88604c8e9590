"""Past spend decided again: by the policy in force as it was, by others as they would have."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

import pytest

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.event import DecisionRecord, SpendEvent
from spendgate.domain.price import PriceBook
from spendgate.gateway.past_call import PastCall, PastRefusal, Pricing, past_call
from spendgate.gateway.ports import UpstreamNotSent
from spendgate.gateway.replaying import Replay, Tally, replay_report

CHAIN = [{"from": ["big"], "to": "mid"}, {"from": ["mid"], "to": "small"}]
EXPECTED = 256


def history(
    events: Sequence[SpendEvent], decisions: Sequence[DecisionRecord]
) -> list[PastCall | PastRefusal]:
    """Order what happened as the tables do."""
    ordered = sorted(events, key=lambda one: (one.facts.occurred_at, one.hold_id, one.recorded_at))
    calls = [past_call(list(group)) for _, group in groupby(ordered, key=lambda one: one.hold_id)]
    refusals = [PastRefusal(one) for one in decisions if one.decision == "refuse"]
    return list(heapq.merge(calls, refusals, key=lambda one: one.at))


Replayed = Callable[..., Tally]


@pytest.fixture
def replayed(book: PriceBook) -> Replayed:
    """Decide again what a gate has decided."""

    def run(opened: Any, policy: Policy, since: datetime | None = None) -> Tally:
        trial = Replay(policy, Pricing(book, EXPECTED), since)
        return trial.run(history(opened.events, opened.decisions))

    return run


MakePast = Callable[..., Any]


@pytest.fixture
def make_past(
    gate: Callable[..., Any], budget: Callable[..., Any], answer: Callable[..., Any]
) -> MakePast:
    """Make a sequential history of three days: every end of a call, under three budgets."""

    def make(**of_users: Any) -> Any:
        dice = random.Random(7)
        opened = gate(
            budget(limit_usd="0.03", min_output_tokens=64, **of_users),
            budget(id="org", scope={"org": "acme"}, limit_usd="0.02", window="rolling:24h"),
            budget(id="life", scope={"agent": "*"}, limit_usd="0.04", window="lifetime", fit=False),
        )

        def used(body: Any) -> Any:
            tokens = {"prompt_tokens": dice.randint(5, 8), "total_tokens": 0}
            return answer({**tokens, "completion_tokens": dice.randint(1, body["max_tokens"])})

        for _ in range(150):
            script = [used, answer(None), UpstreamNotSent("no route")]
            opened.upstream.script.append(dice.choices(script, [8, 1, 1])[0])
            who = {"user": dice.choice(["alice", "bob"]), "org": dice.choice(["acme", None])}
            agent = dice.choice(["a", None, None])
            opened.chat(own={**who, "agent": agent}, max_tokens=dice.choice([20, 200, 500, 900]))
            opened.upstream.script.clear()
            opened.clock.advance(minutes=dice.randint(1, 60))
        return opened

    return make


@pytest.fixture
def past(make_past: MakePast) -> Any:
    return make_past()


def test_the_policy_in_force_decides_a_sequential_history_as_it_was_decided(
    past: Any, replayed: Replayed
) -> None:
    policy = past.ledger.policies.policy()

    tally = replayed(past, policy)

    assert set(tally.past) == {"allow", "fit", "refuse"}
    assert min(tally.past.values()) > 5
    assert tally.same == tally.past.total() == 150
    assert tally.replayed == tally.past
    assert tally.replayed_nano == tally.past_nano == past_cost(past)
    assert (tally.newly_refused, tally.newly_admitted) == (0, 0)
    # What it says of the budgets is what the ledger says.
    spent = {"life": 0, "org": 0, "users": 0}
    for row in past.ledger.balances():
        spent[row.budget_id] += row.spent_nano
    assert {name: one.spent_nano for name, one in tally.budgets.items()} == spent
    refused = [one.budget_id for one in past.decisions if one.decision == "refuse"]
    assert {name: one.refused for name, one in tally.budgets.items()} == {
        name: refused.count(name) for name in spent
    }


def test_downgrades_are_decided_again_but_for_calls_at_the_very_edge_of_a_soft_cap(
    make_past: MakePast, replayed: Replayed
) -> None:
    past = make_past(soft_cap=0.5, auto_downgrade=CHAIN[:1])

    tally = replayed(past, past.ledger.policies.policy())

    # The soft cap looks at a call's expected cost, which events don't keep.
    assert tally.past["downgrade"] > 50
    assert tally.same >= 147


def past_cost(past: Any) -> int:
    return sum(one.cost_nano for one in past.events)


def test_half_the_money_refuses_more_and_never_spends_more_than_its_limit(
    past: Any, replayed: Replayed
) -> None:
    policy = past.ledger.policies.policy()
    halved = tuple(replace(one, limit_nano=one.limit_nano // 2) for one in policy.budgets)

    tally = replayed(past, replace(policy, budgets=halved))

    assert tally.newly_refused > 0
    assert tally.replayed_nano < tally.past_nano
    assert tally.replayed.total() == tally.past.total()
    (life,) = [one for one in halved if one.budget_id == "life"]
    assert tally.budgets["life"].spent_nano <= life.limit_nano
    first = tally.budgets["life"]
    assert first.first_refusal_at is not None
    assert first.first_refused == "agent:a"
    assert tally.newly_refused_nano > 0


def test_more_money_admits_what_was_refused_at_no_more_than_it_would_have_held(
    past: Any, replayed: Replayed
) -> None:
    policy = past.ledger.policies.policy()
    ample = tuple(replace(one, limit_nano=one.limit_nano * 100) for one in policy.budgets)

    tally = replayed(past, replace(policy, budgets=ample))

    assert tally.replayed["refuse"] == 0
    assert tally.newly_admitted == tally.past["refuse"]
    needed = sum(one.needed_nano or 0 for one in past.decisions if one.decision == "refuse")
    assert tally.newly_admitted_nano == needed


def test_a_shadow_budget_says_what_it_would_have_refused(
    past: Any, replayed: Replayed, budget: Callable[..., Budget]
) -> None:
    shadow = budget(scope={"user": "*"}, limit_usd="0.001", mode="shadow")

    tally = replayed(past, Policy((shadow,)))

    assert tally.replayed["refuse"] == tally.budgets["users"].refused == 0
    assert tally.budgets["users"].would_refuse > 10


def test_a_downgrade_is_priced_at_the_cheaper_model(
    gate: Callable[..., Any], replayed: Replayed, budget: Callable[..., Budget]
) -> None:
    opened = gate()
    assert opened.chat().body["spend"]["cost_usd"] == "0.000135000"

    tally = replayed(opened, Policy((budget(soft_cap=0.0001, auto_downgrade=CHAIN[:1]),)))

    assert tally.replayed == {"downgrade": 1}
    assert tally.replayed_nano == 45_000


def test_a_smaller_grant_cuts_the_answer(
    gate: Callable[..., Any],
    replayed: Replayed,
    budget: Callable[..., Budget],
    answer: Callable[..., Any],
) -> None:
    opened = gate()
    used = {"prompt_tokens": 10, "completion_tokens": 1000, "total_tokens": 1010}
    opened.upstream.script.append(answer(used))
    opened.chat(max_tokens=1000)

    tally = replayed(opened, Policy((budget(limit_usd="0.009"),)))

    assert tally.replayed == {"fit": 1}
    assert 0 < tally.replayed_nano <= 9_000_000
    assert tally.past_nano == 15_030_000


def test_a_call_that_ended_the_moment_another_came_holds_nothing_any_more(
    gate: Callable[..., Any], replayed: Replayed, budget: Callable[..., Budget]
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False))
    for _ in range(2):
        assert opened.chat().status == 200  # the clock stands still

    tally = replayed(opened, opened.ledger.policies.policy())

    assert (tally.replayed, tally.same) == ({"allow": 2}, 2)


def test_calls_without_a_budget_are_refused_unless_the_policy_lets_them(
    gate: Callable[..., Any], replayed: Replayed, budget: Callable[..., Budget]
) -> None:
    opened = gate()
    opened.chat()
    nobody = Policy((budget(scope={"org": "other"}),))

    refused = replayed(opened, nobody)
    allowed = replayed(
        opened, replace(nobody, defaults=replace(nobody.defaults, unmatched="allow"))
    )

    assert (refused.replayed, refused.codes) == ({"refuse": 1}, {"no_budget": 1})
    assert allowed.replayed == {"allow": 1}
    assert replay_report(allowed, nobody)["refusals"] == {}


def test_what_is_before_since_fills_the_windows_and_is_not_counted(
    gate: Callable[..., Any], replayed: Replayed, budget: Callable[..., Budget]
) -> None:
    opened = gate()
    for _ in range(3):
        opened.chat()
        opened.clock.advance(minutes=1)

    tally = replayed(
        opened,
        Policy((budget(limit_usd="0.0005", fit=False),)),
        since=opened.clock.now.replace(minute=2),
    )

    assert (tally.past.total(), tally.replayed) == (1, {"refuse": 1})
