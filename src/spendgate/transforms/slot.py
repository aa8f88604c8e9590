"""Slots: stretches of time that no window of some budgets begins or ends within.

Sums by slot have few rows, and what is costly (calendars) is asked for each of those, no more for
each event.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from spendgate.domain.window import WindowKind
from spendgate.transforms.budget_frame import BudgetRow
from spendgate.transforms.time_range import HOUR_SECONDS

_MINUTE_SECONDS = 60
"""Since 1972 every zone's offset is whole minutes, and clocks change on whole minutes."""
_SIZES = (HOUR_SECONDS, HOUR_SECONDS // 4)
_DATED = (WindowKind.HOUR, WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH)


def slot_seconds(budgets: Iterable[BudgetRow], ranges: Iterable[tuple[int, int]]) -> int:
    """Return the longest slot that suits all budgets in some ranges of hours."""
    rows, spans = list(budgets), list(ranges)
    if any(row[4] == WindowKind.MINUTE.value for row in rows):
        return _MINUTE_SECONDS
    zones = {row[2] for row in rows if row[4] in _DATED}
    return next(
        (size for size in _SIZES if all(_suits(ZoneInfo(zone), size, spans) for zone in zones)),
        _MINUTE_SECONDS,
    )


def _suits(zone: ZoneInfo, size: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return all(
        _offset(zone, slot) == _offset(zone, slot + size - 1) and _offset(zone, slot) % size == 0
        for start, end in ranges
        for slot in range(start, end, size)
    )


def _offset(zone: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    assert offset is not None  # an aware time has one  # noqa: S101
    return int(offset.total_seconds())
