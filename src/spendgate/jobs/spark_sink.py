"""The spend sink on tables of a catalog, written by Spark: delta-rs can't write managed ones.

A row is inserted unless its key is there. That makes a batch exactly once without a mark in the
table's log: a batch that is repeated after a crash inserts what is missing, two jobs that deliver
one batch conflict in Delta and the loser looks again, and a row that came by another way (the
landing table) isn't inserted a second time.
"""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from pyspark.sql import SparkSession

from spendgate.adapters.event_rows import decision_table, event_table
from spendgate.domain.table import DECISIONS, SPEND_EVENTS, Table
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.ports import EventBatch
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.schemas import schema_text
from spendgate.transforms.time_range import hour_ranges

COMMIT_ATTEMPTS_MAX = 5
"""Tries of one insert: each commit of another writer to the same hours may cost one."""
MESSAGE_CHARACTERS_MAX = 400

Answer = TypeVar("Answer")


class SparkSink:
    """The tables `spend_events` and `decisions` wherever Spark can write them."""

    def __init__(self, spark: SparkSession, space: TableSpace) -> None:
        self._spark = spark
        self._space = space

    def create_tables(self) -> None:
        """Create the tables that aren't there yet.

        Raises:
            SinkUnavailableError: if they can't be created.
        """
        with as_unavailable("create the tables"):
            for table in (SPEND_EVENTS, DECISIONS):
                self._space.create(self._spark, table)

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        """Insert a batch, events before decisions; what is there already stays as it is.

        Raises:
            SinkUnavailableError: if a table can't take it now.
        """
        times = [event.facts.occurred_at for event in batch.events]
        with as_unavailable(f"append batch {batch.number} of {ledger_id}"):
            if batch.events:
                self._insert("insert_events", SPEND_EVENTS, event_table(batch.events), times)
            if batch.decisions:
                times = [decision.occurred_at for decision in batch.decisions]
                self._insert("insert_decisions", DECISIONS, decision_table(batch.decisions), times)

    def _insert(
        self,
        statement: str,
        table: Table,
        rows: object,
        times: Iterable[datetime],
    ) -> None:
        frame = self._spark.createDataFrame(rows, schema_text(table))  # type: ignore[call-overload] - an Arrow table
        within = within_hours(times)
        again_on_conflict(lambda: self._space.write(statement, table, frame, "drain", times=within))


def within_hours(times: Iterable[datetime]) -> str:
    """Write as SQL that a target's row `t` occurred in one of the hours of some times."""
    hours = {int(at.timestamp()) // 3600 * 3600 for at in times}
    ranges = [
        f"t.occurred_at >= {_at(start)} AND t.occurred_at < {_at(end)}"
        for start, end in hour_ranges(hours)
    ]
    return " OR ".join(ranges)


def again_on_conflict(write: Callable[[], Answer]) -> Answer:
    """Write, and write again where another writer's commit came in between."""
    for attempts_left in reversed(range(COMMIT_ATTEMPTS_MAX)):
        try:
            return write()
        except Exception as error:
            if not (attempts_left and is_sparks(error) and "CONCURRENT" in spark_message(error)):
                raise
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def as_unavailable(what: str) -> Generator[None]:
    """Say of any failure of Spark that the sink can't do it now.

    Raises:
        SinkUnavailableError: if Spark fails.
    """
    try:
        yield
    except Exception as error:
        if not is_sparks(error):
            raise
        raise SinkUnavailableError(f"can't {what}: {spark_message(error)}") from error


def is_sparks(error: Exception) -> bool:
    """Tell whether Spark raised an error: its own, or one of Delta's that Py4J hands through."""
    return type(error).__module__.partition(".")[0] in {"pyspark", "py4j", "delta"}


def spark_message(error: Exception) -> str:
    """Return what an error of Spark says, in one line; Py4J puts a Java exception's below its own.

    The line names tables and columns, never rows.
    """
    lines = [line.strip(" :") for line in str(error).splitlines() if line.strip(" :")]
    is_wrapped = len(lines) > 1 and lines[0].startswith("An error occurred while calling")
    return lines[is_wrapped][:MESSAGE_CHARACTERS_MAX] if lines else type(error).__name__


def time_literal(at: datetime) -> str:
    """Write an instant as SQL does, to the second."""
    return f"TIMESTAMP '{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z'"


def _at(seconds: int) -> str:
    return time_literal(datetime.fromtimestamp(seconds, UTC))
