"""A billed period: its edges, its name towards who is billed, and why it was billed again."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_HOUR = timedelta(hours=1)


class PeriodError(ValueError):
    """A period that can't be billed; the message says what to give instead."""


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time [start, end) of whole hours, UTC."""

    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """The period for people and files: `2026-02` for a whole month."""
        if self == month_of(self.start):
            return f"{self.start:%Y-%m}"
        return f"{self.start:%Y%m%dT%H}_{self.end:%Y%m%dT%H}"


def period_of(since: datetime | None, until: datetime | None, as_of: datetime) -> Period:
    """Return the period that is asked for; by default the month before a time.

    Without an end it is the month of its start.

    Raises:
        PeriodError: if it is empty, its edges aren't whole hours, it has no start, or hasn't begun.
    """
    if since is None:
        if until is not None:
            raise PeriodError("--until needs --since, the period's first instant")
        return month_of(month_of(as_of).start - _HOUR)
    end = month_of(since).end if until is None else until
    for name, at in (("--since", since), ("--until", end)):
        if at.timestamp() % _HOUR.total_seconds():
            raise PeriodError(f"{name} {at.isoformat()} is no whole hour, which charges have")
    if since >= as_of:
        raise PeriodError(f"--since {since.isoformat()} is in the future; nothing was spent then")
    if end <= since:
        raise PeriodError(f"--until {end.isoformat()} isn't after --since {since.isoformat()}")
    return Period(since.astimezone(UTC), end.astimezone(UTC))


def month_of(at: datetime) -> Period:
    """Return the calendar month, UTC, that holds a time."""
    start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = start + timedelta(days=32)
    return Period(start, after.replace(day=1))


def idempotency_key(ledger_id: str, period: Period, version: int) -> str:
    """Name one version of a period; whoever sees it twice bills it once."""
    return f"chargeback-{ledger_id}-{period.name}-v{version}"


def restatement_reason(before_usd: Decimal, after_usd: Decimal) -> str:
    """Say why a period is billed again."""
    difference = after_usd - before_usd
    if difference == 0:
        return "restated: the same total is charged to others, or to other models"
    return f"restated: late events and corrections changed it by {difference:+f} USD"
