"""The calendar windows of `domain.window`, as column expressions over whole seconds.

Clocks change on whole seconds, so the window of an instant is the window of its second. Working in
seconds since the epoch keeps the session's time zone out. One case differs from the domain: a gap
that starts before midnight and swallows it, last seen in 1919.
"""

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.window import WindowKind

_DAY_SECONDS = 86_400
_HOUR_HALVINGS = 12
"""Halvings that find one second in an hour: 2 to the power of 12 is 4096."""


def window_bounds(at: Column, zone: Column, kind: Column) -> tuple[Column, Column]:
    """Return start and end of the window that holds an instant; nulls for a lifetime.

    Args:
        at: instants.
        zone: IANA time zones.
        kind: values of `WindowKind`; rolling windows have no bounds of their own and get nulls.
    """
    second = F.unix_seconds(at)
    is_clock = kind.isin(WindowKind.MINUTE.value, WindowKind.HOUR.value)
    is_date = kind.isin(WindowKind.DAY.value, WindowKind.WEEK.value, WindowKind.MONTH.value)
    clock = _clock_bounds(second, zone, kind)
    dates = _date_bounds(second, zone, kind)
    start, end = (
        F.timestamp_seconds(F.when(is_clock, c).when(is_date, d))
        for c, d in zip(clock, dates, strict=True)
    )
    return start, end


def _clock_bounds(second: Column, zone: Column, kind: Column) -> tuple[Column, Column]:
    size = F.when(kind == WindowKind.HOUR.value, 3600).otherwise(60)
    offset = _offset(second, zone)
    start = second - F.pmod(second + offset, size)
    end = start + size

    def is_same(candidate: Column) -> Column:
        return _offset(candidate, zone) == offset

    # A change of offset within the hour cuts the window, so that the repeated hour is its own.
    cut_start = F.when(is_same(start), start).otherwise(_first_second(start, second, is_same))
    cut_end = F.when(is_same(end - 1), end).otherwise(
        _first_second(second, end - 1, lambda candidate: ~is_same(candidate))
    )
    return cut_start, cut_end


def _date_bounds(second: Column, zone: Column, kind: Column) -> tuple[Column, Column]:
    local_day = F.floor((second + _offset(second, zone)) / _DAY_SECONDS).cast("int")
    day = F.date_from_unix_date(local_day)
    first = (
        F.when(kind == WindowKind.WEEK.value, F.trunc(day, "week"))
        .when(kind == WindowKind.MONTH.value, F.trunc(day, "month"))
        .otherwise(day)
    )
    following = _next_date(first, kind)
    third = _next_date(following, kind)
    # A clock set back across midnight shows the old date again, in the new window.
    is_set_back = _midnight(following, zone) <= second
    start = _midnight(F.when(is_set_back, following).otherwise(first), zone)
    end = _midnight(F.when(is_set_back, third).otherwise(following), zone)
    return start, end


def _next_date(first: Column, kind: Column) -> Column:
    days = F.when(kind == WindowKind.WEEK.value, 7).otherwise(1)
    return F.when(kind == WindowKind.MONTH.value, F.add_months(first, 1)).otherwise(
        F.date_add(first, days)
    )


def _midnight(day: Column, zone: Column) -> Column:
    """The second at which a local date begins: the first midnight, or the end of its gap."""
    local = F.timestamp_seconds(F.unix_date(day).cast("bigint") * _DAY_SECONDS)
    return F.unix_seconds(F.to_utc_timestamp(local, zone))


def _offset(second: Column, zone: Column) -> Column:
    instant = F.timestamp_seconds(second)
    return F.unix_seconds(F.from_utc_timestamp(instant, zone)) - second


def _first_second(before: Column, until: Column, is_reached: Callable[[Column], Column]) -> Column:
    """Find when something becomes true that is false `before` and true at `until`."""

    def halved(bounds: Column, _: Column) -> Column:
        low, high = bounds["low"], bounds["high"]
        middle = F.floor((low + high) / 2)
        is_done, is_high = high - low <= 1, is_reached(middle)
        return F.struct(
            F.when(is_done | is_high, low).otherwise(middle).alias("low"),
            F.when(~is_done & is_high, middle).otherwise(high).alias("high"),
        )

    bounds = F.struct(before.alias("low"), until.alias("high"))
    steps = F.sequence(F.lit(1), F.lit(_HOUR_HALVINGS))
    return F.aggregate(steps, bounds, halved)["high"]
