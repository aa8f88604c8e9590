"""Adjustments in an operator's words: whose budgets, in which window, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spendgate.domain.adjustment import (
    AdjustmentProblem,
    Booking,
    HoldRecord,
    NotAdjusted,
    Repricing,
)
from spendgate.domain.budget import BalanceKey, Budget, Policy
from spendgate.domain.event import CallFacts
from spendgate.domain.hold import EventKind, HoldAmounts, HoldState
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window
from spendgate.errors import InvalidRequestError
from spendgate.gateway.adjusting import (
    adjustment,
    booking,
    claim_of_budget,
    claims_of_facts,
    claims_of_payer,
    not_adjusted,
    transfer,
)

AT = datetime(2026, 3, 14, 12, tzinfo=UTC)
USERS = Budget("users", Scope.parse("user:*"), 100, parse_window("day"))
ORG = Budget("org", Scope.parse("org:acme"), 100, parse_window("month"))
TAGGED = Budget("center", Scope.parse("tag.center:*"), 100, parse_window("lifetime"))
POLICY = Policy((USERS, ORG, TAGGED))
FACTS = CallFacts(
    2, AT, {"org": "acme", "user": "ann"}, "big", "small", "main", "global", "v1", "downgrade",
    ("users", "org", "gone"), {"center": "a,b"},
)  # fmt: skip
HOLD = HoldRecord(HoldAmounts(HoldState.SETTLED, 20, 10), FACTS)


def test_a_payer_is_charged_in_every_budget_that_covers_it_at_that_time() -> None:
    payer = Scope.parse("org:acme,user:ann")

    claims = claims_of_payer(POLICY, payer, AT)
    made = booking(claims, payer, -7, AT, kind=EventKind.EXTERNAL)

    assert made.keys == (
        BalanceKey("users", "ann", "2026-03-14"),
        BalanceKey("org", "acme", "2026-03"),
    )
    assert (made.amount_nano, made.kind, made.facts.occurred_at) == (-7, EventKind.EXTERNAL, AT)
    assert made.facts.scopes == {"org": "acme", "user": "ann"}
    assert made.facts.budget_ids == ("users", "org")
    assert (made.facts.model, made.charge.usage_source) == ("adjustment", "external")


def test_one_budget_is_charged_for_its_own_scope_or_for_a_named_value() -> None:
    own, payer = claim_of_budget(POLICY, "org", None, AT)
    named, who = claim_of_budget(POLICY, "center", Scope.parse("tag.center:a%2Cb"), AT)

    assert (own.keys[0], payer.text) == (BalanceKey("org", "acme", "2026-03"), "org:acme")
    assert named.keys[0] == BalanceKey("center", "a%2Cb", "*")
    assert booking((named,), who, 1, AT).facts.tags == {"center": "a,b"}


@pytest.mark.parametrize(
    ("budget_id", "payer", "problem"),
    [
        ("nope", None, "there is no budget 'nope'; there are: users, org, center"),
        ("users", None, "say whose with --scope user:NAME"),
        ("users", "user:*", "name who pays"),
        ("users", "agent:x", "budget 'users' covers user:*, not agent:x"),
    ],
)
def test_a_budget_that_can_t_be_charged_so_is_told(
    budget_id: str, payer: str | None, problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem.replace("*", r"\*")):
        claim_of_budget(POLICY, budget_id, None if payer is None else Scope.parse(payer), AT)


def test_a_payer_that_nothing_covers_is_told() -> None:
    with pytest.raises(InvalidRequestError, match="no budget covers agent:x"):
        claims_of_payer(POLICY, Scope.parse("agent:x"), AT)
    with pytest.raises(InvalidRequestError, match="name who pays"):
        transfer(POLICY, "h#1", HOLD, Scope.parse("user:*"))


def test_a_transfer_replaces_what_it_names_and_keeps_the_rest_and_the_window() -> None:
    change, claims = transfer(POLICY, "h#1", HOLD, Scope.parse("user:bob"))

    assert change.facts == replace(
        FACTS, scopes={"org": "acme", "user": "bob"}, budget_ids=("users", "org", "center")
    )
    assert change.keys == tuple(claim.keys[0] for claim in claims)
    assert change.keys[0] == BalanceKey("users", "bob", "2026-03-14")


def test_the_budgets_of_a_call_are_found_as_far_as_they_still_exist() -> None:
    keys = [claim.keys[0] for claim in claims_of_facts(POLICY, FACTS)]

    assert keys == [BalanceKey("users", "ann", "2026-03-14"), BalanceKey("org", "acme", "2026-03")]


def test_the_same_words_again_are_the_same_adjustment() -> None:
    change = Repricing("h#1", 5)
    said = {"hold": "h#1", "cost_usd": "5"}

    first, again, other = (
        adjustment("a1", change, words, actor="olga", reason=why, at=AT)
        for words, why in ((said, "x"), (dict(reversed(said.items())), "y"), ({"hold": "h"}, "x"))
    )

    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("id", {"adjustment_id": "a#1"}),
        ("id", {"adjustment_id": ""}),
        ("by", {"actor": " "}),
        ("reason", {"reason": "two\nlines"}),
        ("reason", {"reason": "x" * 501}),
    ],
)
def test_what_can_t_be_kept_is_refused_by_its_name(field: str, changed: dict[str, str]) -> None:
    given = {"adjustment_id": "a1", "actor": "olga", "reason": "why"} | changed

    with pytest.raises(InvalidRequestError) as caught:
        adjustment(
            given["adjustment_id"],
            Booking(1, (), FACTS, booking((), Scope(), 1, AT).charge),
            {},
            actor=given["actor"],
            reason=given["reason"],
            at=AT,
        )

    assert caught.value.field == field


@pytest.mark.parametrize("problem", list(AdjustmentProblem))
def test_every_refusal_has_its_words(problem: AdjustmentProblem) -> None:
    error = not_adjusted(NotAdjusted("a1", problem, "so it is"), "h#1")

    assert str(error)
    assert any(part in str(error) for part in ("h#1", "so it is"))
