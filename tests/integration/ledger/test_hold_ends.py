"""Settle, void, expire and sweep on a real ledger file: a hold ends once, and never for free."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance, Refused
from spendgate.domain.hold import EventKind, HoldState
from spendgate.domain.money import NANO_MAX
from spendgate.domain.reservation import Settled
from spendgate.errors import LedgerBrokenError

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

DAY = ("day", "ann", "2026-03-14")


@pytest.mark.parametrize("end", ["settle", "void", "expire"])
def test_scenario_26_ending_a_hold_twice_moves_once(till: "Till", end: str) -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    ends = {
        "settle": lambda: till.settle("h#1", 25),
        "void": lambda: till.void("h#1"),
        "expire": lambda: till.expire("h#1"),
    }
    first = ends[end]()
    after = till.standing()

    second = ends[end]()

    assert first.moved
    assert second == replace(first, moved=False)
    assert till.standing() == after
    assert till.ledger.audit().events == 1


def test_an_end_says_where_the_balances_are_that_it_moved(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("other", 30)
    till.reserve("h#1", 60)
    key = BalanceKey(*DAY)

    expired = till.expire("h#1")
    corrected = till.settle("h#1", 25)

    assert expired.balances[key] == Balance(60, 30)
    assert corrected.balances[key] == Balance(25, 30)
    assert till.settle("h#1", 25).balances == {}


def test_what_ended_first_wins(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("paid", 20)
    till.reserve("gone", 20)
    till.settle("paid", 7)
    till.void("gone")

    answers = [till.void("paid"), till.expire("paid"), till.settle("gone", 7), till.expire("gone")]

    assert [(one.state, one.moved) for one in answers] == [
        (HoldState.SETTLED, False),
        (HoldState.SETTLED, False),
        (HoldState.VOIDED, False),
        (HoldState.VOIDED, False),
    ]
    assert till.standing() == {DAY: (7, 0)}


def test_an_unknown_hold_is_answered_as_such(till: "Till") -> None:
    nothing = Settled("nobody", None, 0, moved=False)

    assert till.settle("nobody", 5) == nothing
    assert till.void("nobody") == nothing
    assert till.expire("nobody") == nothing
    assert till.ledger.audit().events == 0


def test_expiry_charges_in_full(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    expired = till.expire("h#1")

    assert expired == Settled("h#1", HoldState.EXPIRED, 60, moved=True)
    assert till.standing() == {DAY: (60, 0)}


def test_a_late_settlement_corrects_an_expiry_once(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.expire("h#1")

    late = till.settle("h#1", 25)
    again = till.settle("h#1", 30)

    assert late == Settled("h#1", HoldState.SETTLED, 25, moved=True)
    assert again == Settled("h#1", HoldState.SETTLED, 25, moved=False)
    assert till.standing() == {DAY: (25, 0)}
    batch = till.ledger.outbox.claim_batch(10)
    assert batch is not None
    assert [(one.event_id, one.kind, one.cost_nano) for one in batch.events] == [
        ("h#1:1", EventKind.EXPIRED, 60),
        ("h#1:2", EventKind.CORRECTED, -35),
    ]


def test_a_late_settlement_without_evidence_changes_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.expire("h#1")

    late = till.settle("h#1", None)

    assert late == Settled("h#1", HoldState.EXPIRED, 60, moved=False)
    assert till.standing() == {DAY: (60, 0)}


def test_a_void_after_expiry_frees_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.expire("h#1")

    answer = till.void("h#1")

    assert answer == Settled("h#1", HoldState.EXPIRED, 60, moved=False)
    assert till.standing() == {DAY: (60, 0)}


def test_sweep_charges_what_is_due_and_only_once(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("due", 10, ttl_seconds=30)
    till.reserve("paid", 10, ttl_seconds=30)
    till.reserve("young", 10, ttl_seconds=30.000001)
    till.settle("paid", 3)
    at = till.noon + timedelta(seconds=30)

    counts = [till.ledger.sweep(till.noon), till.ledger.sweep(at), till.ledger.sweep(at)]

    assert counts == [0, 1, 0]
    assert till.standing() == {DAY: (13, 10)}
    assert till.settle("due", 4).state is HoldState.SETTLED
    assert till.standing() == {DAY: (7, 10)}


def test_sweep_goes_in_steps_of_its_limit_oldest_first(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    for seconds in (3, 1, 2):
        till.reserve(f"h{seconds}", 10, ttl_seconds=seconds)
    at = till.noon + timedelta(hours=1)

    first = till.ledger.sweep(at, limit=2)

    assert first == 2
    assert till.expire("h1").moved is False
    assert till.expire("h2").moved is False
    assert till.ledger.sweep(at, limit=2) == 1


def test_scenario_27_an_overrun_is_booked_flagged_and_blocks(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    settled = till.settle("h#1", 130)

    assert settled == Settled("h#1", HoldState.SETTLED, 130, moved=True, is_overrun=True)
    assert till.standing() == {DAY: (130, 0)}
    assert isinstance(till.reserve("h#2", 1), Refused)
    (position,) = till.ledger.positions(till.claims({"user": "ann"}))
    assert position.available_nano == -30


def test_a_late_settlement_above_the_charge_is_an_overrun(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.expire("h#1")

    assert till.settle("h#1", 61).is_overrun
    assert till.standing() == {DAY: (61, 0)}


def test_a_balance_never_silently_leaves_the_range_of_exact_integers(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 10)
    till.reserve("h#2", 10)
    till.settle("h#1", NANO_MAX)

    with pytest.raises(LedgerBrokenError):
        till.settle("h#2", NANO_MAX)

    assert till.standing() == {DAY: (NANO_MAX, 10)}
    till.assert_sound()
