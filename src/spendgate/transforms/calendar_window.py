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


def window_bounds(at: Column, zone: Column, kind: Column) -> Column:
    """Return a struct of the `start` and `end` of the window that holds an instant.

    Both are null for a lifetime.

    Args:
        at: instants.
        zone: IANA time zones.
        kind: values of `WindowKind`; rolling windows have no bounds of their own and get nulls.
    """
    is_clock = kind.isin(WindowKind.MINUTE.value, WindowKind.HOUR.value)
    is_date = kind.isin(WindowKind.DAY.value, WindowKind.WEEK.value, WindowKind.MONTH.value)

    def bounds(second: Column) -> Column:
        return F.when(is_clock, _clock_bounds(second, zone, kind)).when(
            is_date, _date_bounds(second, zone, kind)
        )

    return _with(F.unix_seconds(at), bounds)


def _clock_bounds(second: Column, zone: Column, kind: Column) -> Column:
    size = F.when(kind == WindowKind.HOUR.value, 3600).otherwise(60)

    def cut(bounds: Column) -> Column:
        offset, start = bounds["offset"], bounds["start"]
        end = start + size

        def is_same(candidate: Column) -> Column:
            return _offset(candidate, zone) == offset

        # A change of offset within the hour cuts the window, so that the repeated hour is its own.
        return _bounds(
            F.when(is_same(start), start).otherwise(_first_second(start, second, is_same)),
            F.when(is_same(end - 1), end).otherwise(
                _first_second(second, end - 1, lambda candidate: ~is_same(candidate))
            ),
        )

    def floor(offset: Column) -> Column:
        start = second - F.pmod(second + offset, size)
        return F.struct(offset.alias("offset"), start.alias("start"))

    return _with(_with(_offset(second, zone), floor), cut)


def _date_bounds(second: Column, zone: Column, kind: Column) -> Column:
    local_day = F.floor((second + _offset(second, zone)) / _DAY_SECONDS).cast("int")

    def first_of(day: Column) -> Column:
        return (
            F.when(kind == WindowKind.WEEK.value, F.trunc(day, "week"))
            .when(kind == WindowKind.MONTH.value, F.trunc(day, "month"))
            .otherwise(day)
        )

    def from_first(first: Column) -> Column:
        following = _next_date(first, kind)
        # A clock set back across midnight shows the old date again, in the new window.
        is_set_back = _midnight(following, zone) <= second
        return F.when(is_set_back, following).otherwise(first)

    def both(first: Column) -> Column:
        return _bounds(_midnight(first, zone), _midnight(_next_date(first, kind), zone))

    return _with(_with(first_of(F.date_from_unix_date(local_day)), from_first), both)


def _bounds(start: Column, end: Column) -> Column:
    return F.struct(
        F.timestamp_seconds(start).alias("start"), F.timestamp_seconds(end).alias("end")
    )


def _with(value: Column, expression: Callable[[Column], Column]) -> Column:
    """Compute an expression of a value once; written out, the value would be repeated in it."""
    return F.transform(F.array(value), expression)[0]


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
