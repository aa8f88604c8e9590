"""Alerts fire at the movement that reaches their threshold."""

import pytest

from spendgate.domain.alert import crossed

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
