"""Run jobs over Spark Connect, as serverless jobs do; a process of its own."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.zerobus_landing import record_of
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.adjustment import Adjustment, Booking
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.landing_table import SPEND_LANDING
from spendgate.domain.scope import Scope
from spendgate.domain.table import DECISIONS, SPEND_EVENTS, SPEND_HOURLY, WINDOW_SPEND
from spendgate.domain.table_list import ALL_TABLES
from spendgate.domain.window import parse_window
from spendgate.gateway.ports import EventBatch
from spendgate.jobs import aggregate as aggregate_job
from spendgate.jobs import chargeback, drain, maintain, reconcile
from spendgate.jobs.aggregate import aggregate
from spendgate.jobs.alerts import add_alerts, alert
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.spark_session import delta_settings
from spendgate.jobs.spark_sink import SparkSink
from spendgate.jobs.sync_policies import sync_policies
from spendgate.jobs.system_tables import SERVED_CALLS, SystemTables
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.schemas import schema_text

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
NO_WORKER = "Python worker failed to connect back"
STARTS_MAX = 10


def main(folder: Path) -> None:
    settings = delta_settings() | {
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.remote("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    facts = CallFacts(1, AT, {"user": "u"}, "m", "m", "s", "global", "v1", "allow", ("life",))
    event = SpendEvent("r#1:1", "r#1", EventKind.SETTLED, AT, facts, Charge(), 6, 6)
    DeltaSink(folder / "delta").append("l", EventBatch(1, (event,), ()))
    policy = Policy((Budget("life", Scope(), 4, parse_window("lifetime")),))
    raised = replace(policy, raises=(Raise("r", "life", 1, "once", AT - timedelta(hours=1)),))

    space = TableSpace(folder / "delta")
    once_a_worker_starts(
        lambda: aggregate(spark, space, raised, [], AT, folder / "checkpoint"),
    )
    add_alerts(spark, space, raised, [], AT)

    settings = Settings(home=folder)
    ledger = open_ledger(settings)
    ledger.policies.import_policy(policy)
    synced = [sync_policies(spark, space, ledger, settings, AT) for _ in range(2)]
    ledger.close()
    drained(spark, folder)

    spark.stop()
    rows = query_rows(folder / "delta", "SELECT scope_value, spent_usd FROM budget_state")
    told = query_rows(folder / "delta", "SELECT kind FROM budget_alerts WHERE threshold = 1")
    (folder / "told.json").write_text(json.dumps(sorted(str(row["kind"]) for row in told)))
    (folder / "synced.json").write_text(json.dumps(synced))
    (folder / "state.json").write_text(json.dumps(rows))


def once_a_worker_starts(job: Callable[[], Report]) -> Report:
    """Run a job with a stream: Spark gives its Python worker 10 s, too few on a busy machine."""
    said = ""
    for _ in range(STARTS_MAX):
        try:
            report = job()
            said = json.dumps(report, default=str)
        except Exception as error:
            said = str(error)
            if NO_WORKER not in said:
                raise
        else:
            if NO_WORKER not in said:
                return report
    raise AssertionError(said)


def drained(spark: SparkSession, folder: Path) -> None:
    """Drain a ledger into a schema of the catalog, the last batch twice."""
    settings = Settings(home=folder / "drain")
    ledger = open_ledger(settings)
    facts = CallFacts(1, AT, {"user": "u"}, "m", "m", "s", "global", "v1", "allow", (), {"a": "b"})
    ledger.adjust([Adjustment("a1", "f", Booking(5, (), facts, Charge()), "ann", "why", AT)])
    ledger.record([DecisionRecord("d1", AT, {"user": "u"}, "m", "refuse")])
    batch = ledger.outbox.claim_batch(10)
    (known,) = ledger.outbox.first_events(["a1"])
    ledger.close()
    assert batch is not None
    volume = str(folder / "volume")
    run = JobRun(settings, AT, catalog="spark_catalog", schema="drained", volume=volume)
    spark.sql("CREATE SCHEMA spark_catalog.drained")
    reports = [drain.run(run)]
    SparkSink(spark, run.space).append("l", batch)
    land(spark, run, [known, replace(known, event_id="ahead:1", hold_id="ahead"), known])
    reports += [once_a_worker_starts(lambda: drain.run(run)) for _ in range(2)]
    found = {
        table.name: [row.asDict() for row in run.space.read(spark, table).collect()]
        for table in (SPEND_EVENTS, DECISIONS)
    }
    (folder / "drained.json").write_text(json.dumps([reports, found], default=str))
    bill_over(spark, run)
    reconcile_over(spark, run)
    maintain_over(run)


def land(spark: SparkSession, run: JobRun, events: list[SpendEvent]) -> None:
    """Put events into the landing table as the stream's service does."""
    run.space.create(spark, SPEND_LANDING)
    rows = [
        (one.event_id, one.facts.occurred_at, one.recorded_at, json.loads(record_of(one))["body"])
        for one in events
    ]
    frame = spark.createDataFrame(rows, schema_text(SPEND_LANDING))
    frame.write.format("delta").mode("append").saveAsTable(run.space.name(SPEND_LANDING))


def bill_over(spark: SparkSession, run: JobRun) -> None:
    """Alert and charge back over the same schema, and look at the view."""
    lifetime = Budget("life", Scope(), 10**9, parse_window("lifetime"))
    raised = Raise("r", "life", 10**9, "launch")
    told = alert(run, Policy((lifetime,), (raised,)))
    folder = run.settings.home.parent
    month = AT.replace(day=1, hour=0, minute=0)
    billed = chargeback.run(replace(run, since=month))
    shown = spark.sql("SELECT ChargeClass, BilledCost FROM spark_catalog.drained.focus_charges")
    rows = [row.asDict() for row in shown.collect()]
    (folder / "billed.json").write_text(json.dumps([told, billed, rows], default=str))


def reconcile_over(spark: SparkSession, run: JobRun) -> None:
    """Reconcile with stand-ins in the same catalog: one call around the gate, no bill yet."""
    settings = run.settings.model_copy(
        update={"system_catalog": "spark_catalog", "workspace_ids": ("1",)}
    )
    tables = SystemTables(spark, settings.system_catalog)
    for schema in ("billing", "serving", "ai_gateway"):
        spark.sql(f"CREATE SCHEMA spark_catalog.{schema}")
    tables.create()
    called = {
        "workspace_id": "1", "databricks_request_id": "q", "requester": "bob", "status_code": 200,
        "request_time": AT, "input_token_count": 1000, "output_token_count": 0,
        "served_entity_id": "databricks-claude-haiku-4-5",
    }  # fmt: skip
    usage = spark.table(tables.name(SERVED_CALLS))
    row = tuple(called.get(name) for name in usage.columns)
    frame = spark.createDataFrame([row], usage.schema)
    frame.write.format("delta").mode("append").saveAsTable("spark_catalog.serving.endpoint_usage")
    report = reconcile.run(replace(run, settings=settings))
    (settings.home.parent / "reconciled.json").write_text(json.dumps(report, default=str))


def maintain_over(run: JobRun) -> None:
    """Look after the same schema a long time later, when its windows' events may go."""
    retention = {"events_retention_days": 400, "windows_retention_days": 400}
    settings = run.settings.model_copy(update=retention)
    late = replace(run, settings=settings, as_of=AT.replace(year=2028))
    once_a_worker_starts(lambda: aggregate_job.run_job(late))
    for table in ALL_TABLES:  # each that is there costs a VACUUM
        if table not in (SPEND_EVENTS, SPEND_HOURLY, WINDOW_SPEND, SPEND_LANDING):
            late.spark().sql(f"DROP TABLE IF EXISTS {late.space.name(table)}")
    report = maintain.run(late)
    (settings.home.parent / "maintained.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
