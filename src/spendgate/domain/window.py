"""Windows: the stretch of time that a limit covers, derived from the clock.

A window's key names the balance that a call is charged to. A new window is a new key, so that
nothing has to be reset. Calendar windows tile time: each starts where the one before it ends.

* Day, week (from Monday) and month begin at local midnight. Where the clock skips midnight they
  begin at the first instant after the gap; where midnight comes twice, at the first one.
* Minute and hour are those of the local clock under one offset from UTC. The hour that a clock
  repeats in autumn is hence a window of its own, and a change of offset within an hour cuts it.
  Neither is ever longer than its name says.
* A rolling window charges one of 60 buckets and reads the 60 before it as well: up to one bucket
  more than the duration, never less.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ROLLING_BUCKETS = 60
ROLLING_SECONDS_MIN = 60
ROLLING_SECONDS_MAX = 366 * 86_400

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_FORMS = (
    "minute, hour, day, week, month, lifetime, or {rolling: 24h} "
    "with a whole number of s, m, h or d from 1m to 366d"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class WindowError(ValueError):
    """Raised where a window, a time zone or a time can't be what a budget needs."""


class WindowKind(StrEnum):
    """What a window's edges follow: the calendar, nothing, or the time of the call."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"
    ROLLING = "rolling"


@dataclass(frozen=True)
class WindowSpec:
    """Say which windows a budget has. `rolling_seconds` is set for rolling ones alone.

    Raises `WindowError` for a rolling window below one minute or above 366 days.
    """

    kind: WindowKind
    rolling_seconds: int | None = None

    def __post_init__(self) -> None:
        if (self.kind is WindowKind.ROLLING) != (self.rolling_seconds is not None):
            raise WindowError("rolling_seconds belongs to rolling windows, and to no other")
        seconds = self.rolling_seconds
        if seconds is not None and not ROLLING_SECONDS_MIN <= seconds <= ROLLING_SECONDS_MAX:
            raise WindowError("a rolling window must last from 1m to 366d")

    @cached_property
    def text(self) -> str:
        """The window as `parse_window` reads it: `month`, `rolling:24h`, `rolling:7d`."""
        if self.rolling_seconds is None:
            return self.kind.value
        # One day is written as the policies do, 24h.
        units = [("d", 86_400)] if self.rolling_seconds > 86_400 else []
        for unit, seconds in (*units, ("h", 3_600), ("m", 60)):
            if self.rolling_seconds % seconds == 0:
                return f"rolling:{self.rolling_seconds // seconds}{unit}"
        return f"rolling:{self.rolling_seconds}s"


@dataclass(frozen=True, slots=True)
class Window:
    """One window: `key` is charged; `also_keys` are read with it, oldest first.

    The window is [start, end) in UTC. A lifetime has neither; a rolling window moves with the
    clock and has no end. `resets_at` is when the balance starts anew, if ever.
    """

    key: str
    start: datetime | None
    end: datetime | None
    resets_at: datetime | None
    also_keys: tuple[str, ...] = ()


def parse_window(value: object) -> WindowSpec:
    """Read a window as policies write it: `month`, `rolling:24h` or `{rolling: 24h}`.

    Raises `WindowError` naming the value and the allowed forms.
    """
    text = value
    if isinstance(value, Mapping):
        fields = dict(cast(Mapping[object, object], value))
        text = f"rolling:{fields['rolling']}" if list(fields) == ["rolling"] else None
    if isinstance(text, str):
        if text in set(WindowKind) - {WindowKind.ROLLING}:
            return WindowSpec(WindowKind(text))
        duration = _DURATION.fullmatch(text.removeprefix("rolling:"))
        if text.startswith("rolling:") and duration is not None:
            seconds = int(duration[1]) * _UNIT_SECONDS[duration[2]]
            if ROLLING_SECONDS_MIN <= seconds <= ROLLING_SECONDS_MAX:
                return WindowSpec(WindowKind.ROLLING, seconds)
    raise WindowError(f"{value!r:.80} is not a window; use {_FORMS}")


def parse_time_zone(name: str) -> ZoneInfo:
    """Find an IANA time zone; raises `WindowError` where there is none of that name."""
    try:
        return ZoneInfo(name)
    # A folder of zones, such as `America`, is an OSError; `../x` is a ValueError.
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        message = f"{name!r:.80} is not a time zone; use an IANA name such as Europe/Berlin"
        raise WindowError(message) from error


def window_at(spec: WindowSpec, tz: str, at: datetime) -> Window:
    """Return the window that a time falls into.

    Raises `WindowError` for a time without a time zone, for years outside 2 to 9998, and for an
    unknown `tz`.
    """
    if at.utcoffset() is None:
        raise WindowError("a window needs a time with a time zone")
    at = at.astimezone(UTC)
    if not 1 < at.year < 9999:
        raise WindowError("a window needs a year from 2 to 9998")
    if spec.kind is WindowKind.LIFETIME:
        return Window(key="*", start=None, end=None, resets_at=None)
    if spec.rolling_seconds is not None:
        return _rolling_window(spec, spec.rolling_seconds, at)
    zone = parse_time_zone(tz)
    if spec.kind in (WindowKind.MINUTE, WindowKind.HOUR):
        return _clock_window(spec.kind, zone, at)
    return _date_window(spec.kind, zone, at)


def _rolling_window(spec: WindowSpec, rolling_seconds: int, at: datetime) -> Window:
    # Rounded up: 60 buckets must not be shorter than the duration.
    bucket = timedelta(microseconds=-(-rolling_seconds * 10**6 // ROLLING_BUCKETS))
    current = (at - _EPOCH) // bucket
    # The duration is in the key: buckets of another length would have other edges.
    prefix = spec.text
    return Window(
        key=f"{prefix}#{current}",
        start=at - timedelta(seconds=rolling_seconds),
        end=None,
        resets_at=None,
        also_keys=tuple(f"{prefix}#{n}" for n in range(current - ROLLING_BUCKETS, current)),
    )


def _clock_window(kind: WindowKind, zone: tzinfo, at: datetime) -> Window:
    is_hour = kind is WindowKind.HOUR
    local = at.astimezone(zone)
    offset = _offset(zone, at)
    floor = local.replace(tzinfo=None, second=0, microsecond=0)
    floor = floor.replace(minute=0) if is_hour else floor
    start = floor.replace(tzinfo=UTC) - offset
    end = start + (timedelta(hours=1) if is_hour else timedelta(minutes=1))
    whole = at.replace(microsecond=0)
    if _offset(zone, start) != offset:
        start = _first_second(start, whole, lambda instant: _offset(zone, instant) == offset)
    if _offset(zone, end - _SECOND) != offset:
        end = _first_second(whole, end - _SECOND, lambda instant: _offset(zone, instant) != offset)
    # The offset tells the two 01:00 hours of an autumn night apart.
    key = f"{floor.isoformat(timespec='hours' if is_hour else 'minutes')}{local:%z}"
    return Window(key=key, start=start, end=end, resets_at=end)


def _date_window(kind: WindowKind, zone: tzinfo, at: datetime) -> Window:
    first = _first_date(kind, at.astimezone(zone).date())
    start, end = _date_edges(kind, zone, first)
    # A clock set back across midnight shows the old date again, in the new window.
    while end <= at:
        first = _next_date(kind, first)
        start, end = _date_edges(kind, zone, first)
    return Window(key=_date_key(kind, first), start=start, end=end, resets_at=end)


@lru_cache(maxsize=4096)
def _date_edges(kind: WindowKind, zone: tzinfo, first: date) -> tuple[datetime, datetime]:
    """Return start and end of the window of a first date; every call of the day asks for them."""
    return _start_of(first, zone), _start_of(_next_date(kind, first), zone)


def _start_of(day: date, zone: tzinfo) -> datetime:
    """Return the first instant of a local date, or of the next one that exists."""
    midnight = datetime.combine(day, time(), zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start
    # Midnight is skipped. The offsets before (fold 0) and after the gap enclose its instant.
    before_gap = midnight.replace(fold=1).astimezone(UTC)
    return _first_second(before_gap, start, lambda instant: instant.astimezone(zone).date() >= day)


def _first_second(
    before: datetime, until: datetime, is_reached: Callable[[datetime], bool]
) -> datetime:
    """Find when something becomes true that is false `before` and true at `until`.

    Clocks change on whole seconds, and both times are whole seconds.
    """
    low, high = 0, (until - before) // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if is_reached(before + middle * _SECOND):
            high = middle
        else:
            low = middle
    return before + high * _SECOND


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - an aware time always has one; this tells the types
    return offset


def _first_date(kind: WindowKind, day: date) -> date:
    if kind is WindowKind.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind is WindowKind.MONTH else day


def _next_date(kind: WindowKind, first: date) -> date:
    if kind is WindowKind.MONTH:
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if kind is WindowKind.WEEK else 1)


def _date_key(kind: WindowKind, first: date) -> str:
    if kind is WindowKind.WEEK:
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02}"
    return first.isoformat()[:7] if kind is WindowKind.MONTH else first.isoformat()
