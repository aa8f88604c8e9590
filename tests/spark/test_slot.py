"""Slots: no window of a budget begins or ends within one."""

from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window, window_at
from spendgate.transforms.budget_frame import budget_rows
from spendgate.transforms.slot import slot_seconds

DAY = datetime(2026, 4, 5, tzinfo=UTC)
"""Lord Howe sets its clocks back by half an hour on this day, at 15:00 UTC of the day before."""
SPAN = (int(DAY.timestamp()) - 86_400, int(DAY.timestamp()) + 86_400)


@pytest.mark.parametrize(
    ("window", "tz", "seconds"),
    [
        ("day", "UTC", 3600),
        ("month", "America/New_York", 3600),
        ("hour", "Asia/Kathmandu", 900),
        ("day", "Australia/Lord_Howe", 900),
        ("minute", "UTC", 60),
        ("lifetime", "Asia/Kathmandu", 3600),
        ("rolling:1h", "Asia/Kathmandu", 3600),
    ],
)
def test_a_slot_is_as_long_as_windows_and_zones_allow(window: str, tz: str, seconds: int) -> None:
    budget = Budget("b", Scope(), 1, parse_window(window), tz)

    slot = slot_seconds(budget_rows(Policy((budget,)), DAY), [SPAN])

    assert slot == seconds
    for second in range(*SPAN, slot):
        start = datetime.fromtimestamp(second, UTC)
        last = start + timedelta(seconds=slot, microseconds=-1)
        if budget.window.rolling_seconds is None:
            at_start, at_last = (window_at(budget.window, tz, at) for at in (start, last))
            assert (at_start.start, at_start.end) == (at_last.start, at_last.end)


def test_clocks_that_change_at_an_odd_minute_make_slots_of_a_minute() -> None:

    budget = Budget("b", Scope(), 1, parse_window("day"), "America/St_Johns")
    changed = int(datetime(2010, 11, 7, 2, tzinfo=UTC).timestamp())  # at 00:01 of its time

    assert slot_seconds(budget_rows(Policy((budget,)), DAY), [(changed, changed + 3600)]) == 60
