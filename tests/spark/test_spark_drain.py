"""The outbox of either store into tables of a catalog, by Spark: each row once, whatever dies."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.event_codec import from_micros
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.zerobus_landing import record_of
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.adjustment import Adjusted, Adjustment, Booking
from spendgate.domain.event import CallFacts, Charge, DecisionRecord
from spendgate.domain.landing_table import SPEND_LANDING
from spendgate.domain.table import DECISIONS, SPEND_EVENTS, Table
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.drain import flush_outbox
from spendgate.jobs import drain
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.spark_sink import SparkSink, within_hours
from spendgate.transforms.schemas import schema_text
from tests.conftest import PostgresServer
from tests.ledgers.crashing import AFTER_APPEND, BEFORE_APPEND, ProcessDied, Trap
from tests.ledgers.sinks import CrashingSink

pytestmark = pytest.mark.spark

AT = datetime(2026, 3, 10, 12, 59, 59, 999_999, tzinfo=UTC)
AT_NAMES = ("occurred", "recorded")


@dataclass
class Case:
    """A ledger whose outbox goes to a schema of the catalog."""

    spark: SparkSession
    run: JobRun
    ledger: StoredLedger

    def book(self, *names: str, at: datetime = AT) -> None:
        """Journal an event per name, and a decision beside it."""
        facts = CallFacts(
            1, at, {"user": "ann"}, "m", "m", "s", "global", "v", "allow", ("b",), {"a": "b"}
        )
        for name in names:
            booked = Booking(5, (), facts, Charge())
            (made,) = self.ledger.adjust([Adjustment(name, name, booked, "ann", "why", at)])
            assert isinstance(made, Adjusted)
        self.ledger.record([DecisionRecord(f"of {names[0]}", at, {}, "m", "refuse", limit_nano=7)])

    def rows(self, table: Table) -> list[str]:
        found = self.run.space.read(self.spark, table).select(table.key[0]).collect()
        return sorted(row[0] for row in found)

    def land(self, records: Iterable[str]) -> None:
        """Put records into the landing table as the stream's service does."""
        rows = [
            (one["event_id"], *(from_micros(one[f"{at}_at"]) for at in AT_NAMES), one["body"])
            for one in map(json.loads, records)
        ]
        frame = self.spark.createDataFrame(rows, schema_text(SPEND_LANDING))
        name = f"spark_catalog.{self.run.schema}.{SPEND_LANDING.name}"
        frame.write.format("delta").mode("append").saveAsTable(name)

    def sink(self) -> SparkSink:
        return SparkSink(self.spark, self.run.space)


@pytest.fixture(params=["sqlite", "postgres"])
def case(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Iterator[Case]:
    url = None
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    settings = Settings(home=tmp_path, ledger_url=url)
    schema = f"drain_{request.param}"
    spark.sql(f"CREATE SCHEMA spark_catalog.{schema}")
    run = JobRun(settings, AT, catalog="spark_catalog", schema=schema)
    ledger = open_ledger(settings)
    yield Case(spark, run, ledger)
    ledger.close()
    spark.sql(f"DROP SCHEMA spark_catalog.{schema} CASCADE")


def test_the_outbox_is_in_the_catalog_once_whatever_dies_and_whoever_else_delivers(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.book("one", "two")
    case.book("late", at=AT - timedelta(hours=30))

    # The job dies after the tables are made, after the events, and before it confirms.
    sink, trap = case.sink(), Trap()
    sink.create_tables()
    for point in (BEFORE_APPEND, AFTER_APPEND):
        trap.set(point)
        with pytest.raises(ProcessDied):
            flush_outbox(case.ledger.outbox, CrashingSink(sink, trap), "l", 100)
    assert case.rows(SPEND_EVENTS) == ["late:1", "one:1", "two:1"]
    case.spark.sql(f"DELETE FROM {case.run.space.name(DECISIONS)}")

    # The next run finishes what it finds half done, and the one after has nothing to do.
    assert drain.run(case.run) == {"job": "drain", "batches": 1, "events": 3, "decisions": 2}
    assert drain.run(case.run) == {"job": "drain", "batches": 0, "events": 0, "decisions": 0}
    assert case.rows(SPEND_EVENTS) == ["late:1", "one:1", "two:1"]
    assert case.rows(DECISIONS) == ["of late", "of one"]

    # Three jobs at once deliver one batch.
    case.book("three", at=AT + timedelta(seconds=1))
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: drain.run(case.run), range(3)))
    assert case.rows(SPEND_EVENTS) == ["late:1", "one:1", "three:1", "two:1"]
    assert case.rows(DECISIONS) == ["of late", "of one", "of three"]
    assert case.ledger.outbox.state().waiting_events == 0


def test_what_was_streamed_and_what_the_outbox_delivers_is_there_once_whichever_is_first(
    case: Case, tmp_path: Path
) -> None:
    run = replace(case.run, volume=str(tmp_path))
    case.run.space.create(case.spark, SPEND_LANDING)
    case.book("both", "drained")
    streamed = case.ledger.outbox.first_events(["both"])
    ahead = replace(streamed[0], event_id="ahead:1", hold_id="ahead")
    odd = '{"event_id":"odd:1","occurred_at":"soon"}'
    records = [*map(record_of, (*streamed, *streamed, ahead)), land("odd:1", odd), land("no", "{")]

    case.land(records)
    report = drain.run(run)
    case.book("next")
    case.land(map(record_of, case.ledger.outbox.first_events(["next", "drained"])))
    again = drain.run(run)

    assert (report["landed_batches"], report["events"]) == (1, 2)
    assert (again["landed_batches"], again["events"]) == (1, 1)
    assert case.rows(SPEND_EVENTS) == ["ahead:1", "both:1", "drained:1", "next:1"]
    # Without a place to remember what was read, the outbox is delivered all the same.
    case.book("last")
    alone = drain.run(case.run)
    assert alone["events"] == 1
    (problem,) = alone["problems"]  # type: ignore[misc]  # plain JSON
    assert problem.startswith("landing table: tables of a catalog need --volume")
    assert "last:1" in case.rows(SPEND_EVENTS)
    # Either way it is the same row.
    events = case.run.space.read(case.spark, SPEND_EVENTS)
    shown = [row.asDict() for row in events.orderBy("event_id").collect()]
    other = {"event_id": "both:1", "hold_id": "both", "adjustment_id": "both"}
    assert shown[0] | other | {"reason": "why"} == shown[1]
    assert shown[0] | {"event_id": "drained:1", "hold_id": "drained"} == shown[2] | {
        "adjustment_id": "both"
    }


def land(event_id: str, body: str) -> str:
    return json.dumps({"event_id": event_id, "occurred_at": 0, "recorded_at": 0, "body": body})


def test_a_catalog_that_cant_be_written_costs_nothing(case: Case) -> None:
    case.book("one")
    away = JobRun(case.run.settings, AT, catalog="spark_catalog", schema="nowhere")

    with pytest.raises(SinkUnavailableError, match=r"can't create the tables: .*SCHEMA_NOT_FOUND"):
        drain.run(away)

    assert case.ledger.outbox.state().waiting_events == 1


def test_the_hours_of_a_batch_bound_what_is_searched_for_its_keys() -> None:
    assert within_hours([AT, AT + timedelta(seconds=1), AT - timedelta(days=1)]) == (
        "t.occurred_at >= TIMESTAMP '2026-03-09T12:00:00Z' AND "
        "t.occurred_at < TIMESTAMP '2026-03-09T13:00:00Z' OR "
        "t.occurred_at >= TIMESTAMP '2026-03-10T12:00:00Z' AND "
        "t.occurred_at < TIMESTAMP '2026-03-10T14:00:00Z'"
    )
