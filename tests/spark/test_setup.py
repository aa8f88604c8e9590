"""The job setup on real Delta: everything made once, older tables brought up to date."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyspark.sql import SparkSession

from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.event_rows import arrow_schema, event_table
from spendgate.adapters.table_ddl import metric_view_statements
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.policy_tables import BUDGETS, PRICES
from spendgate.domain.table import SPEND_EVENTS
from spendgate.domain.table_list import ALL_TABLES, SINK_TABLES
from spendgate.errors import HostError
from spendgate.gateway.ports import EventBatch
from spendgate.jobs import setup
from spendgate.jobs.aggregate import run_job
from spendgate.jobs.job_list import run_named
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.spark_sink import SparkSink
from spendgate.jobs.table_space import TableSpace
from tests.spark.test_schema_evolution import CREATED

pytestmark = pytest.mark.spark

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
ADDED = ["adjustment_id", "adjusted_by", "reason"]
FACTS = CallFacts(
    1, NOW, {"org": "acme", "agent": "bot"}, "m", "m", "s", "global", "v1", "allow", ("bots",)
)


def event(number: int, cost_nano: int = 10**9) -> SpendEvent:
    hold_id = f"r{number}#1"
    return SpendEvent(
        f"{hold_id}:1", hold_id, EventKind.SETTLED, NOW, FACTS, Charge(), cost_nano, cost_nano
    )


@pytest.fixture
def run(tmp_path: Path) -> JobRun:
    budgets = tmp_path / "budgets.yml"
    budgets.write_text(
        "budgets:\n  - {id: bots, scope: {agent: '*'}, limit_usd: 10, window: day}\n"
    )
    settings = Settings(home=tmp_path, budgets_file=budgets)
    open_ledger(settings).close()
    return JobRun(settings, NOW)


def test_setup_makes_all_tables_and_brings_those_of_the_first_release_up_to_date(
    spark: SparkSession, run: JobRun
) -> None:
    folder = run.settings.delta_folder
    rows = event_table([event(1)]).drop_columns(ADDED)
    write_deltalake(folder / "spend_events", rows, name="spend_events")  # as 0.1.0 left it

    first = setup.run(run)
    again = setup.run(run)

    made = sorted(table.name for table in ALL_TABLES if table is not SPEND_EVENTS)
    assert sorted(first["tables_created"]) == made  # type: ignore[call-overload]  # plain JSON
    assert first["columns_added"] == {"spend_events": ADDED}
    constraints: Mapping[str, list[str]] = first["constraints_added"]  # type: ignore[assignment]  # plain JSON
    assert set(constraints["spend_events"]) >= {"kind_known", "attempt_from_one"}
    assert (first["problems"], again["problems"]) == ([], [])
    assert [again[key] for key in ("tables_created", "columns_added", "constraints_added")] == [
        [], {}, {},
    ]  # fmt: skip
    assert run.space.read(spark, BUDGETS).where("budget_id = 'bots'").count() == 1
    assert run.space.read(spark, PRICES).count() > 100

    # delta-rs appends to every sink table, constraints or not, and keeps to them.
    refusal = DecisionRecord("d1", NOW, {"org": "acme"}, "m", "refuse", "budget_exhausted")
    DeltaSink(folder).append("l", EventBatch(1, (event(2),), (refusal,)))
    assert {
        table.name: DeltaTable(folder / table.name).to_pyarrow_table().num_rows
        for table in SINK_TABLES
    } == {"spend_events": 2, "decisions": 1}
    wrong = event_table([event(3)]).to_pylist()
    wrong[0]["kind"] = "invented"
    with pytest.raises(DeltaError, match="kind"):
        write_deltalake(
            folder / "spend_events",
            pa.Table.from_pylist(wrong, schema=arrow_schema(SPEND_EVENTS)),
            mode="append",
        )


def test_rows_that_leave_defaults_open_are_taken(spark: SparkSession, run: JobRun) -> None:
    shipped = Path(__file__).resolve().parents[2] / "budgets.yml"  # it has a raise
    file = run.settings.budgets_file
    assert file is not None
    file.write_text(shipped.read_text())
    first = setup.run(run)
    budgets, prices = (run.space.name(table) for table in (BUDGETS, PRICES))

    # As docs/policies.md does.
    spark.sql(
        f"INSERT INTO {budgets} (budget_id, scope, limit_usd, window) "
        "VALUES ('night', 'agent:night-bot', 2.5, 'day')"
    )
    spark.sql(
        f"INSERT INTO {budgets} (budget_id, raise_id, raise_usd, reason, expires_at) VALUES "
        "('night', 'launch', 250, 'launch week', TIMESTAMP '2030-02-01 00:00:00Z')"
    )
    at = "TIMESTAMP '2030-01-01 00:00:00Z'"
    spark.sql(
        f"INSERT INTO {prices} (model, effective_from, token_class, usd_per_million) VALUES "
        f"('house-llm', {at}, 'input', 1.5), ('house-llm', {at}, 'output', 6)"
    )
    second = setup.run(run)

    assert (first["problems"], second["problems"]) == ([], [])
    with closing(open_ledger(run.settings)) as ledger:
        policy = ledger.policies.policy()
    budget = policy.budget("night")
    assert budget is not None
    assert policy.limit(budget, NOW) == 252_500_000_000
    assert {one.budget_id for one in policy.raises} == {"night", "org-monthly"}


@pytest.fixture
def catalog(spark: SparkSession, run: JobRun, tmp_path: Path) -> Iterator[JobRun]:
    yield replace(run, catalog="spark_catalog", schema="spend_test", volume=str(tmp_path / "files"))
    spark.sql("DROP SCHEMA IF EXISTS spark_catalog.spend_test CASCADE")


def test_the_jobs_run_over_a_catalog_and_its_functions_answer(
    spark: SparkSession, catalog: JobRun
) -> None:
    with pytest.raises(HostError, match=r"SCHEMA_NOT_FOUND.*run the job setup"):
        run_named("aggregate", catalog)
    spark.sql("CREATE SCHEMA spark_catalog.spend_test")
    released = CREATED["spend_events"]
    spark.sql(released.replace("$target", catalog.space.name(SPEND_EVENTS)))
    report = run_named("setup", catalog)
    assert report["views_and_functions"] == ["budget_remaining", "budget_status", "spend_daily"]
    assert report["columns_added"] == {"spend_events": ADDED}
    now = datetime.now(UTC)
    facts = replace(FACTS, occurred_at=now)
    events = tuple(replace(event(n), facts=facts, recorded_at=now) for n in (1, 2))
    SparkSink(spark, catalog.space).append("l", EventBatch(1, events, ()))

    made = run_job(replace(catalog, as_of=now))
    repeated = run_job(replace(catalog, as_of=now))

    assert (made["batches"], repeated["batches"]) == (1, 0)
    assert made["problems"] == []
    schema = "spark_catalog.spend_test"
    remaining = f"{schema}.budget_remaining('agent', 'bot') AS remaining"
    status = f"{schema}.budget_status('agent', 'bot') AS status"
    none = f"{schema}.budget_status('agent', 'nobody') AS none"
    row = spark.sql(f"SELECT {remaining}, {status}, {none}").collect()[0]
    assert tuple(row) == (Decimal(8), "ok", None)
    daily = spark.sql(f"SELECT day, agent_id, requests, cost_usd FROM {schema}.spend_daily")
    assert [tuple(one) for one in daily.collect()] == [(now.date(), "bot", 2, Decimal(2))]
    assert TableSpace(catalog="main").is_unity
    assert not catalog.space.is_unity
    notes: list[str] = report["notes"]  # type: ignore[assignment]  # plain JSON
    assert [one.partition(":")[0] for one in notes] == ["spend_metrics"]
    show_metrics(spark, catalog.space)


class UnitySpace(TableSpace):
    """A schema of the session's own catalog that is taken for one of Unity Catalog."""

    @property
    def is_unity(self) -> bool:
        return True


def show_metrics(spark: SparkSession, space: TableSpace) -> None:
    """Make the metric view in the older form that Spark itself reads, and ask it."""
    (text,) = metric_view_statements(space.names).values()
    older = re.sub(r"^ *comment: .*\n", "", text, flags=re.MULTILINE)
    spark.sql(older.replace("version: 1.1", "version: 0.1"))
    measures = "MEASURE(spend_usd) AS spend, MEASURE(calls) AS calls, MEASURE(usd_per_call) AS mean"
    rows = spark.sql(
        f"SELECT agent, {measures} FROM {space.schema_name}.spend_metrics GROUP BY agent"
    ).collect()
    assert [tuple(row) for row in rows] == [("bot", Decimal(2), 2, Decimal(1))]

    # Databricks' own form isn't known here: setup says so and goes on.
    unity = UnitySpace(catalog="spark_catalog", schema=space.schema)
    made, (note,) = unity.create_metric_views(spark)
    assert made == []
    assert note.startswith("spend_metrics: this runtime makes no such metric view ([INVALID_METRIC")
