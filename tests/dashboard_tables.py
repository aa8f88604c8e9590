"""Small tables as a few days of traffic leave them, for the dashboard, the questions, the pages."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from spendgate.adapters.event_rows import arrow_schema
from spendgate.domain.table import Table
from spendgate.domain.table_list import ALL_TABLES

SCRIPT = "<script>alert(1)</script>"
LONG = "x" * 10_000
BIG, SMALL = "databricks-claude-sonnet-4-5", "databricks-claude-haiku-4-5"
TEAMS = ("support", "search", "billing")
_NOTHING: dict[str, Any] = {
    "string": "", "int": 1, "bigint": 0, "double": 0.0, "boolean": False,
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "map<string,string>": {}, "array<string>": [],
}  # fmt: skip


def row_of(table: Table, **values: Any) -> dict[str, Any]:
    """Return a row of a table; what isn't given is null, or plain where that isn't allowed."""
    unknown = values.keys() - set(table.column_names)
    assert not unknown, f"{table.name} has no {unknown}"
    plain = {
        column.name: _NOTHING.get(column.type, Decimal(0)) if column.is_required else None
        for column in table.columns
    }
    return plain | values


def fill_tables(folder: Path, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write all tables below a folder by delta-rs; those without rows are empty."""
    for table in ALL_TABLES:
        written = [row_of(table, **row) for row in rows.get(table.name, [])]
        frame = pa.Table.from_pylist(written, schema=arrow_schema(table))
        write_deltalake(folder / table.name, frame)


def realistic_rows(now: datetime, *, days: int = 4) -> dict[str, list[dict[str, Any]]]:
    """Return a few days of traffic, hostile names among it, up to a time."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [hour - timedelta(hours=6 * i) for i in range(4 * days)]
    return {
        "spend_hourly": _hourly(hours),
        "spend_events": _events(hours),
        "decisions": _decisions(hours),
        "budget_state": _states(now),
        "budget_alerts": [_alert(now, "threshold"), _alert(now - timedelta(hours=3), "hard_stop")],
        "reconciliation": _reconciled(hours),
    }


def _payer(index: int) -> dict[str, Any]:
    names = ("triage-bot", "ranker", SCRIPT, LONG)
    return {
        "org_id": "acme" if index % 5 else None,
        "team_id": TEAMS[index % 3],
        "agent_id": names[index % 4],
        "user_id": f"u-{index % 7}",
    }


def _hourly(hours: list[datetime]) -> list[dict[str, Any]]:
    return [
        {
            "hour": hour, **_payer(i + j), "model": (BIG, SMALL)[j % 2], "requests": 3 + j,
            "input_tokens": 9000, "cache_read_tokens": 2000 * (1 + j), "output_tokens": 800,
            "cost_usd": Decimal(1 + i % 5) / 10 + Decimal(j) / 8, "dbu": Decimal(1),
        }
        for i, hour in enumerate(hours)
        for j in range(4)
    ]  # fmt: skip


def _events(hours: list[datetime]) -> list[dict[str, Any]]:
    kinds = ("settled", "settled", "settled", "expired", "corrected", "external", "voided")
    return [
        {
            "event_id": f"h{i}#1:1", "hold_id": f"h{i}#1", "kind": kinds[i % len(kinds)],
            "occurred_at": hour, "recorded_at": hour + timedelta(seconds=2), **_payer(i),
            "session_id": f"s-{i % 9}", "task_id": f"t-{i % 5}", "model_requested": BIG,
            "model": (BIG, SMALL)[i % 2], "input_tokens": 2000, "output_tokens": 300,
            "cache_read_tokens": 500, "reserved_usd": Decimal("0.2"),
            "cost_usd": Decimal("-0.01") if kinds[i % len(kinds)] == "corrected"
            else Decimal("0.05") / (1 + i % 2),
            "usage_source": "reported" if i % 3 else "reserved", "upstream": "databricks",
            "decision": "downgrade" if i % 2 else "allow", "budget_ids": ["org-monthly"],
            "latency_ms": 700 + i, "tags": {"cost_center": "4711"}, "price_version": "v1",
        }
        for i, hour in enumerate(hours)
    ]  # fmt: skip


def _decisions(hours: list[datetime]) -> list[dict[str, Any]]:
    codes = ("budget_exhausted", "budget_held", "model_not_priced")
    return [
        {
            "decision_id": f"d{i}", "occurred_at": hour, **_payer(i), "model_requested": BIG,
            "decision": "downgrade" if i % 4 == 3 else "refuse",
            "code": None if i % 4 == 3 else codes[i % 3], "budget_id": "each-agent",
            "limit_usd": Decimal(5), "spent_usd": Decimal("4.99"), "held_usd": Decimal("0.01"),
            "needed_usd": Decimal("0.12"), "suggested_model": SMALL,
        }
        for i, hour in enumerate(hours)
    ]  # fmt: skip


def _states(now: datetime) -> list[dict[str, Any]]:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    used = {"acme": 0.31, "triage-bot": 0.92, "ranker": 1.0, SCRIPT: 0.55, LONG: 0.07}
    return [
        _state(value, ratio * (1 - back / 10), day - timedelta(days=back), now)
        for value, ratio in used.items()
        for back in range(4)
    ]


def _state(value: str, ratio: float, start: datetime, now: datetime) -> dict[str, Any]:
    limit, spent = Decimal(5), Decimal(str(round(5 * ratio, 6)))
    status = "hard" if ratio >= 1 else "soft" if ratio >= 0.8 else "ok"
    is_org = value == "acme"
    return {
        "budget_id": "org-daily" if is_org else "each-agent",
        "scope": "org" if is_org else "agent", "scope_value": value, "window": "day",
        "window_start": start, "window_end": start + timedelta(days=1), "limit_usd": limit,
        "spent_usd": spent, "held_usd": Decimal("0.02"), "remaining_usd": limit - spent,
        "used_ratio": ratio, "status": status, "requests": 40, "burn_usd_per_hour": spent / 16,
        "forecast_usd": spent * 2, "forecast_low_usd": spent, "forecast_high_usd": spent * 3,
        # Before its window ends, at whatever hour of the day the tests run.
        "exhausts_at": start + (max(now - start, timedelta(0)) + timedelta(days=1)) / 2,
        "last_event_at": now - timedelta(minutes=1), "updated_at": now,
    }  # fmt: skip


def _alert(at: datetime, kind: str) -> dict[str, Any]:
    return {
        "alert_id": f"{kind}-{at:%H}", "kind": kind, "budget_id": "each-agent", "scope": "agent",
        "scope_value": SCRIPT, "window": "day", "threshold": Decimal("0.9"), "crossed_at": at,
        "limit_usd": Decimal(5), "spent_usd": Decimal("4.6"), "used_ratio": 0.92,
        "detail": f"seen for {SCRIPT}", "status": "sent",
    }  # fmt: skip


def _reconciled(hours: list[datetime]) -> list[dict[str, Any]]:
    return [
        {
            "hour": hour, "endpoint": BIG, "sku": "ANTHROPIC_MODEL_SERVING", "our_requests": 9,
            "our_usd": Decimal("1.20"), "billed_usd": Decimal("1.50") if i else None,
            "bypass_requests": 2, "bypass_usd": Decimal("0.29"), "residual_usd": Decimal("0.01"),
            "ratio": 0.99, "status": "agreed", "updated_at": hour,
        }
        for i, hour in enumerate(hours)
    ]  # fmt: skip
