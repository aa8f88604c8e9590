"""Upkeep of the tables: what is removed, what never, and that no sum changes by it."""

import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from spendgate.adapters.zerobus_landing import record_of
from spendgate.bootstrap import open_ledger, open_sink
from spendgate.config import Settings
from spendgate.domain.budget import Budget, Policy
from spendgate.domain.event import SpendEvent
from spendgate.domain.landing_table import SPEND_LANDING
from spendgate.domain.policy_tables import BUDGETS
from spendgate.domain.scope import Scope
from spendgate.domain.table import SPEND_EVENTS, SPEND_HOURLY
from spendgate.domain.window import parse_window
from spendgate.errors import HostError
from spendgate.jobs import chargeback, maintain, reconcile
from spendgate.jobs.job_run import JobRun
from spendgate.transforms.schemas import schema_text
from tests.ledgers.crashing import ProcessDied
from tests.spark.aggregate_home import AT, NOW, Home

pytestmark = pytest.mark.spark

OLD = datetime(2025, 1, 10, 12, 30, tzinfo=UTC)
DAILY = Budget("users", Scope.of({"user": "*"}), 10 * 10**9, parse_window("day"))
LIFE = Budget("life", Scope.of({"user": "*"}), 100 * 10**9, parse_window("lifetime"))
POLICY = Policy((DAILY, LIFE))


def charged_to(event: SpendEvent, *budget_ids: str) -> SpendEvent:
    return replace(event, facts=replace(event.facts, budget_ids=budget_ids))


def life_spent(home: Home) -> list[tuple[object, ...]]:
    return home.rows(
        "SELECT scope_value, spent_usd FROM window_spend WHERE budget_id = 'life' ORDER BY 1"
    )


@pytest.mark.usefixtures("spark")
def test_retention_removes_what_all_sums_have_and_changes_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ledger = open_ledger(home.settings)
    ledger.policies.import_policy(POLICY)
    ledger.close()
    settings = home.settings.model_copy(update={"events_retention_days": 400})
    run = JobRun(settings, NOW)
    home.flush(
        charged_to(home.call("ann", 100, OLD), "users"),
        charged_to(home.call("bob", 200, OLD), "users", "life"),
    )
    odd = charged_to(home.call("ann", -7, OLD + timedelta(days=10)), "users")
    home.flush(odd, charged_to(home.call("ann", 50, OLD + timedelta(days=10)), "users"))
    for _ in range(16):
        home.flush(charged_to(home.call("ann", 1), "users", "life"))

    home.aggregate(POLICY)
    hourly, windows, state = home.sums()

    disturb(home, settings)

    # The odd one waits to be judged, and what is later waits with it; a lifetime keeps its own.
    first = as_report(maintain.run(run))
    second = as_report(maintain.run(replace(run, settings=longer(settings))))
    left = home.rows("SELECT user_id, count(*) FROM spend_events GROUP BY 1 ORDER BY 1")
    assert (first["problems"], first["tables"]["spend_events"]) == (
        [], {"files_before": 1, "files_after": 1, "rows_removed": 0}
    )  # fmt: skip
    assert kept_for(home) == "interval 200 hours"
    assert "events from 2025-01-20T12:00:00+00:00 on stay" in first["notes"][0]
    assert left == [("ann", 18), ("bob", 1)]
    assert {one["rows_removed"] for one in second["tables"].values()} == {0}
    assert all(one["files_before"] == one["files_after"] for one in second["tables"].values())

    # An old hour is summed again: by an event that comes late, and for a budget that has changed.
    home.flush(charged_to(home.call("ann", 3, OLD), "users"))
    wider = replace(LIFE, scope=Scope.of({"org": "*"}))
    home.aggregate(Policy((DAILY, wider)))
    assert home.sums()[0] == hourly
    assert [row for row in home.sums()[1] if row[0] == "users"] == [
        row for row in windows if row[0] == "users"
    ]
    assert life_spent(home) == [("acme", "0.000000216")]

    # Windows go by their own retention, and neither they nor hours come back, or go, by a rebuild.
    closed = settings.model_copy(update={"windows_retention_days": 400})
    gone = as_report(maintain.run(replace(run, settings=closed)))
    home.aggregate(POLICY, is_rebuild=True)
    assert gone["tables"]["budget_state"]["rows_removed"] == 3
    assert home.sums()[0] == hourly
    assert [row for row in home.sums()[2] if row[0] == "users"] == [
        row for row in state if row[0] == "users" and row[3] == "0.000000016"
    ]

    # What is removed can't be billed or compared.
    for job in (chargeback, reconcile):
        since = OLD.replace(day=1, hour=0, minute=0)
        with pytest.raises(HostError, match=r"before 2025-01-20T12:00:00\+00:00 are removed"):
            job.run(replace(run, since=since, until=since.replace(month=2)))


def disturb(home: Home, settings: Settings) -> None:
    """Run it beside a host that writes, then kill it after each of its steps."""
    with open_sink(settings).sole_flusher() as is_sole:
        assert is_sole
        beside = as_report(maintain.run(JobRun(settings, NOW)))
    assert "a host is writing this home's tables: no row was removed" in beside["notes"][0]
    assert "spend_events" not in beside["tables"]
    assert count(home) == 20

    for step, left in (("SET TBLPROPERTIES", 20), ("DELETE FROM", 19), ("OPTIMIZE", 19)):
        with pytest.raises(ProcessDied):
            maintain.run(DyingRun(settings, NOW, dies_after=step))
        assert count(home) == left


def count(home: Home) -> int:
    return int(str(home.rows("SELECT count(*) FROM spend_events")[0][0]))


def longer(settings: Settings) -> Settings:
    return settings.model_copy(update={"vacuum_hours": 200})


def kept_for(home: Home) -> str | None:
    table = DeltaTable(home.settings.delta_folder / SPEND_EVENTS.name)
    return table.metadata().configuration.get("delta.deletedFileRetentionDuration")


class DyingSpark:
    """A session whose process dies after a statement."""

    def __init__(self, spark: SparkSession, dies_after: str) -> None:
        self._spark = spark
        self._dies_after = dies_after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spark, name)

    def sql(self, text: str, **sources: Any) -> Any:
        done = self._spark.sql(text, **sources)
        if self._dies_after in text:
            raise ProcessDied
        return done


@dataclass(frozen=True)
class DyingRun(JobRun):
    """A run that is killed after one of its statements."""

    dies_after: str = ""

    def spark(self) -> SparkSession:
        return DyingSpark(JobRun.spark(self), self.dies_after)  # type: ignore[return-value]  # as far as it is used


def as_report(report: Any) -> dict[str, Any]:
    return json.loads(json.dumps(report))


def test_a_table_that_fails_and_a_ledger_that_is_away_stop_nothing_else(
    spark: SparkSession, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    spark.sql("CREATE SCHEMA spark_catalog.upkeep")
    settings = home.settings.model_copy(update={"events_retention_days": 400})
    run = JobRun(settings, NOW, "spark_catalog", "upkeep", str(tmp_path / "volume"))
    space = run.space
    for table in (SPEND_EVENTS, SPEND_LANDING, BUDGETS):
        space.create(spark, table)
    there, ahead = home.call("ann", 1), home.call("bob", 2)
    home.flush(there)
    events = spark.read.format("delta").load(str(home.settings.delta_folder / SPEND_EVENTS.name))
    events.write.format("delta").mode("append").saveAsTable(space.name(SPEND_EVENTS))
    bodies = [(one.event_id, AT, AT, json.loads(record_of(one))["body"]) for one in (there, ahead)]
    landed = spark.createDataFrame([*bodies, bodies[0]], schema_text(SPEND_LANDING))
    landed.write.format("delta").mode("append").saveAsTable(space.name(SPEND_LANDING))
    detail = spark.sql(f"DESCRIBE DETAIL {space.name(BUDGETS)}").collect()
    shutil.rmtree(Path(detail[0]["location"].removeprefix("file:")) / "_delta_log")

    report = as_report(maintain.run(run))

    assert report["tables"]["spend_landing"]["rows_removed"] == 2
    assert [row[0] for row in space.read(spark, SPEND_LANDING).collect()] == [ahead.event_id]
    ledger, events, budgets = report["problems"]
    assert events == "spend_events: no budgets are known, so that any window may be open"
    assert ledger.startswith("ledger: there is no ledger at sqlite:///")
    assert budgets.startswith("budgets: ")
    assert SPEND_HOURLY.name not in report["tables"]
    spark.sql("DROP SCHEMA spark_catalog.upkeep CASCADE")
