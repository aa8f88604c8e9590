"""How long a ledger needs what it keeps, and what a collection may remove.

A window that is over is looked at by nobody but its end's late corrections and, with rollover, the
window after it. Its key says when that is past, whatever the budget has become since.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from spendgate.domain.budget import Budget
from spendgate.domain.window import ROLLING_BUCKETS, WindowError, WindowKind, parse_window

LIFETIME_PERIOD = "*"
PERIODS_KEPT = 2
"""Whole windows for which a balance stays after its own is over: the next one may look at it."""

FILES_MIN = 16
"""Files of a table below which joining them saves no reader anything."""

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\dT\d\d(:\d\d)?)([+-]\d{4,6})")
_WEEK = re.compile(r"(\d{4})-W(\d\d)")
_MONTH = re.compile(r"\d{4}-\d\d")
_TTL = re.compile(r"([1-9]\d{0,6})([smhd])")
_UNIT_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection has removed."""

    holds: int = 0
    entries: int = 0
    balances: int = 0
    decisions: int = 0
    batches: int = 0

    def __add__(self, other: "Collected") -> "Collected":
        return Collected(
            self.holds + other.holds,
            self.entries + other.entries,
            self.balances + other.balances,
            self.decisions + other.decisions,
            self.batches + other.batches,
        )


def is_past(period: str, budget: Budget | None, touched_at: datetime, at: datetime) -> bool:
    """Tell whether nobody needs a balance any more that no hold and no entry names.

    A lifetime's is needed for good, unless its budget says how long a value may be idle.

    Args:
        period: the key of the balance's window.
        budget: the budget, if there still is one.
        touched_at: when the balance moved last.
        at: the time.
    """
    if period == LIFETIME_PERIOD:
        idle = None if budget is None else budget.idle_ttl_seconds
        return idle is not None and touched_at + timedelta(seconds=idle) <= at
    until = kept_until(period)
    return until is not None and until <= at


def kept_until(period: str) -> datetime | None:
    """Return when a window's balance is of no use any more; None if that never comes.

    At the latest: the key of a day doesn't say its time zone, so the last one on Earth counts.
    """
    try:
        start, end, margin = _bounds(period)
    except (ValueError, OverflowError, WindowError):
        return None  # a lifetime, or a key of another version
    try:
        return end + PERIODS_KEPT * (end - start) + margin
    except OverflowError:
        return None


def parse_ttl(text: str) -> int:
    """Read a duration such as `30d` or `12h` as seconds; raises `ValueError` for any other text."""
    found = _TTL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no duration; write a whole number of s, m, h or d: 30d")
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def format_ttl(seconds: int) -> str:
    """Write a duration so that `parse_ttl` reads it."""
    unit = next(name for name, size in _UNIT_SECONDS.items() if seconds % size == 0)
    return f"{seconds // _UNIT_SECONDS[unit]}{unit}"


def _bounds(period: str) -> tuple[datetime, datetime, timedelta]:
    """Return start and end of a window as UTC instants, and how far off they may be."""
    if period.startswith(f"{WindowKind.ROLLING}:"):
        return _rolling_bounds(period)
    if found := _CLOCK.fullmatch(period):
        start = datetime.fromisoformat(f"{found[1]}{'' if found[2] else ':00'}{_offset(found[3])}")
        size = timedelta(minutes=1) if found[2] else timedelta(hours=1)
        return start.astimezone(UTC), start.astimezone(UTC) + size, timedelta()
    if found := _WEEK.fullmatch(period):
        first = date.fromisocalendar(int(found[1]), int(found[2]), 1)
        following = first + 7 * _DAY
    elif _MONTH.fullmatch(period):
        first = date.fromisoformat(f"{period}-01")
        following = (first + timedelta(days=31)).replace(day=1)
    else:
        first = date.fromisoformat(period)
        following = first + _DAY
    start, end = (datetime(one.year, one.month, one.day, tzinfo=UTC) for one in (first, following))
    return start, end, _DAY


def _offset(text: str) -> str:
    """Write `+0530` as `+05:30`, which every version of `fromisoformat` reads."""
    sign, digits = text[0], text[1:]
    return sign + ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _rolling_bounds(period: str) -> tuple[datetime, datetime, timedelta]:
    name, _, bucket = period.partition("#")
    seconds = parse_window(name).rolling_seconds
    assert seconds is not None  # noqa: S101 - only rolling windows have such a name
    size = timedelta(microseconds=-(-seconds * 10**6 // ROLLING_BUCKETS))
    start = _EPOCH + int(bucket) * size
    # The bucket is read for as long as the window lasts, and by one bucket more.
    return start, start + timedelta(seconds=seconds) + 2 * size, timedelta()
