"""What an adjustment does to a hold and to balances, before any store is asked."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    AdjustmentPlan,
    AdjustmentProblem,
    Booking,
    HoldRecord,
    NotAdjusted,
    PastEvent,
    Replay,
    Repricing,
    Transfer,
    below_zero,
    plan_adjustment,
    repeated_adjustment,
)
from spendgate.domain.budget import BalanceKey
from spendgate.domain.event import AdjustmentNote, CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind, HoldAmounts, HoldState

AT = datetime(2026, 3, 14, 12, tzinfo=UTC)
ANN = BalanceKey("users", "ann", "2026-03-14")
BOB = BalanceKey("users", "bob", "2026-03-14")
ORG = BalanceKey("org", "acme", "*")
FACTS = CallFacts(
    1, AT, {"org": "acme", "user": "ann"}, "m", "m", "main", "global", "v1", "allow", ("users",)
)
BOBS = replace(FACTS, scopes={"org": "acme", "user": "bob"})


def adjustment(change: Booking | Repricing | Transfer | Replay) -> Adjustment:
    return Adjustment("adjust-1", "fp", change, "olga", "the bill says so", AT)


def hold(state: HoldState = HoldState.SETTLED, charged: int = 10) -> HoldRecord:
    return HoldRecord(HoldAmounts(state, 15, charged), FACTS)


def test_a_booking_becomes_a_hold_of_its_own_that_has_ended() -> None:
    change = Booking(-5, (ANN, ORG), FACTS, Charge(), EventKind.EXTERNAL)

    plan = plan_adjustment(adjustment(change), None)

    assert not isinstance(plan, NotAdjusted)
    (entry,) = plan.entries
    assert (plan.state, plan.charged_nano, plan.is_past) == (HoldState.SETTLED, -5, False)
    assert plan.deltas(()) == {ANN: -5, ORG: -5}
    assert (entry.kind, entry.at) == (EventKind.EXTERNAL, AT)
    assert entry.charge.note == AdjustmentNote("adjust-1", "olga", "the bill says so")


def test_a_booking_never_takes_the_id_of_a_call() -> None:
    outcome = plan_adjustment(adjustment(Booking(5, (), FACTS, Charge())), hold())

    assert isinstance(outcome, NotAdjusted)
    assert outcome.problem is AdjustmentProblem.CONFLICT


@pytest.mark.parametrize(("cost", "delta"), [(0, -10), (4, -6), (25, 15)])
def test_a_new_price_moves_the_difference_on_the_hold_s_own_balances(cost: int, delta: int) -> None:
    plan = plan_adjustment(adjustment(Repricing("h#1", cost)), hold())

    assert not isinstance(plan, NotAdjusted)
    assert (plan.charged_nano, plan.amount_nano) == (cost, delta)
    assert [entry.kind for entry in plan.entries] == [EventKind.CORRECTED]
    assert plan.deltas((ANN, ORG)) == {ANN: delta, ORG: delta}
    assert [entry.facts for entry in plan.entries] == [FACTS]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HoldState.SETTLED, HoldState.SETTLED),
        (HoldState.EXPIRED, HoldState.EXPIRED),  # late evidence still replaces the charge
        (HoldState.VOIDED, HoldState.SETTLED),  # it was billed after all
    ],
)
def test_a_new_price_keeps_the_state_unless_the_call_was_void(
    before: HoldState, after: HoldState
) -> None:
    charged = 0 if before is HoldState.VOIDED else 10
    plan = plan_adjustment(adjustment(Repricing("h#1", 7)), hold(before, charged))

    assert not isinstance(plan, NotAdjusted)
    assert plan.state is after


def test_a_transfer_moves_the_charge_and_nothing_where_both_sides_share_a_balance() -> None:
    plan = plan_adjustment(adjustment(Transfer("h#1", (BOB, ORG), BOBS)), hold())

    assert not isinstance(plan, NotAdjusted)
    assert plan.deltas((ANN, ORG)) == {ANN: -10, ORG: 0, BOB: 10}
    assert [(entry.delta_nano, entry.facts) for entry in plan.entries] == [(-10, FACTS), (10, BOBS)]
    assert (plan.charged_nano, plan.amount_nano) == (10, 10)


@pytest.mark.parametrize("change", [Repricing("h#1", 7), Transfer("h#1", (BOB,), BOBS)])
@pytest.mark.parametrize(
    ("known", "problem"),
    [
        (None, AdjustmentProblem.UNKNOWN_HOLD),
        (hold(HoldState.HELD, 0), AdjustmentProblem.IN_FLIGHT),
    ],
)
def test_a_hold_that_is_unknown_or_in_flight_is_not_adjusted(
    change: Repricing | Transfer, known: HoldRecord | None, problem: AdjustmentProblem
) -> None:
    assert plan_adjustment(adjustment(change), known) == NotAdjusted("adjust-1", problem)


@pytest.mark.parametrize(
    ("change", "known"),
    [
        (Repricing("h#1", 10), hold()),
        (Transfer("h#1", (ANN,), FACTS), hold()),
        (Transfer("h#1", (BOB,), BOBS), hold(HoldState.VOIDED, 0)),
    ],
)
def test_what_would_change_nothing_is_told(change: Repricing | Transfer, known: HoldRecord) -> None:
    outcome = plan_adjustment(adjustment(change), known)

    assert outcome == NotAdjusted("adjust-1", AdjustmentProblem.UNCHANGED)


def test_a_negative_cost_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="can't cost -1"):
        plan_adjustment(adjustment(Repricing("h#1", -1)), hold())


def booked(amount: int, *keys: BalanceKey) -> AdjustmentPlan:
    plan = plan_adjustment(adjustment(Booking(amount, keys, FACTS, Charge())), None)
    assert not isinstance(plan, NotAdjusted)
    return plan


def test_no_balance_is_taken_below_zero() -> None:
    assert below_zero(booked(-5, ANN, ORG), (), {ANN: 5, ORG: 9}) is None
    assert below_zero(booked(5, ANN), (), {ANN: -9}) is None
    assert below_zero(booked(-6, ANN, ORG), (), {ANN: 6, ORG: 5}) == (
        "budget 'org' (acme, *) has 0.000000005 USD spent, 0.000000006 USD would be taken off"
    )
    assert below_zero(booked(-1, BOB), (), {}) is not None


def replay(*costs: int) -> Replay:
    kinds = (EventKind.EXPIRED, EventKind.CORRECTED)
    events = tuple(
        PastEvent(SpendEvent(f"h#1:{i}", "h#1", kind, AT, FACTS, Charge(), 15, cost), (ANN,))
        for i, (kind, cost) in enumerate(zip(kinds, costs, strict=False), start=1)
    )
    return Replay("h#1", HoldState.SETTLED, events)


def test_a_replay_writes_the_events_as_they_were_and_is_never_refused_for_its_sum() -> None:
    plan = plan_adjustment(adjustment(replay(5, -9)), None)

    assert not isinstance(plan, NotAdjusted)
    assert (plan.charged_nano, plan.reserved_nano, plan.is_past) == (-4, 15, True)
    assert [(one.kind, one.delta_nano) for one in plan.entries] == [
        (EventKind.EXPIRED, 5),
        (EventKind.CORRECTED, -9),
    ]
    assert below_zero(plan, (), {}) is None


def test_a_replay_never_takes_the_place_of_a_hold_that_is_there() -> None:
    outcome = plan_adjustment(adjustment(replay(5)), hold())

    assert isinstance(outcome, NotAdjusted)
    assert outcome.problem is AdjustmentProblem.CONFLICT


def test_a_repeat_is_answered_and_another_one_under_its_id_is_not() -> None:
    asked = adjustment(Repricing("h#1", 7))

    assert repeated_adjustment(asked, "fp", "h#1", -3) == Adjusted("adjust-1", "h#1", -3, False)
    conflict = repeated_adjustment(asked, "other", "h#1", -3)
    assert isinstance(conflict, NotAdjusted)
    assert conflict.problem is AdjustmentProblem.CONFLICT


def test_an_adjustment_names_the_hold_that_it_changes() -> None:
    assert adjustment(Repricing("h#1", 7)).hold_id == "h#1"
    assert adjustment(Transfer("h#2", (), FACTS)).hold_id == "h#2"
    assert adjustment(Booking(1, (), FACTS, Charge())).hold_id == "adjust-1"
