"""The forecast of a window: where it is sure, and where its band opens."""

import pytest

from spendgate.domain.forecast import HourSpend, forecast


def hours(*usd: float) -> list[HourSpend]:
    """Full hours, the oldest first, up to now."""
    ages = range(len(usd), 0, -1)
    return [HourSpend(one, float(ago), float(ago - 1)) for one, ago in zip(usd, ages, strict=True)]


def test_an_even_pace_is_continued_without_a_band() -> None:
    found = forecast(hours(2, 2, 2, 2), 4, 20)

    assert found.usd_per_hour == pytest.approx(2)
    assert (found.end_usd, found.low_usd, found.high_usd) == pytest.approx((48, 48, 48))


def test_a_faster_pace_of_late_lifts_the_forecast_less_than_it_would_last() -> None:
    calm, late = hours(1, 1, 1, 1, 1, 1), hours(1, 1, 1, 1, 1, 5)

    found = forecast(late, 6, 18)

    assert forecast(calm, 6, 18).end_usd == pytest.approx(24)
    assert 2 < found.usd_per_hour < 5
    run_rate = 10 / 6 * 24
    assert run_rate < found.end_usd < 10 + found.usd_per_hour * 18
    assert found.low_usd < found.end_usd < found.high_usd


def test_the_band_is_wide_while_little_is_known() -> None:
    found = forecast([HourSpend(1, 1, 0)], 1, 23)

    assert found.end_usd == pytest.approx(24)
    assert found.low_usd == 1  # what is spent is spent
    assert found.high_usd > 60


def test_a_window_that_is_over_has_spent_what_it_has_spent() -> None:
    found = forecast(hours(1, 4), 2, 0)

    assert (found.end_usd, found.low_usd, found.high_usd) == pytest.approx((5, 5, 5))


def test_corrections_do_not_make_the_end_fall_below_what_is_spent() -> None:
    found = forecast(hours(5, -4), 2, 22)

    assert found.end_usd >= 1
    assert found.low_usd >= 1


def test_without_spend_nothing_is_expected() -> None:
    found = forecast([], 3, 21)

    assert (found.usd_per_hour, found.end_usd, found.low_usd, found.high_usd) == (0, 0, 0, 0)
