"""Crossings of budgets on real tables: each once per window, with one id wherever it is seen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.domain.alert import AlertKey, AlertKind, period_of, period_start
from spendgate.domain.alert_sources import raise_alerts, sink_alert
from spendgate.domain.budget import Budget, Mode, Policy, PolicyDefaults, Raise
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window, window_at
from spendgate.gateway.ports import EventBatch
from spendgate.jobs.aggregate import aggregate
from spendgate.jobs.alerts import add_alerts
from spendgate.jobs.table_space import TableSpace

pytestmark = pytest.mark.spark

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
NOW = datetime(2026, 3, 10, 13, tzinfo=UTC)
USD = 10**9
USERS = Budget("users", Scope.of({"user": "*"}), 10 * USD, parse_window("day"), "Europe/Berlin")
ROLL = Budget("roll", Scope.of({"org": "acme"}), 10 * USD, parse_window("rolling:24h"))
LIFE = Budget("life", Scope(), 100 * USD, parse_window("lifetime"), alerts_ppm=(1_000,))
TRIAL = Budget("trial", Scope(), USD, parse_window("month"), mode=Mode.SHADOW)
RAISE = Raise("r-1", "life", 5 * USD, "launch")
POLICY = Policy((USERS, ROLL, LIFE, TRIAL), (RAISE,), defaults=PolicyDefaults(routes=("ops",)))


def event(number: int, user: str, cost_nano: int, at: datetime) -> SpendEvent:
    ids = ("users", "roll", "life", "trial")
    facts = CallFacts(
        1, at, {"org": "acme", "user": user}, "m", "m", "s", "global", "v", "allow", ids
    )
    hold = f"r{number}#1"
    charge = Charge(cost_nano=cost_nano)
    return SpendEvent(f"{hold}:1", hold, EventKind.SETTLED, at, facts, charge, cost_nano, cost_nano)


def refusal(number: int, user: str, code: str = "budget_exhausted") -> DecisionRecord:
    return DecisionRecord(
        f"d{number}", AT, {"org": "acme", "user": user}, "m", "refuse", code, "users",
        10 * USD, 3 * USD, 0, 8 * USD,
    )  # fmt: skip


def id_of(budget: Budget, value: str, kind: AlertKind, ppm: int, at: datetime = NOW) -> str:
    """What a host would call the same crossing."""
    start = window_at(budget.window, budget.tz, at).start
    period = period_of(period_start(budget.window, start, at))
    return AlertKey(kind, budget.budget_id, value, period, ppm).alert_id


def told(folder: Path) -> set[tuple[object, ...]]:
    sql = "SELECT budget_id, scope_value, kind, CAST(threshold AS DOUBLE) FROM budget_alerts"
    return {tuple(row.values()) for row in query_rows(folder, sql)}


def test_each_crossing_is_one_row_however_often_and_late_the_job_runs(
    spark: SparkSession, tmp_path: Path
) -> None:
    def run(*events: SpendEvent, as_of: datetime = NOW) -> int:
        if events:
            DeltaSink(tmp_path).append("l", EventBatch(len(events), events, ()))
        aggregate(spark, TableSpace(tmp_path), POLICY, [], as_of, tmp_path / "checkpoint")
        late = sink_alert(AT, 7, as_of, limit_seconds=60)
        assert late is not None
        return add_alerts(
            spark, TableSpace(tmp_path), POLICY, [*raise_alerts(POLICY, as_of), late], as_of
        )

    DeltaSink(tmp_path).append(
        "l",
        EventBatch(1, (), (refusal(1, "bob"), refusal(2, "bob"), refusal(3, "cy", "budget_held"))),
    )
    long_ago = event(9, "old", 10 * USD, AT - timedelta(days=30))

    first = run(long_ago, event(1, "ann", 8 * USD, AT))

    expected: set[tuple[object, ...]] = {
        ("users", "ann", "threshold", 0.5), ("users", "ann", "threshold", 0.75),
        ("users", "ann", "soft_cap", 0.8), ("users", "ann", "forecast", 1.0),
        ("users", "bob", "hard_stop", 1.0),
        ("roll", "acme", "threshold", 0.5), ("roll", "acme", "threshold", 0.75),
        ("roll", "acme", "soft_cap", 0.8),
        ("life", "*", "threshold", 0.001), ("life", "*", "raised", 0.0),
        ("trial", "*", "threshold", 0.5), ("trial", "*", "threshold", 0.75),
        ("trial", "*", "threshold", 0.9), ("trial", "*", "threshold", 1.0),
        ("trial", "*", "forecast", 1.0), (None, "outbox", "sink_age", 0.0),
    }  # fmt: skip
    assert told(tmp_path) == expected
    assert first == len(expected)
    assert run() == 0

    second = run(event(2, "ann", 3 * USD, AT), event(3, "x", 1, AT), event(4, "x", 1, AT))

    crossed = {("users", "ann", kind, 1.0) for kind in ("threshold", "hard_stop", "overrun")}
    crossed |= {("users", "ann", "threshold", 0.9), ("roll", "acme", "threshold", 0.9)}
    crossed |= {("roll", "acme", kind, 1.0) for kind in ("threshold", "hard_stop", "overrun")}
    assert told(tmp_path) == expected | crossed
    assert second == len(crossed)
    names = {
        str(row["alert_id"]) for row in query_rows(tmp_path, "SELECT alert_id FROM budget_alerts")
    }
    assert id_of(USERS, "bob", AlertKind.HARD_STOP, 10**6) in names
    assert id_of(ROLL, "acme", AlertKind.HARD_STOP, 10**6) in names
    assert id_of(LIFE, "*", AlertKind.THRESHOLD, 1_000) in names
    (bob,) = query_rows(tmp_path, "SELECT * FROM budget_alerts WHERE scope_value = 'bob'")
    assert (bob["limit_usd"], bob["spent_usd"]) == ("10.000000000", "3.000000000")
    assert (bob["window_start"], bob["window_end"]) == (
        "2026-03-09T23:00:00Z", "2026-03-10T23:00:00Z"
    )  # fmt: skip
    assert (bob["threshold"], bob["status"], bob["routes"]) == ("1.000000", "pending", ["ops"])
