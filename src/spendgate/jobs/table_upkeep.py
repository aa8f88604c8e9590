"""Upkeep of the Delta tables: old rows removed, small files joined, dead files deleted.

Killed anywhere, the next run does what is left; a second run finds nothing to do.
"""

# pyright: reportUnknownMemberType=false
# spark.sql takes arguments of any type.

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from string import Template

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.statements import statements
from spendgate.bootstrap import open_sink
from spendgate.domain.budget import Policy
from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.landing_table import SPEND_LANDING
from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.domain.retention import FILES_MIN
from spendgate.domain.table import (
    BUDGET_STATE,
    DECISIONS,
    SPEND_EVENTS,
    SPEND_HOURLY,
    TEXT_ARRAY,
    WINDOW_SPEND,
    Table,
)
from spendgate.domain.table_list import ALL_TABLES, SINK_TABLES
from spendgate.domain.window import WindowKind
from spendgate.errors import HostError
from spendgate.jobs.counted_events import counted_events
from spendgate.jobs.event_rounds import is_within
from spendgate.jobs.file_order import is_ordered
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.retained import EVENTS_FROM, WINDOWS_FROM, Retained, read_retained
from spendgate.jobs.round_log import read_log
from spendgate.jobs.spark_sink import again_on_conflict, is_sparks, spark_message, time_literal
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.hourly_spend import hour_of, hourly_spend
from spendgate.transforms.schemas import quoted_text
from spendgate.transforms.single_events import events_once
from spendgate.transforms.time_range import HOUR_SECONDS, hour_ranges

FILE_BYTES_MIN = 16 * 1024 * 1024
"""Mean size from which files are large enough to be left alone."""
DEAD_FILE_HOURS = 168
"""How long Delta keeps files that no table names, where the table doesn't say."""
_KEPT_FOR = "delta.deletedFileRetentionDuration"
_SCRIPT = "maintain"


def maintain_tables(run: JobRun, policy: Policy | None) -> dict[str, object]:
    """Look after all tables that are there.

    Args:
        run: the run.
        policy: the ledger's budgets; None if they aren't known: then no event is removed.

    Returns:
        `tables`, with files and removed rows of each; `problems`, of one table each.

    Raises:
        HostError: if Spark can't start on this machine.
    """
    try:
        spark = run.spark()
    except Exception as error:
        if not is_sparks(error):
            raise
        return {"problems": [f"tables: {spark_message(error)}"]}
    upkeep = _Upkeep(run, policy, spark, run.space)
    with _sole_writer(run) as is_sole:
        if is_sole:
            upkeep.remove_rows()
        else:
            upkeep.notes.append(
                "a host is writing this home's tables: no row was removed, and "
                f"{' and '.join(table.name for table in SINK_TABLES)} stayed as they are; "
                "run it once while no host runs"
            )
        for table in ALL_TABLES:
            if is_sole or table not in SINK_TABLES:
                upkeep.tidy(table)
    return upkeep.report()


@contextmanager
def _sole_writer(run: JobRun) -> Generator[bool]:
    """Keep a home's hosts from writing; Spark and delta-rs exclude each other on no plain disk."""
    if run.catalog is not None:
        yield True
        return
    with open_sink(run.settings).sole_flusher() as is_sole:
        yield is_sole


@dataclass
class _Upkeep:
    """One run over the tables."""

    run: JobRun
    policy: Policy | None
    spark: SparkSession
    space: TableSpace
    files: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    removed: dict[str, int] = field(default_factory=dict[str, int])
    notes: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])

    def report(self) -> dict[str, object]:
        tables = {
            name: {**counts, "rows_removed": self.removed.get(name, 0)}
            for name, counts in self.files.items()
        }
        noted = {"notes": self.notes} if self.notes else {}
        return {"tables": tables, **noted, "problems": self.problems}

    def remove_rows(self) -> None:
        """Remove the rows that nobody needs, where the table they are known by is there."""
        settings = self.run.settings
        self._attempt(SPEND_LANDING, self._remove_landed)
        if settings.events_retention_days is not None:
            before = self._hours_ago(settings.events_retention_days)
            self._attempt(SPEND_EVENTS, lambda: self._remove_events(before))
            self._attempt(DECISIONS, lambda: self._remove_before(DECISIONS, before))
        if settings.windows_retention_days is not None:
            closed = self._hours_ago(settings.windows_retention_days)
            self._attempt(SPEND_EVENTS, lambda: self._note_from(WINDOWS_FROM, closed))
            for table in (BUDGET_STATE, BUDGET_HOURLY, WINDOW_SPEND):
                self._attempt(table, lambda one=table: self._remove_windows(one))

    def tidy(self, table: Table) -> None:
        """Join a table's small files, and delete files that no reader can need any more."""
        self._attempt(table, lambda: self._tidy(table))

    def _tidy(self, table: Table) -> None:
        before, size = self._files(table)
        self.files[table.name] = {"files_before": before, "files_after": before}
        is_small = before >= FILES_MIN and size < before * FILE_BYTES_MIN
        if is_small and not is_ordered(self.space, table):
            again_on_conflict(lambda: self._sql("optimize", table))
            self.files[table.name]["files_after"] = self._files(table)[0]
        folder = None if self.space.folder is None else self.space.folder / table.name
        live = self.files[table.name]["files_after"]
        if folder is None or sum(1 for _ in folder.glob("*.parquet")) > live:
            self._keep_dead_files(table)
            self._sql("vacuum", table)

    def _keep_dead_files(self, table: Table) -> None:
        """Let the table say how long; at the default its own word holds, or else Delta's."""
        hours = self.run.settings.vacuum_hours
        wanted = f"interval {hours} hours"
        known = self._sql("files", table)[0]["properties"].get(_KEPT_FOR)  # one row per table
        if hours != DEAD_FILE_HOURS and known != wanted:
            self._sql("set_property", table, property=_KEPT_FOR, value=wanted)

    def _files(self, table: Table) -> tuple[int, int]:
        row = self._sql("files", table)[0]  # one row per table
        return int(row["numFiles"]), int(row["sizeInBytes"])

    def _remove_landed(self) -> None:
        """Remove what has landed and is in `spend_events`, whichever way it came there."""
        if not self.space.exists(self.spark, SPEND_EVENTS):
            return
        landed = self.space.read(self.spark, SPEND_LANDING)
        seconds = landed.select(F.unix_seconds(hour_of("occurred_at")).alias("hour")).distinct()
        hours = [int(row["hour"]) for row in seconds.collect()]  # the hours since the last run
        events = self.space.read(self.spark, SPEND_EVENTS)
        events = events.where(is_within("occurred_at", hour_ranges(hours)))
        there = landed.join(events, "event_id", "left_semi").select("event_id").distinct()
        if not hours or there.isEmpty():
            return
        rows = again_on_conflict(
            lambda: self.space.write("delete_landed", SPEND_LANDING, there, _SCRIPT)
        )
        self._count(SPEND_LANDING, rows)

    def _remove_events(self, wanted: datetime) -> None:
        """Remove old events that all sums have, but of endless windows; hours stay as they are."""
        if self.policy is None:
            raise HostError("no budgets are known, so that any window may be open")
        log = read_log(self.run.folder / "checkpoints" / "aggregate")
        if log is None or log.todo or not self.space.exists(self.spark, SPEND_HOURLY):
            raise HostError("aggregate hasn't summed the events; run it, then this again")
        kept = read_retained(self.spark, self.space)
        before = max(self._before_quarantined(wanted), kept.events_from or _EPOCH)
        if self._has_unsummed(kept.events_from or _EPOCH, before):
            raise HostError(
                f"{SPEND_HOURLY.name} lacks events before {before.isoformat()}; run aggregate, "
                "then this again"
            )
        self._note_from(EVENTS_FROM, before)
        endless = {
            one.budget_id for one in self.policy.budgets if one.window.kind is WindowKind.LIFETIME
        }
        endless |= set(log.unknown)
        if self.space.exists(self.spark, WINDOW_SPEND):
            sums = self.space.read(self.spark, WINDOW_SPEND).where("window_end IS NULL")
            rows = sums.select("budget_id").distinct().collect()  # at most the budgets
            endless |= {row["budget_id"] for row in rows}
        names = ", ".join(quoted_text(one) for one in sorted(endless))
        self._delete(
            "delete_events",
            SPEND_EVENTS,
            before=time_literal(before),
            open=f"CAST(ARRAY({names}) AS {TEXT_ARRAY})",
        )

    def _before_quarantined(self, wanted: datetime) -> datetime:
        """Return a time before which no event waits to be counted."""
        if not self.space.exists(self.spark, SPEND_QUARANTINE):
            return wanted
        waiting = self.space.read(self.spark, SPEND_QUARANTINE).where("released_at IS NULL")
        first = waiting.agg(F.min(F.unix_seconds(hour_of("occurred_at"))).alias("at")).collect()
        if first[0]["at"] is None:  # one row
            return wanted
        start = datetime.fromtimestamp(int(first[0]["at"]), UTC)
        if start < wanted:
            self.notes.append(
                f"events from {start.isoformat()} on stay: one of them is in "
                f"{SPEND_QUARANTINE.name} and isn't counted yet"
            )
        return min(start, wanted)

    def _has_unsummed(self, since: datetime, before: datetime) -> bool:
        """Tell whether the rollup has another idea of some hours than their events."""
        ranges = [(int(since.timestamp()), int(before.timestamp()))]
        events = self.space.read(self.spark, SPEND_EVENTS).where(is_within("occurred_at", ranges))
        counted = events_once(counted_events(self.spark, self.space, events, self.run.as_of))
        columns = (*SPEND_HOURLY.key, "requests", "cost_usd")
        sums = hourly_spend(counted).select(*columns)
        known = self.space.read(self.spark, SPEND_HOURLY).where(is_within("hour", ranges))
        return not sums.exceptAll(known.select(*columns)).isEmpty()

    def _remove_before(self, table: Table, before: datetime) -> None:
        self._delete("delete_occurred", table, before=time_literal(before))

    def _remove_windows(self, table: Table) -> None:
        kept = Retained()
        if self.space.exists(self.spark, SPEND_EVENTS):
            kept = read_retained(self.spark, self.space)
        # Only what the mark says: aggregate would make other windows again.
        if kept.windows_from is not None:
            self._delete("delete_windows", table, before=time_literal(kept.windows_from))

    def _note_from(self, name: str, start: datetime) -> None:
        """Write down from when on there is all, before any of it is removed; never backwards."""
        kept = read_retained(self.spark, self.space)
        known = kept.events_from if name == EVENTS_FROM else kept.windows_from
        if start > (known or _EPOCH):
            self._sql("set_property", SPEND_EVENTS, property=name, value=start.isoformat())

    def _hours_ago(self, days: int) -> datetime:
        seconds = int((self.run.as_of - timedelta(days=days)).timestamp())
        return datetime.fromtimestamp(seconds - seconds % HOUR_SECONDS, UTC)

    def _delete(self, statement: str, table: Table, **parts: str) -> None:
        self._count(table, again_on_conflict(lambda: self._sql(statement, table, **parts)))

    def _count(self, table: Table, rows: Sequence[Row]) -> None:
        affected = int(rows[0]["num_affected_rows"])  # the statement's metrics
        self.removed[table.name] = self.removed.get(table.name, 0) + affected

    def _sql(self, statement: str, table: Table, **parts: str) -> list[Row]:
        text = Template(statements(f"delta/{_SCRIPT}.sql")[statement])
        return self.spark.sql(text.substitute(parts, target=self.space.name(table))).collect()

    def _attempt(self, table: Table, work: Callable[[], None]) -> None:
        """Do something with a table if it is there; a failure is its own, not the others'."""
        try:
            if self.space.exists(self.spark, table):
                work()
        except Exception as error:
            if isinstance(error, HostError):
                self.problems.append(f"{table.name}: {error}")
            elif is_sparks(error):
                self.problems.append(f"{table.name}: {spark_message(error)}")
            else:
                raise


_EPOCH = datetime.fromtimestamp(0, UTC)
