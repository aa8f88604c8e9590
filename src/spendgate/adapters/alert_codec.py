"""Alerts as JSON: how a ledger keeps them on their way, and what a webhook's event says."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from spendgate.adapters.plain_data import as_mapping
from spendgate.domain.alert import Alert, AlertKind
from spendgate.domain.budget import PPM
from spendgate.domain.money import format_usd, parse_usd


def alert_as_json(alert: Alert) -> dict[str, object]:
    """Return an alert as plain data; money as decimal strings, times in UTC."""
    return {
        "alert_id": alert.alert_id,
        "kind": str(alert.kind),
        "crossed_at": _time_text(alert.crossed_at),
        "threshold": alert.threshold_ppm / PPM,
        "budget_id": alert.budget_id or None,
        "scope": alert.scope or None,
        "scope_value": alert.scope_value or None,
        "window": alert.window or None,
        "window_start": _time_text(alert.window_start),
        "window_end": _time_text(alert.window_end),
        "limit_usd": _usd_text(alert.limit_nano),
        "spent_usd": _usd_text(alert.spent_nano),
        "forecast_usd": _usd_text(alert.forecast_nano),
        "detail": alert.detail or None,
    }


def encode_alert(alert: Alert) -> str:
    """Write an alert as one line of JSON."""
    return json.dumps(alert_as_json(alert), separators=(",", ":"), ensure_ascii=False)


def decode_alert(text: str) -> Alert:
    """Read what `encode_alert` wrote."""
    row = as_mapping(json.loads(text)) or {}
    crossed_at = _time(row, "crossed_at")
    assert crossed_at is not None  # noqa: S101 - written by encode_alert
    return Alert(
        alert_id=str(row["alert_id"]),
        kind=AlertKind(str(row["kind"])),
        crossed_at=crossed_at,
        threshold_ppm=round(float(str(row["threshold"])) * PPM),
        budget_id=_text(row, "budget_id"),
        scope=_text(row, "scope"),
        scope_value=_text(row, "scope_value"),
        window=_text(row, "window"),
        window_start=_time(row, "window_start"),
        window_end=_time(row, "window_end"),
        limit_nano=_nano(row, "limit_usd"),
        spent_nano=_nano(row, "spent_usd"),
        forecast_nano=_nano(row, "forecast_usd"),
        detail=_text(row, "detail"),
    )


def _time_text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time(row: Mapping[str, object], name: str) -> datetime | None:
    value = row.get(name)
    return None if value is None else datetime.fromisoformat(str(value))


def _usd_text(nano: int | None) -> str | None:
    return None if nano is None else format_usd(nano)


def _nano(row: Mapping[str, object], name: str) -> int | None:
    value = row.get(name)
    return None if value is None else parse_usd(str(value))


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)
