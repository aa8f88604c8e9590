"""Run jobs over Spark Connect, as serverless jobs do; a process of its own."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.adjustment import Adjustment, Booking
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.event import CallFacts, Charge, DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Scope
from spendgate.domain.table import DECISIONS, SPEND_EVENTS
from spendgate.domain.window import parse_window
from spendgate.gateway.ports import EventBatch
from spendgate.jobs import chargeback, drain, reconcile
from spendgate.jobs.aggregate import aggregate
from spendgate.jobs.alerts import alert
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.spark_session import delta_settings
from spendgate.jobs.spark_sink import SparkSink
from spendgate.jobs.sync_policies import sync_policies
from spendgate.jobs.system_tables import SERVED_CALLS, SystemTables
from spendgate.jobs.table_space import TableSpace

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


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
    policy = Policy((Budget("life", Scope(), 10**9, parse_window("lifetime")),))

    aggregate(spark, TableSpace(folder / "delta"), policy, [], AT, folder / "checkpoint")

    settings = Settings(home=folder)
    ledger = open_ledger(settings)
    ledger.policies.import_policy(policy)
    space = TableSpace(folder / "delta")
    synced = [sync_policies(spark, space, ledger, settings, AT) for _ in range(2)]
    ledger.close()
    drained(spark, folder)

    spark.stop()
    rows = query_rows(folder / "delta", "SELECT scope_value, spent_usd FROM budget_state")
    (folder / "synced.json").write_text(json.dumps(synced))
    (folder / "state.json").write_text(json.dumps(rows))


def drained(spark: SparkSession, folder: Path) -> None:
    """Drain a ledger into a schema of the catalog, the last batch twice."""
    settings = Settings(home=folder / "drain")
    ledger = open_ledger(settings)
    facts = CallFacts(1, AT, {"user": "u"}, "m", "m", "s", "global", "v1", "allow", (), {"a": "b"})
    ledger.adjust([Adjustment("a1", "f", Booking(5, (), facts, Charge()), "ann", "why", AT)])
    ledger.record([DecisionRecord("d1", AT, {"user": "u"}, "m", "refuse")])
    batch = ledger.outbox.claim_batch(10)
    ledger.close()
    assert batch is not None
    run = JobRun(settings, AT, catalog="spark_catalog", schema="drained")
    spark.sql("CREATE SCHEMA spark_catalog.drained")
    report = drain.run(run)
    SparkSink(spark, run.space).append("l", batch)
    found = {
        table.name: [row.asDict() for row in run.space.read(spark, table).collect()]
        for table in (SPEND_EVENTS, DECISIONS)
    }
    (folder / "drained.json").write_text(json.dumps([report, found], default=str))
    bill_over(spark, run)
    reconcile_over(spark, run)


def bill_over(spark: SparkSession, run: JobRun) -> None:
    """Alert and charge back over the same schema, and look at the view."""
    lifetime = Budget("life", Scope(), 10**9, parse_window("lifetime"))
    raised = Raise("r", "life", 10**9, "launch")
    told = alert(run, Policy((lifetime,), (raised,)))
    folder = run.settings.home.parent
    month = AT.replace(day=1, hour=0, minute=0)
    billed = chargeback.run(replace(run, since=month, volume=str(folder / "volume")))
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
