"""Hours joined to ranges, by which a table's files can be skipped."""

from collections.abc import Iterable

HOUR_SECONDS = 3600
HOUR_RANGES_MAX = 50
"""Ranges of hours in one filter; above it, everything between first and last counts."""


def hour_ranges(hours: Iterable[int]) -> list[tuple[int, int]]:
    """Join hours, as seconds since the epoch, to ranges [start, end)."""
    ranges: list[tuple[int, int]] = []
    for hour in sorted(hours):
        if ranges and ranges[-1][1] == hour:
            ranges[-1] = (ranges[-1][0], hour + HOUR_SECONDS)
        else:
            ranges.append((hour, hour + HOUR_SECONDS))
    return ranges if len(ranges) <= HOUR_RANGES_MAX else [(ranges[0][0], ranges[-1][1])]
