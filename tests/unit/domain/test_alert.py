"""Alerts fire at the movement that reaches their threshold."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.alert import (
    LIFETIME,
    AlertKey,
    AlertKind,
    crossed,
    period_of,
    period_start,
    rungs,
)
from spendgate.domain.budget import Budget, Mode
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window

THRESHOLDS_PPM = (500_000, 750_000, 900_000, 1_000_000)


@pytest.mark.parametrize(
    ("before_nano", "after_nano", "expected"),
    [
        (0, 499, ()),
        (499, 500, (500_000,)),
        (500, 501, ()),
        (400, 760, (500_000, 750_000)),
        (0, 5_000, THRESHOLDS_PPM),
        (999, 1_000, (1_000_000,)),
        (-50, 500, (500_000,)),
    ],
)
def test_a_threshold_is_crossed_by_the_movement_that_reaches_it(
    before_nano: int, after_nano: int, expected: tuple[int, ...]
) -> None:
    assert crossed(before_nano, after_nano, 1_000, THRESHOLDS_PPM) == expected


@pytest.mark.parametrize(("before_nano", "after_nano"), [(1_000, 0), (800, 800), (760, 740)])
def test_nothing_is_crossed_on_the_way_down(before_nano: int, after_nano: int) -> None:
    assert crossed(before_nano, after_nano, 1_000, THRESHOLDS_PPM) == ()


def test_crossings_come_sorted_and_once_however_thresholds_are_given() -> None:
    assert crossed(0, 1_000, 1_000, (900_000, 500_000, 900_000)) == (500_000, 900_000)


def test_a_threshold_between_two_nano_dollars_is_reached_by_the_one_above_it() -> None:
    # A third of 10 nano is 3.33: 3 is below it, 4 is above.
    assert crossed(0, 3, 10, (333_333,)) == ()
    assert crossed(3, 4, 10, (333_333,)) == (333_333,)


def test_a_limit_beyond_the_precision_of_floats_is_compared_exactly() -> None:
    limit_nano = 10**24 + 2

    assert crossed(0, limit_nano // 2 - 1, limit_nano, (500_000,)) == ()
    assert crossed(0, limit_nano // 2, limit_nano, (500_000,)) == (500_000,)


def test_no_thresholds_means_no_alerts() -> None:
    assert crossed(0, 1_000, 1_000, ()) == ()


@pytest.mark.parametrize("limit_nano", [0, -1])
def test_a_limit_that_is_not_positive_is_refused(limit_nano: int) -> None:
    with pytest.raises(ValueError, match="limit_nano must be positive"):
        crossed(0, 1, limit_nano, THRESHOLDS_PPM)


@pytest.mark.parametrize("threshold_ppm", [0, -1])
def test_a_threshold_that_is_not_positive_is_refused(threshold_ppm: int) -> None:
    with pytest.raises(ValueError, match="thresholds_ppm must be positive"):
        crossed(0, 1, 1_000, (500_000, threshold_ppm))


BUDGET = Budget(
    "b", Scope(), 1_000, parse_window("day"), hard_cap_ppm=900_000, alerts_ppm=(500_000, 333_333)
)
NOON = datetime(2026, 3, 10, 12, 30, 1, 5, UTC)


def test_a_budget_has_a_rung_for_each_thing_that_is_told() -> None:
    # Fifty are carried in: they move the hard cap as they are, and not by its fraction.
    found = {(one.kind, one.threshold_ppm, one.at_nano(1_050, 950)) for one in rungs(BUDGET)}

    assert found == {
        (AlertKind.THRESHOLD, 333_333, 350),
        (AlertKind.THRESHOLD, 500_000, 525),
        (AlertKind.SOFT_CAP, 800_000, 840),
        (AlertKind.HARD_STOP, 900_000, 950),
        (AlertKind.FORECAST, 900_000, 951),
        (AlertKind.OVERRUN, 900_000, 951),
    }


def test_a_shadow_budget_stops_nobody_and_so_says_nothing_of_stops() -> None:
    kinds = {one.kind for one in rungs(replace(BUDGET, mode=Mode.SHADOW))}

    assert kinds == {AlertKind.THRESHOLD, AlertKind.FORECAST}


@pytest.mark.parametrize("limit_nano", [0, -5])
def test_a_limit_that_was_cut_to_nothing_alerts_from_the_first_spend_on(limit_nano: int) -> None:
    hard_nano = BUDGET.hard_of(limit_nano)

    assert {one.at_nano(limit_nano, hard_nano) for one in rungs(BUDGET)} == {1}


def test_a_crossing_is_named_after_what_was_crossed_and_when() -> None:
    key = AlertKey(AlertKind.THRESHOLD, "b", "acme", "1773100800", 500_000)
    others = [
        replace(key, kind=AlertKind.SOFT_CAP),
        replace(key, budget_id="bacme", scope_value=""),
        replace(key, period=LIFETIME),
        replace(key, threshold_ppm=500_001),
    ]

    assert key.alert_id == replace(key).alert_id
    assert len({key.alert_id, *(one.alert_id for one in others)}) == 5


def test_a_calendar_windows_period_is_its_start_and_a_lifetime_is_one() -> None:
    start = datetime(2026, 3, 10, tzinfo=UTC)

    assert period_of(period_start(parse_window("day"), start, NOON)) == "1773100800"
    assert period_of(period_start(parse_window("lifetime"), None, NOON)) == LIFETIME


def test_a_rolling_window_is_told_of_once_per_its_own_length() -> None:
    hours = parse_window("rolling:2h")

    starts = {
        period_start(hours, None, NOON + timedelta(minutes=minutes))
        for minutes in range(0, 120, 10)
    }

    assert starts == {datetime(2026, 3, 10, hour, tzinfo=UTC) for hour in (12, 14)}
