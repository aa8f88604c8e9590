"""Alerts as CloudEvents 1.0 in structured mode: what programs get."""

import json

from spendgate.adapters.alert_codec import alert_as_json
from spendgate.domain.alert import Alert, AlertKind

CONTENT_TYPE = "application/cloudevents+json"
_TYPES = {
    AlertKind.THRESHOLD: "budget.threshold_breached",
    AlertKind.SOFT_CAP: "budget.soft_cap_reached",
    AlertKind.HARD_STOP: "budget.hard_stop",
    AlertKind.OVERRUN: "budget.overrun",
    AlertKind.FORECAST: "budget.forecast_breached",
    AlertKind.RAISED: "budget.raised",
    AlertKind.DRIFT: "reconciliation.drifted",
    AlertKind.SINK_AGE: "sink.late",
}


def event_of(alert: Alert, source: str) -> bytes:
    """Write the event of an alert; its id is the alert's, so that a repeated one is known."""
    data = alert_as_json(alert)
    event = {
        "specversion": "1.0",
        "id": alert.alert_id,
        "source": source,
        "type": _TYPES[alert.kind],
        "subject": f"budget/{alert.budget_id}" if alert.budget_id else "service",
        "time": data["crossed_at"],
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
