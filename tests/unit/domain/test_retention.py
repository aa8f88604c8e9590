"""Retention: until when a balance is needed, and who says how long an idle value is remembered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.budget import Budget, parse_window
from spendgate.domain.retention import Collected, format_ttl, is_past, kept_until, parse_ttl
from spendgate.domain.scope import Scope

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
SESSIONS = Budget("s", Scope.parse("session:*"), 1, parse_window("lifetime"))


@pytest.mark.parametrize(
    ("period", "until"),
    [
        # Twice its length after its end, and a day for the time zones that the key doesn't name.
        ("2026-03-14", datetime(2026, 3, 18, tzinfo=UTC)),
        ("2026-W11", datetime(2026, 3, 31, tzinfo=UTC)),
        ("2026-02", datetime(2026, 4, 27, tzinfo=UTC)),
        ("2026-12", datetime(2027, 3, 5, tzinfo=UTC)),
        # A clock's hour and minute say their offset.
        ("2026-03-14T12+0000", datetime(2026, 3, 14, 15, tzinfo=UTC)),
        ("2026-03-14T12+0530", datetime(2026, 3, 14, 9, 30, tzinfo=UTC)),
        ("2026-03-14T12:07-0800", datetime(2026, 3, 14, 20, 10, tzinfo=UTC)),
        ("1900-01-01T00+005328", datetime(1900, 1, 1, 2, 6, 32, tzinfo=UTC)),
        # An hour in 60 buckets: read for an hour and two buckets, then kept for as much twice.
        ("rolling:1h#0", datetime(1970, 1, 1, 3, 6, tzinfo=UTC)),
        ("*", None),
        ("", None),
        ("2026-13", None),
        ("2026-W60", None),
        ("9999-11", None),  # what it is kept for ends after the last year
        ("9999-12", None),
        ("rolling:1h", None),
        ("month#3", None),
        ("rolling:24h#999999999999", None),
        ("a window of another version", None),
    ],
)
def test_a_balance_is_kept_until_its_key_says(period: str, until: datetime | None) -> None:
    assert kept_until(period) == until


def test_a_window_is_past_from_then_on_whatever_the_budget_is_now() -> None:
    last = datetime(2026, 3, 18, tzinfo=UTC)

    for budget in (None, SESSIONS):
        assert is_past("2026-03-14", budget, NOON, last)
        assert not is_past("2026-03-14", budget, NOON, last - timedelta(microseconds=1))


def test_a_lifetime_is_past_when_its_budget_says_that_it_was_idle_for_too_long() -> None:
    years_later = NOON + timedelta(days=2000)
    forgetful = replace(SESSIONS, idle_ttl_seconds=3600)

    assert not is_past("*", SESSIONS, NOON, years_later)
    assert not is_past("*", None, NOON, years_later)
    assert is_past("*", forgetful, NOON, NOON + timedelta(hours=1))
    assert not is_past("*", forgetful, NOON, NOON + timedelta(minutes=59))


@pytest.mark.parametrize("text", ["30d", "12h", "90m", "61s"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert format_ttl(parse_ttl(text)) == text


def test_a_whole_unit_is_written_as_such() -> None:
    assert format_ttl(parse_ttl("86400s")) == "1d"


@pytest.mark.parametrize("text", ["", "d", "0d", "1.5h", "-1d", "30 d", "30w", "12345678d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a whole number of s, m, h or d"):
        parse_ttl(text)


def test_what_was_collected_adds_up() -> None:
    assert Collected(1, 2, 3, 4, 5) + Collected(holds=10) == Collected(11, 2, 3, 4, 5)
