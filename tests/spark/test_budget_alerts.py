"""Crossings of budgets on real tables: each once per window, with one id wherever it is seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.alert import AlertKey, AlertKind, period_of, period_start
from spendgate.domain.alert_sources import raise_alerts, sink_alert
from spendgate.domain.budget import Budget, Mode, Policy, PolicyDefaults, Raise
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.domain.reconciliation_table import RECONCILIATION
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window, window_at
from spendgate.gateway.ports import EventBatch
from spendgate.jobs.aggregate import aggregate
from spendgate.jobs.alerts import add_alerts, alert
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.schemas import schema_text

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


def reconciled(spark: SparkSession, folder: Path) -> None:
    """Two hours of one day drift, one agrees, one has no bill yet, one is long ago."""
    row: dict[str, object] = {
        "endpoint": "chat", "sku": "HOT", "our_requests": 1, "our_usd": Decimal(3),
        "billed_usd": Decimal(2), "status": "drift", "updated_at": NOW,
    }  # fmt: skip
    rows = [
        row | {"hour": AT - timedelta(hours=2), "ratio": 1.03},
        row | {"hour": AT - timedelta(hours=3), "ratio": 1.5},
        row | {"hour": AT, "sku": "COLD", "ratio": 1.02},
        row | {"hour": AT, "sku": "OPEN", "ratio": None, "status": "open"},
        row | {"hour": AT - timedelta(days=9), "ratio": 0.5},
    ]
    values = [tuple(one.get(name) for name in RECONCILIATION.column_names) for one in rows]
    frame = spark.createDataFrame(values, schema_text(RECONCILIATION))
    frame.write.format("delta").save(str(folder / RECONCILIATION.name))


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
    reconciled(spark, tmp_path)
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
        (None, "chat HOT", "reconciliation_drift", 1.5),
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


def test_the_job_tells_each_alert_once_and_notes_in_the_table_who_knows(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    ledger = open_ledger(settings)
    hook = NotifierSpec("hook", "env:HOOK", NotifierKind.WEBHOOK, "env:HOOK_KEY")
    deaf = NotifierSpec("deaf", "env:HOOK", NotifierKind.WEBHOOK, "env:HOOK_KEY", ("overrun",))
    policy = Policy(
        (LIFE, replace(ROLL, routes=("deaf",))),
        (RAISE, Raise("r-2", "roll", USD, "more")),
        defaults=PolicyDefaults(routes=("hook",)),
        notifiers=(hook, deaf),
    )
    run = JobRun(settings, NOW)
    monkeypatch.setenv("HOOK", "http://127.0.0.1:1/")
    monkeypatch.setenv("HOOK_KEY", "a key of sixteen bytes, and more")

    def standing() -> list[tuple[object, ...]]:
        sql = "SELECT budget_id, status, attempts, last_error FROM budget_alerts ORDER BY 1"
        return [tuple(one.values()) for one in query_rows(settings.delta_folder, sql)]

    down = alert(run, policy)

    problem = "can't be reached: ConnectError"
    assert down == {
        "alerts_new": 2, "alerts_sent": 0, "alerts_put_off": 1, "alerts_dead": 0,
        "problems": [f"notifier 'hook': {problem}"],
    }  # fmt: skip
    assert standing() == [("life", "pending", 1, problem), ("roll", "unrouted", 0, None)]
    # Somebody else has told it meanwhile, such as a host.
    (waiting,) = ledger.deliveries.claim(NOW + timedelta(hours=1), NOW + timedelta(hours=2), 9)
    ledger.deliveries.end(waiting.delivery_id, NOW)
    again = alert(replace(run, as_of=NOW + timedelta(hours=1)), policy)
    assert (again["alerts_new"], "problems" in again) == (0, False)
    assert standing()[0] == ("life", "sent", 2, None)
    ledger.close()
