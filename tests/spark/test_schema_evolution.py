"""Tables of earlier releases: setup brings them up to date, they keep their rows, jobs run on.

The tables of release 0.1.0 are as it made them (release_0_1_0.sql). Later tables have no release
behind them yet: they stand here with the fewest columns that any release may have had, because a
column that comes later may be null.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from deltalake import write_deltalake
from pyspark.sql import DataFrame, Row, SparkSession
from sqlglot import exp

from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.event_rows import arrow_schema
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.budget import Budget
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Scope
from spendgate.domain.table import BUDGET_STATE, Table
from spendgate.domain.table_list import ALL_TABLES, SINK_TABLES
from spendgate.domain.window import parse_window
from spendgate.gateway.ports import EventBatch
from spendgate.jobs.aggregate import OWN_TABLES
from spendgate.jobs.job_list import run_named
from spendgate.jobs.job_run import JobRun, Report
from spendgate.transforms.schemas import column_text
from tests.dashboard_tables import row_of

pytestmark = pytest.mark.spark

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
OLD = datetime(2026, 2, 10, 12, 30, tzinfo=UTC)
RELEASE = Path(__file__).with_name("release_0_1_0.sql").read_text("utf-8")
CREATED = dict(
    re.findall(r"^-- name: (\w+)\n(.*?)(?=\n-- name|\Z)", RELEASE, re.MULTILINE | re.DOTALL)
)
OLDEST_NEEDS = {"budgets": {"scope", "limit_usd", "window"}}
"""Columns that may be null, and without which a row says nothing."""
VALUES: Mapping[str, Mapping[str, Any]] = {
    "spend_events": {
        "event_id": "o#1:1", "hold_id": "o#1", "kind": "settled", "occurred_at": OLD,
        "recorded_at": OLD, "model": "m", "cost_usd": Decimal("0.7"), "usage_source": "reported",
        "agent_id": "bot", "budget_ids": ["bots"],
    },
    "decisions": {"decision_id": "old", "occurred_at": OLD, "decision": "refuse"},
    "budgets": {
        "budget_id": "people", "scope": "user:*", "limit_usd": Decimal(5), "window": "day",
    },
    "prices": {"model": "own", "token_class": "input", "effective_from": OLD},
    "budget_requests": {"request_id": "old", "status": "denied"},
    "budget_alerts": {"alert_id": "old", "kind": "threshold", "status": "sent"},
    "reconciliation": {"hour": OLD, "endpoint": "m", "sku": "s", "status": "agreed"},
    "spend_quarantine": {"event_id": "odd", "reason": "future_clock"},
    "charges": {"token_kind": "input"},
    "chargebacks": {"period_start": OLD, "status": "sent"},
    "budget_state": {"status": "ok"},
}  # fmt: skip


def oldest(table: Table) -> list[tuple[str, str, bool]]:
    """Return name, type and whether it is required of each column that the oldest table has."""
    if table.name not in CREATED:
        needed = OLDEST_NEEDS.get(table.name, set())
        return [
            (one.name, one.type, one.is_required)
            for one in table.columns
            if one.is_required or one.name in needed
        ]
    tree = sqlglot.parse_one(CREATED[table.name].replace("$target", "t"), dialect="databricks")
    return [
        (
            column.name,
            column.args["kind"].sql("databricks").lower().replace(", ", ","),
            any(isinstance(one.kind, exp.NotNullColumnConstraint) for one in column.constraints),
        )
        for column in tree.find_all(exp.ColumnDef)
    ]


def make_oldest(spark: SparkSession, folder: Path, table: Table) -> None:
    """Make an old table with a row: of the sink by delta-rs, as hosts did, others by Spark."""
    columns = oldest(table)
    values = {
        name: value
        for name, value in row_of(table, **VALUES.get(table.name, {})).items()
        if name in {column[0] for column in columns}
    } | {name: 0 for name, *_ in columns if name not in table.column_names}
    if table in SINK_TABLES:
        names = [name for name, *_ in columns]
        schema = pa.schema([arrow_schema(table).field(name) for name in names])
        rows = pa.Table.from_pylist([values], schema=schema)
        write_deltalake(folder / table.name, rows, name=table.name)
        return
    target = f"delta.`{folder / table.name}`"
    listed = ", ".join(
        column_text(column) for column in table.columns if column.name in {c[0] for c in columns}
    )
    made = CREATED.get(table.name, f"CREATE TABLE $target ({listed}) USING DELTA")
    spark.sql(Template(made).substitute(target=target))
    ordered = tuple(values[name] for name, *_ in columns)
    frame = spark.createDataFrame([ordered], spark.table(target).schema)
    frame.write.format("delta").mode("append").save(str(folder / table.name))


@pytest.mark.parametrize("table", SINK_TABLES, ids=lambda table: table.name)
def test_what_a_release_appended_stays_and_what_comes_later_may_be_null(table: Table) -> None:
    released = oldest(table)
    now = {one.name: (one.name, one.type, one.is_required) for one in table.columns}

    assert table.name in CREATED
    assert [now.get(name) for name, *_ in released] == released
    later = [one for name, one in now.items() if name not in {column[0] for column in released}]
    assert not any(is_required for *_, is_required in later)


def event(number: int, cost_nano: int) -> SpendEvent:
    hold_id = f"r{number}#1"
    facts = CallFacts(
        1, NOW, {"agent": "bot"}, "m", "m", "s", "global", "v1", "allow", ("bots",)
    )  # fmt: skip
    return SpendEvent(
        f"{hold_id}:1", hold_id, EventKind.SETTLED, NOW, facts, Charge(), cost_nano, cost_nano
    )


@dataclass
class OldHome:
    """A home whose tables are of earlier releases, each with a row."""

    spark: SparkSession
    run: JobRun

    def rows(self, table: Table) -> DataFrame:
        return self.run.space.read(self.spark, table)

    def lacking(self) -> dict[str, set[str]]:
        """Return the columns that tables lack, by table."""
        found = {
            table.name: set(table.column_names) - set(self.rows(table).columns)
            for table in ALL_TABLES
        }
        return {name: columns for name, columns in found.items() if columns}

    def old_rows(self) -> dict[str, list[Row]]:
        """Return what the oldest columns of each table say that isn't made from others."""
        return {
            table.name: self.rows(table).select(*(name for name, *_ in oldest(table))).collect()
            for table in ALL_TABLES
            if table not in OWN_TABLES
        }


@pytest.fixture
def home(spark: SparkSession, tmp_path: Path) -> OldHome:
    settings = Settings(home=tmp_path)
    ledger = open_ledger(settings)
    bots = Budget("bots", Scope.parse("agent:*"), 10**9, parse_window("month"))
    ledger.policies.put_budgets([bots])
    ledger.close()
    for table in ALL_TABLES:
        make_oldest(spark, settings.delta_folder, table)
    return OldHome(spark, JobRun(settings, NOW))


def violated(report: Report) -> list[str]:
    problems: list[str] = report["problems"]  # type: ignore[assignment]  # plain JSON
    return [one for one in problems if "constraint" in one]


def test_tables_of_the_first_release_keep_their_rows_and_every_job_runs_on(home: OldHome) -> None:
    run, lacking, before = home.run, home.lacking(), home.old_rows()

    report = run_named("setup", run)

    assert report["tables_created"] == []
    # What an old row doesn't keep to is named, and all else is done.
    (odd,) = violated(report)
    assert odd.startswith("prices: some rows don't keep to the constraint price_positive (usd_per_")
    added: Mapping[str, list[str]] = report["columns_added"]  # type: ignore[assignment]  # plain JSON
    anew = lacking.pop("window_spend")  # what it lacks is required: aggregate makes it anew
    assert {name: set(columns) for name, columns in added.items()} == lacking
    assert home.lacking() == {"window_spend": anew}

    # Hosts append by delta-rs, then every job has its turn.
    refusal = DecisionRecord("new", NOW, {"agent": "bot"}, "m", "refuse", "budget_exhausted")
    batch = EventBatch(1, (event(1, 10**9), event(2, -5)), (refusal,))
    DeltaSink(run.settings.delta_folder).append("l", batch)
    jobs = ("aggregate", "reconcile", "chargeback", "maintain", "sync_policies", "drain")
    reports = {name: run_named(name, run) for name in jobs}

    assert reports["drain"] == {"job": "drain", "batches": 0, "events": 0, "decisions": 0}
    assert reports["aggregate"]["quarantined"] == {"negative_cost": 1}
    assert reports["maintain"]["problems"] == []
    assert home.lacking() == {}
    after = home.old_rows()
    lost = {name: [row for row in rows if row not in after[name]] for name, rows in before.items()}
    assert {name: rows for name, rows in lost.items() if rows} == {}
    states = home.rows(BUDGET_STATE).where("budget_id = 'bots'").orderBy("window_start")
    assert [tuple(row) for row in states.select("scope_value", "spent_usd").collect()] == [
        ("bot", Decimal("0.7")), ("bot", Decimal(1)),
    ]  # fmt: skip
    grown = {name for name, rows in after.items() if len(rows) > 1}
    assert grown >= {
        "spend_events", "decisions", "spend_quarantine", "budget_alerts", "reconciliation",
        "budgets", "prices", "charges", "chargebacks", "policy_changes",
    }  # fmt: skip
