"""The life of a hold: it ends once, expiry charges, late evidence corrects."""

import pytest

from spendgate.domain.hold import (
    EventKind,
    HoldAmounts,
    HoldState,
    Movement,
    expire,
    settle,
    void,
)

HELD = HoldAmounts(HoldState.HELD, 1000)
EXPIRED = HoldAmounts(HoldState.EXPIRED, 1000, 1000)
SETTLED = HoldAmounts(HoldState.SETTLED, 1000, 300)
VOIDED = HoldAmounts(HoldState.VOIDED, 1000)


def test_settling_charges_the_cost_and_frees_the_whole_hold() -> None:
    booked = Movement(HoldState.SETTLED, EventKind.SETTLED, 300, -1000, 300)

    assert settle(HELD, 300) == booked
    assert not booked.is_overrun


def test_an_unknown_cost_charges_the_full_hold() -> None:
    assert settle(HELD, None) == Movement(HoldState.SETTLED, EventKind.SETTLED, 1000, -1000, 1000)


def test_a_free_call_is_charged_nothing() -> None:
    assert settle(HELD, 0) == Movement(HoldState.SETTLED, EventKind.SETTLED, 0, -1000, 0)


def test_a_cost_above_the_hold_is_booked_in_full_as_an_overrun() -> None:
    booked = Movement(HoldState.SETTLED, EventKind.SETTLED, 1001, -1000, 1001)

    assert settle(HELD, 1001) == booked
    assert booked.is_overrun


def test_a_cost_of_exactly_the_hold_is_no_overrun() -> None:
    movement = settle(HELD, 1000)

    assert movement is not None
    assert not movement.is_overrun


def test_a_negative_cost_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="negative"):
        settle(HELD, -1)


def test_voiding_frees_everything_and_charges_nothing() -> None:
    booked = Movement(HoldState.VOIDED, EventKind.VOIDED, 0, -1000, 0)

    assert void(HELD) == booked
    assert not booked.is_overrun


def test_expiry_charges_the_full_hold_and_frees_nothing() -> None:
    booked = Movement(HoldState.EXPIRED, EventKind.EXPIRED, 1000, -1000, 1000)

    assert expire(HELD) == booked
    assert not booked.is_overrun


def test_a_late_settlement_gives_back_what_expiry_charged_too_much() -> None:
    booked = Movement(HoldState.SETTLED, EventKind.CORRECTED, -700, 0, 300)

    assert settle(EXPIRED, 300) == booked
    assert not booked.is_overrun


def test_a_late_settlement_above_the_hold_is_an_overrun_too() -> None:
    booked = Movement(HoldState.SETTLED, EventKind.CORRECTED, 200, 0, 1200)

    assert settle(EXPIRED, 1200) == booked
    assert booked.is_overrun


def test_without_evidence_an_expired_hold_stays_charged() -> None:
    assert settle(EXPIRED, None) is None
    assert void(EXPIRED) is None
    assert expire(EXPIRED) is None


@pytest.mark.parametrize("ended", [SETTLED, VOIDED])
def test_the_first_end_wins(ended: HoldAmounts) -> None:
    assert settle(ended, 500) is None
    assert settle(ended, None) is None
    assert void(ended) is None
    assert expire(ended) is None
