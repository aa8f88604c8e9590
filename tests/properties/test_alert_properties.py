"""However spend moves, a threshold that it passes alerts."""

from fractions import Fraction
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.alert import AlertKind, crossed, rungs
from spendgate.domain.budget import Budget
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window

limits = st.integers(1, 10**15)
thresholds = st.lists(st.integers(1, 3_000_000), max_size=8)
amounts = st.integers(0, 10**15)


@given(limits, thresholds, amounts, st.lists(amounts, max_size=10))
def test_splitting_a_movement_crosses_the_same_thresholds_each_once(
    limit_nano: int, thresholds_ppm: list[int], start_nano: int, steps_nano: list[int]
) -> None:
    levels_nano = list(accumulate(steps_nano, initial=start_nano))

    in_steps = [
        threshold
        for before_nano, after_nano in pairwise(levels_nano)
        for threshold in crossed(before_nano, after_nano, limit_nano, thresholds_ppm)
    ]

    at_once = crossed(levels_nano[0], levels_nano[-1], limit_nano, thresholds_ppm)
    assert in_steps == list(at_once)


@given(limits, thresholds, amounts, amounts)
def test_crossings_agree_with_the_exact_ratio_of_spend(
    limit_nano: int, thresholds_ppm: list[int], before_nano: int, after_nano: int
) -> None:
    expected = {
        threshold
        for threshold in thresholds_ppm
        if Fraction(before_nano, limit_nano)
        < Fraction(threshold, 10**6)
        <= Fraction(after_nano, limit_nano)
    }

    assert crossed(before_nano, after_nano, limit_nano, thresholds_ppm) == tuple(sorted(expected))


@given(limits, st.lists(st.integers(1, 3_000_000), max_size=8, unique=True), amounts)
def test_a_rung_is_reached_exactly_where_its_threshold_is_crossed(
    limit_nano: int, thresholds_ppm: list[int], spent_nano: int
) -> None:
    budget = Budget("b", Scope(), limit_nano, parse_window("day"), alerts_ppm=tuple(thresholds_ppm))

    reached = {
        one.threshold_ppm
        for one in rungs(budget)
        if one.kind is AlertKind.THRESHOLD and spent_nano >= one.at_nano(limit_nano, limit_nano)
    }

    assert reached == set(crossed(0, spent_nano, limit_nano, thresholds_ppm))
