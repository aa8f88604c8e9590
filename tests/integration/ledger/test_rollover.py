"""Unused budget goes over into the next window, on real stores, whatever comes late or at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.integration.ledger.conftest import NOON, Helper, Till

from spendgate.domain.budget import Budget
from spendgate.domain.decision import Granted, Refused

TOMORROW = NOON + timedelta(days=1)
LIMIT, CARRY_MAX = 100, 50


@pytest.fixture
def budget(till: Till) -> Budget:
    made = till.budget("each", "user:*", LIMIT)
    carrying = replace(made, rollover_max_nano=CARRY_MAX)
    till.ledger.policies.put_budgets([carrying])
    return carrying


def spend(till: Till, hold_id: str, nano: int) -> None:
    till.reserve(hold_id, nano)
    till.settle(hold_id, nano)


def limit_tomorrow(till: Till) -> int:
    (position,) = till.ledger.positions(till.claims({"user": "ann"}, TOMORROW))
    return position.limit_nano


@pytest.mark.usefixtures("budget")
def test_the_next_day_has_what_this_one_left_up_to_the_cap(till: Till) -> None:
    spend(till, "today", 70)

    too_much = till.reserve("too much", 131, at=TOMORROW)
    all_of_it = till.reserve("all of it", 130, at=TOMORROW)

    assert isinstance(too_much, Refused)
    assert too_much.binding.limit_nano == 130
    assert isinstance(all_of_it, Granted)
    assert isinstance(till.reserve("one more", 1, at=TOMORROW), Refused)


@pytest.mark.usefixtures("budget")
def test_a_new_user_has_no_day_before(till: Till) -> None:
    assert isinstance(till.reserve("too much", 101), Refused)
    assert limit_tomorrow(till) == LIMIT


@pytest.mark.usefixtures("budget")
def test_a_hold_of_yesterday_counts_as_spent_until_it_ends(till: Till) -> None:
    till.reserve("long", 90)
    held = limit_tomorrow(till)
    refused = till.reserve("early", 120, at=TOMORROW)

    till.settle("long", 60, at=TOMORROW)

    assert (held, limit_tomorrow(till)) == (110, 140)
    assert isinstance(refused, Refused)
    assert isinstance(till.reserve("late", 120, at=TOMORROW), Granted)


@pytest.mark.usefixtures("budget")
def test_a_late_bill_above_its_bound_lowers_the_next_day(till: Till) -> None:
    till.reserve("long", 60)
    till.expire("long")
    before = limit_tomorrow(till)

    till.settle("long", 95, at=TOMORROW)

    assert (before, limit_tomorrow(till)) == (140, 105)


@pytest.mark.usefixtures("budget")
def test_a_clock_that_is_late_finds_gone_what_a_fast_one_has_taken(till: Till) -> None:
    till.reserve("first", 0)
    assert isinstance(till.reserve("fast", 150, at=TOMORROW), Granted)

    refused = till.reserve("slow", 51)
    granted = till.reserve("slow but small", 50)

    assert isinstance(refused, Refused)
    assert refused.binding.limit_nano == 50
    assert isinstance(granted, Granted)


@pytest.mark.usefixtures("budget")
def test_a_raise_is_not_carried_over(till: Till) -> None:
    spend(till, "today", 100)
    till.tamper(
        "INSERT INTO budget_raise VALUES ('r', 'each', 'people', "
        '\'{"raises":"each","id":"r","amount_usd":"0.000000500","reason":"x"}\')'
    )

    assert limit_tomorrow(till) == LIMIT + 500


def spend_until_refused(pipe: object, place: str, name: str, is_late: bool) -> None:
    till = Till(place)
    pipe.send("ready")  # type: ignore[attr-defined]  # a Connection has no public type
    pipe.recv()  # type: ignore[attr-defined]
    granted = 0
    for number in range(400):
        at = NOON if (number + is_late) % 2 else TOMORROW
        verdict = till.reserve(f"{name}-{number}", 7, at=at)
        granted += isinstance(verdict, Granted)
    pipe.send(granted)  # type: ignore[attr-defined]
    till.ledger.close()


@pytest.mark.usefixtures("budget")
def test_processes_on_both_sides_of_midnight_never_make_money(
    till: Till, start_helper: Callable[..., Helper]
) -> None:
    till.reserve("first", 0)
    till.ledger.close()
    writers = [start_helper(spend_until_refused, till.place, f"w{n}", n % 2 == 0) for n in range(4)]
    for writer in writers:
        assert writer.hear() == "ready"
    for writer in writers:
        writer.pipe.send("go")

    granted = sum(writer.hear() for writer in writers)

    used = {period: held for (_, _, period), (_, held) in till.standing().items()}
    today, tomorrow = used["2026-03-14"], used["2026-03-15"]
    assert granted * 7 == today + tomorrow
    assert 2 * LIMIT - 14 < today + tomorrow <= 2 * LIMIT
    assert max(0, tomorrow - LIMIT) <= LIMIT - today
    till.assert_sound()
