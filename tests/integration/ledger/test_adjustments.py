"""Adjustments on both stores: audited, all balances or none, repeatable, never below zero."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    AdjustmentOutcome,
    AdjustmentProblem,
    Booking,
    NotAdjusted,
    Repricing,
    Transfer,
)
from spendgate.domain.event import AdjustmentNote, CallFacts, Charge
from spendgate.domain.hold import EventKind, HoldState

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

    OpenTill = Callable[..., Till]

Change = Booking | Repricing | Transfer


@pytest.fixture
def used(till: "Till") -> "Till":
    """Ann's call is settled, Bob's has expired, Carl's is in flight, Dora's was void."""
    till.budget("users", "user:*", 1000)
    till.budget("all", "all", 10_000, "lifetime")
    till.budget("hour", "all", 10_000, "rolling:1h")
    for user in ("ann", "bob", "carl", "dora"):
        till.reserve(f"{user}#1", 100, scopes={"user": user})
    till.settle("ann#1", 60)
    till.expire("bob#1")
    till.void("dora#1")
    return till


def booking(till: "Till", amount: int, user: str = "ann", **more: timedelta) -> Booking:
    at = till.noon + more.get("later", timedelta())
    claims = till.claims({"user": user}, at)
    ids = tuple(claim.budget.budget_id for claim in claims)
    facts = CallFacts(1, at, {"user": user}, "", "adjustment", "", "", "", "", ids)
    keys = tuple(claim.keys[0] for claim in claims)
    return Booking(amount, keys, facts, Charge(usage_source="external"))


def transfer(till: "Till", hold_id: str, user: str) -> Transfer:
    known = till.ledger.hold_record(hold_id)
    assert known is not None
    made = booking(till, 0, user)
    return Transfer(hold_id, made.keys, replace(known.facts, scopes={"user": user}))


def adjust(
    till: "Till", change: Change, name: str = "a1", fingerprint: str = "x"
) -> AdjustmentOutcome:
    one = Adjustment(name, fingerprint, change, "olga", "the bill says so", till.noon)
    (outcome,) = till.ledger.adjust([one])
    return outcome


def spent(till: "Till") -> dict[str, int]:
    """What each user, everybody and the rolling hour have spent."""
    rows = till.standing()
    named = {value: amount for (budget, value, _), (amount, _) in rows.items() if budget == "users"}
    return named | {"all": till.totals("all")[0], "hour": till.totals("hour")[0]}


def journal(till: "Till") -> list[tuple[str, str, int]]:
    rows = till.query("SELECT event_id, kind, delta FROM outbox ORDER BY seq")
    return [(event_id, kind, delta) for event_id, kind, delta in rows]


def test_a_wrong_price_is_corrected_on_every_balance_of_the_call(used: "Till") -> None:
    outcome = adjust(used, Repricing("ann#1", 25))

    assert outcome == Adjusted("a1", "ann#1", -35, moved=True)
    assert spent(used) == {"ann": 25, "bob": 100, "carl": 0, "dora": 0, "all": 125, "hour": 125}
    assert journal(used)[-1] == ("ann#1:2", "corrected", -35)
    used.assert_sound()


def test_a_charge_for_spend_elsewhere_counts_and_may_pass_the_limit(used: "Till") -> None:
    change = replace(booking(used, 5000, "eve"), kind=EventKind.EXTERNAL)

    outcome = adjust(used, change)

    assert outcome == Adjusted("a1", "a1", 5000, moved=True)
    assert (spent(used)["eve"], spent(used)["all"]) == (5000, 5160)
    assert journal(used)[-1] == ("a1:1", "external", 5000)
    used.assert_sound()
    refused = used.reserve("eve#1", 1, scopes={"user": "eve"})
    assert type(refused).__name__ == "Refused"


def test_a_credit_takes_off_what_was_spent_and_no_more(used: "Till") -> None:
    before = used.standing()

    too_much = adjust(used, booking(used, -61))

    assert isinstance(too_much, NotAdjusted)
    assert too_much.problem is AdjustmentProblem.BELOW_ZERO
    assert "budget 'users' (ann, 2026-03-14) has 0.000000060 USD spent" in too_much.detail
    assert used.standing() == before
    assert adjust(used, booking(used, -60)) == Adjusted("a1", "a1", -60, moved=True)
    assert spent(used)["ann"] == 0
    used.assert_sound()


def test_a_credit_in_a_window_without_spend_is_refused_and_leaves_no_row(used: "Till") -> None:
    before = used.standing()

    outcome = adjust(used, booking(used, -1, later=timedelta(days=1)))

    assert isinstance(outcome, NotAdjusted)
    assert used.standing() == before


def test_somebody_else_pays_for_a_call(used: "Till") -> None:
    outcome = adjust(used, transfer(used, "ann#1", "bob"))

    assert outcome == Adjusted("a1", "ann#1", 60, moved=True)
    assert spent(used) == {"ann": 0, "bob": 160, "carl": 0, "dora": 0, "all": 160, "hour": 160}
    assert journal(used)[-2:] == [("ann#1:2", "corrected", -60), ("ann#1:3", "corrected", 60)]
    record = used.ledger.hold_record("ann#1")
    assert record is not None
    assert record.facts.scopes == {"user": "bob"}
    used.assert_sound()


def test_evidence_after_a_transfer_corrects_who_pays_now(used: "Till") -> None:
    adjust(used, transfer(used, "bob#1", "ann"))

    settled = used.settle("bob#1", 30)

    assert (settled.state, settled.charged_nano, settled.moved) == (HoldState.SETTLED, 30, True)
    assert spent(used) == {"ann": 90, "bob": 0, "carl": 0, "dora": 0, "all": 90, "hour": 90}
    used.assert_sound()


def test_evidence_after_an_operator_s_word_replaces_it(used: "Till") -> None:
    assert adjust(used, Repricing("bob#1", 0)) == Adjusted("a1", "bob#1", -100, moved=True)
    assert spent(used)["bob"] == 0

    used.settle("bob#1", 30)

    assert spent(used)["bob"] == 30
    used.assert_sound()


def test_a_void_call_that_was_billed_after_all_is_charged(used: "Till") -> None:
    adjust(used, Repricing("dora#1", 12))

    record = used.ledger.hold_record("dora#1")
    assert record is not None
    assert (record.amounts.state, record.amounts.charged_nano) == (HoldState.SETTLED, 12)
    assert spent(used)["dora"] == 12
    used.assert_sound()


def test_an_adjustment_is_itself_adjusted_like_a_call(used: "Till") -> None:
    adjust(used, booking(used, 500))

    adjust(used, transfer(used, "a1", "bob"), "a2")
    adjust(used, Repricing("a1", 0), "a3")

    assert spent(used) == {"ann": 60, "bob": 100, "carl": 0, "dora": 0, "all": 160, "hour": 160}
    used.assert_sound()


@pytest.mark.parametrize(
    ("hold_id", "problem"),
    [("nobody#1", AdjustmentProblem.UNKNOWN_HOLD), ("carl#1", AdjustmentProblem.IN_FLIGHT)],
)
def test_what_is_unknown_or_in_flight_is_refused(
    used: "Till", hold_id: str, problem: AdjustmentProblem
) -> None:
    before = used.standing(), journal(used)

    assert adjust(used, Repricing(hold_id, 5)) == NotAdjusted("a1", problem)

    assert (used.standing(), journal(used)) == before


def test_the_same_adjustment_again_moves_nothing(used: "Till", open_till: "OpenTill") -> None:
    adjust(used, Repricing("ann#1", 25))
    after = used.standing(), journal(used)

    again = adjust(open_till(), Repricing("ann#1", 25))
    other = adjust(used, Repricing("ann#1", 26), fingerprint="y")

    assert again == Adjusted("a1", "ann#1", -35, moved=False)
    assert isinstance(other, NotAdjusted)
    assert other.problem is AdjustmentProblem.CONFLICT
    assert (used.standing(), journal(used)) == after


def test_one_id_at_once_from_many_callers_moves_once(used: "Till", open_till: "OpenTill") -> None:
    barrier = threading.Barrier(4)
    outcomes: list[AdjustmentOutcome] = []

    def work() -> None:
        till = open_till()
        change = booking(till, 7, "new")
        barrier.wait()
        outcomes.append(adjust(till, change))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(one.moved for one in outcomes if isinstance(one, Adjusted)) == [
        False, False, False, True,
    ]  # fmt: skip
    assert spent(used)["new"] == 7
    used.assert_sound()


def test_a_batch_is_booked_in_turn_on_running_balances(used: "Till") -> None:
    changes = [booking(used, -60), booking(used, -1), booking(used, 10), booking(used, -1)]
    batch = [
        Adjustment(f"b{i}", "x", change, "olga", "why", used.noon)
        for i, change in enumerate(changes)
    ]

    outcomes = used.ledger.adjust(batch)

    assert [isinstance(one, Adjusted) for one in outcomes] == [True, False, True, True]
    assert spent(used)["ann"] == 9
    used.assert_sound()
    assert used.ledger.adjust([]) == []


def test_who_and_why_reach_the_outbox_in_the_window_of_the_call(used: "Till") -> None:
    one = Adjustment(
        "a1", "x", Repricing("ann#1", 25), "olga", "price 0.3 → 0.2", used.noon + timedelta(days=3)
    )
    used.ledger.adjust([one])

    batch = used.ledger.outbox.claim_batch(100)

    assert batch is not None
    event = batch.events[-1]
    assert event.charge.note == AdjustmentNote("a1", "olga", "price 0.3 → 0.2")
    assert (event.facts.occurred_at, event.recorded_at) == (used.noon, one.at)
    assert event.facts.budget_ids == ("all", "hour", "users")
    assert (event.cost_nano, event.reserved_nano) == (-35, 100)
