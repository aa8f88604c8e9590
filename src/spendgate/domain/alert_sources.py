"""Alerts that no level of spend makes: a raise, a sink that is behind."""

from datetime import UTC, datetime

from spendgate.domain.alert import Alert, AlertKey, AlertKind
from spendgate.domain.budget import CUT, Policy, Raise
from spendgate.domain.money import format_usd

_DAY_SECONDS = 86_400


def raise_alerts(policy: Policy, at: datetime) -> list[Alert]:
    """Tell of each raise in force, once in its life; a restore's cuts are no raises."""
    return [
        _raise_alert(policy, one, at)
        for one in policy.raises
        if one.source != CUT and (one.expires_at is None or at < one.expires_at)
    ]


def sink_alert(
    oldest_at: datetime | None, waiting: int, at: datetime, limit_seconds: float
) -> Alert | None:
    """Tell, once a day, that events wait for the sink for longer than they may."""
    if oldest_at is None or (at - oldest_at).total_seconds() <= limit_seconds:
        return None
    age = round((at - oldest_at).total_seconds())
    day = int(at.timestamp()) // _DAY_SECONDS * _DAY_SECONDS
    key = AlertKey(AlertKind.SINK_AGE, "", "outbox", str(day), 0)
    return Alert(
        alert_id=key.alert_id,
        kind=key.kind,
        crossed_at=at,
        threshold_ppm=0,
        scope_value=key.scope_value,
        window="day",
        window_start=datetime.fromtimestamp(day, UTC),
        window_end=datetime.fromtimestamp(day + _DAY_SECONDS, UTC),
        detail=f"{waiting} events wait for the tables, the oldest for {age} s",
    )


def _raise_alert(policy: Policy, raised: Raise, at: datetime) -> Alert:
    budget = policy.budget(raised.budget_id)
    key = AlertKey(AlertKind.RAISED, raised.budget_id, raised.raise_id, "raise", 0)
    until = "" if raised.expires_at is None else f" until {raised.expires_at.isoformat()}"
    return Alert(
        alert_id=key.alert_id,
        kind=key.kind,
        crossed_at=at,
        threshold_ppm=0,
        budget_id=raised.budget_id,
        scope="" if budget is None else budget.scope.kind,
        scope_value="" if budget is None else budget.scope.value_text,
        window="" if budget is None else budget.window.text,
        window_end=raised.expires_at,
        limit_nano=None if budget is None else policy.limit(budget, at),
        detail=f"by {format_usd(raised.amount_nano)} USD{until}: {raised.reason}",
    )
