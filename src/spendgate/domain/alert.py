"""Alerts: at which spend a budget tells somebody, and the one name of each crossing.

A crossing is told once per window. Its id follows from what was crossed and in which window, so the
job that looks at the tables and the host that refuses a call name the same crossing alike, and
whoever tells it second adds nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from spendgate.domain.budget import PPM, Budget, Mode
from spendgate.domain.window import WindowSpec

_SEPARATOR = "\x1f"
"""Between the parts of an id: printable text, which names and values are, never holds it."""
LIFETIME = "lifetime"
ID_CHARACTERS = 32
PENDING, SENT, FAILED, UNROUTED = "pending", "sent", "failed", "unrouted"
"""How far a crossing is: somebody is to be told, all know it, somebody never will, nobody is named.
"""


class AlertKind(StrEnum):
    """What is told."""

    THRESHOLD = "threshold"
    SOFT_CAP = "soft_cap"
    HARD_STOP = "hard_stop"
    OVERRUN = "overrun"
    FORECAST = "forecast"
    RAISED = "raised"
    DRIFT = "reconciliation_drift"
    SINK_AGE = "sink_age"


@dataclass(frozen=True, slots=True)
class Rung:
    """A level of spend, or of forecast spend, at which a budget alerts."""

    kind: AlertKind
    threshold_ppm: int

    def at_nano(self, limit_nano: int, hard_nano: int) -> int:
        """Return the least spend that reaches it; where there is no limit, any spend does.

        Args:
            limit_nano: the window's limit, with raises and what is carried.
            hard_nano: its hard cap; for an overrun, the highest that it had.
        """
        match self.kind:
            case AlertKind.HARD_STOP:
                at_nano = hard_nano
            case AlertKind.OVERRUN | AlertKind.FORECAST:
                at_nano = hard_nano + 1
            case _:
                at_nano = -(-limit_nano * self.threshold_ppm // PPM)
        return max(at_nano, 1)


@dataclass(frozen=True, slots=True)
class AlertKey:
    """What makes two crossings the same one."""

    kind: AlertKind
    budget_id: str
    scope_value: str
    period: str
    """The window's start in seconds since the epoch; `lifetime` where there is none."""
    threshold_ppm: int

    @property
    def alert_id(self) -> str:
        """The crossing's name; a transform computes the same from its columns."""
        parts = (self.kind, self.budget_id, self.scope_value, self.period, str(self.threshold_ppm))
        return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:ID_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Alert:
    """One crossing with its figures, as it is told; money in nano-USD.

    `budget_id` is empty where it isn't about a budget. `detail` says what no figure does.
    """

    alert_id: str
    kind: AlertKind
    crossed_at: datetime
    threshold_ppm: int
    budget_id: str = ""
    scope: str = ""
    scope_value: str = ""
    window: str = ""
    window_start: datetime | None = None
    window_end: datetime | None = None
    limit_nano: int | None = None
    spent_nano: int | None = None
    forecast_nano: int | None = None
    detail: str = ""


def crossed(
    before_nano: int, after_nano: int, limit_nano: int, thresholds_ppm: Sequence[int]
) -> tuple[int, ...]:
    """List the thresholds that spend passes upwards, lowest first, each once.

    A threshold (parts per million of the limit) is crossed where spend was below it and now
    reaches it. A movement down crosses nothing. Raises `ValueError` unless limit and thresholds
    are positive.
    """
    if limit_nano <= 0:
        raise ValueError(f"limit_nano must be positive, got {limit_nano}")
    thresholds = sorted(set(thresholds_ppm))
    if thresholds and thresholds[0] <= 0:
        raise ValueError(f"thresholds_ppm must be positive, got {thresholds[0]}")
    # Compared as whole products, so that no threshold is lost to a rounded fraction.
    return tuple(
        threshold
        for threshold in thresholds
        if before_nano * PPM < threshold * limit_nano <= after_nano * PPM
    )


def rungs(budget: Budget) -> tuple[Rung, ...]:
    """List the levels at which a budget alerts.

    A shadow budget stops nobody, so it has its thresholds and its forecast only.
    """
    found = [Rung(AlertKind.THRESHOLD, one) for one in budget.alerts_ppm]
    found.append(Rung(AlertKind.FORECAST, budget.hard_cap_ppm))
    if budget.mode is Mode.ENFORCE:
        found += [
            Rung(AlertKind.SOFT_CAP, budget.soft_cap_ppm),
            Rung(AlertKind.HARD_STOP, budget.hard_cap_ppm),
            Rung(AlertKind.OVERRUN, budget.hard_cap_ppm),
        ]
    return tuple(found)


def period_start(window: WindowSpec, start: datetime | None, at: datetime) -> datetime | None:
    """Return the start of the stretch of time in which a crossing is told once.

    That is the window's own start. A rolling window has none that stays, so time is cut into
    stretches of its length.
    """
    seconds = window.rolling_seconds
    if seconds is None:
        return start
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)


def period_of(start: datetime | None) -> str:
    """Return the period of an `AlertKey`."""
    return LIFETIME if start is None else str(int(start.timestamp()))
