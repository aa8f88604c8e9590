"""Rounds of aggregate: some hours of events are summed again, into the rollups and the windows.

Hours are always made from the events as they are now, each event once, so that duplicates and late
events are right by themselves. A window's sum grows by what the round has changed in its hours.
Both remember the round and what they were before it: repeated, it starts from there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.domain.table import SPEND_EVENTS, SPEND_HOURLY, TIMESTAMP, WINDOW_SPEND
from spendgate.jobs.literal_frame import literal_frame
from spendgate.jobs.retained import read_retained
from spendgate.jobs.round_log import HourRange, RoundLog, read_log, write_log
from spendgate.jobs.spark_sink import time_literal
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.budget_frame import BUDGETS_SCHEMA, BudgetRow
from spendgate.transforms.hourly_spend import hour_of, hourly_spend
from spendgate.transforms.quarantine import countable, quarantine_reason, quarantined
from spendgate.transforms.schemas import conformed
from spendgate.transforms.single_events import count_events, events_once
from spendgate.transforms.slot import slot_seconds
from spendgate.transforms.time_range import hour_ranges
from spendgate.transforms.window_spend import budget_hours, of_round, window_changes

SURVEYED = (
    "event_id",
    "kind",
    "occurred_at",
    "recorded_at",
    "cost_usd",
    "budget_ids",
    "schema_version",
)
"""Columns of new events that a round looks at; a stream reads all it is asked for, needed or not.
"""

_BROADCAST_ROWS_MAX = 200_000
"""Some 60 MB, of the 1 GB of a session on this machine."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """One run's rounds: where, for which budgets, as of when."""

    space: TableSpace
    budgets: Sequence[BudgetRow]
    as_of: datetime
    checkpoint: Path
    may_be_accepted: bool
    """False if no event of the quarantine is to be counted as it is."""

    @property
    def definitions(self) -> Mapping[str, str]:
        """What the sums of each budget depend on."""
        return {row[0]: "|".join((row[1], row[2], row[3])) for row in self.budgets}

    @property
    def scopes(self) -> set[str]:
        """The scopes of the budgets."""
        return {row[1] for row in self.budgets}

    def fold_batch(self, events: DataFrame, batch_id: int) -> None:
        """Take in one batch of new events; a repeated batch changes nothing."""
        hours, unknown, are_bad = _survey(events, self.budgets, self.as_of)
        # The log is a file, because a Connect session calls this in a process of its own.
        log = (read_log(self.checkpoint) or RoundLog()).for_batch(batch_id).with_unknown(unknown)
        if are_bad:
            log = replace(log, bad_round=log.round_id)
        write_log(self.checkpoint, log)
        if are_bad:
            found = quarantined(events, self.as_of)
            self.space.write("merge_quarantine", SPEND_QUARANTINE, found)
        # The first batch of a checkpoint starts anew, whatever an earlier one had summed.
        self._sum(events.sparkSession, hour_ranges(hours), log.round_id, is_anew=batch_id == 0)

    def redo(self, spark: SparkSession, log: RoundLog) -> RoundLog:
        """Run a round of its own that is logged, to its end."""
        if log.todo:
            if log.redefined:
                former = literal_frame(spark, [(one,) for one in log.redefined], "budget_id string")
                for table in (BUDGET_HOURLY, WINDOW_SPEND):
                    self.space.write("delete_budgets", table, former)
            self._sum(spark, log.todo, log.round_id, is_anew=False)
        ended = log.done(self.definitions)
        write_log(self.checkpoint, ended)
        return ended

    def _sum(
        self, spark: SparkSession, ranges: Sequence[HourRange], round_id: int, *, is_anew: bool
    ) -> None:
        if not ranges and not is_anew:
            return
        verb = "replace" if is_anew else "merge"
        events = self.space.read(spark, SPEND_EVENTS).where(is_within("occurred_at", ranges))
        counted = self.counted(spark, events)
        count, has_doubles = count_events(counted)
        if has_doubles:
            counted = events_once(counted)
        # Asked after the events are read: what retention removes later is in them still.
        kept = read_retained(spark, self.space)
        times, since = hours_text(ranges), _at(ranges[0][0] if ranges else 0)
        hourly, settled = hourly_spend(kept.whole_hours(counted)), kept.settled_hours
        self.space.write(f"{verb}_hourly", SPEND_HOURLY, hourly, times=times, settled=settled)
        known = literal_frame(spark, self.budgets, BUDGETS_SCHEMA)
        slot = slot_seconds(self.budgets, ranges)
        made = kept.whole_windows(budget_hours(counted, known, self.scopes, slot))
        in_table = self.space.read(spark, BUDGET_HOURLY).where(is_within("hour", ranges))
        former = in_table.where(F.lit(not is_anew))
        hours = conformed(of_round(made, former, round_id), BUDGET_HOURLY)
        self.space.write(f"{verb}_budget_hourly", BUDGET_HOURLY, hours, times=times)
        summed = self.space.read(spark, BUDGET_HOURLY).where(is_within("hour", ranges))
        marks = {"round_id": F.lit(round_id), "before_usd": F.lit(0), "before_requests": F.lit(0)}
        changes = window_changes(summed, round_id).withColumns(
            {**marks, "changed_at": F.lit(self.as_of).cast(TIMESTAMP)}
        )
        changes = conformed(changes, WINDOW_SPEND)
        if not is_anew:
            rows = count * len(self.budgets)  # at most: each event is charged to each budget once
            if rows > _BROADCAST_ROWS_MAX:
                rows = summed.where(F.col("round_id") == round_id).count()
            changes = known_size(changes, rows)
        self.space.write(f"{verb}_window_spend", WINDOW_SPEND, changes, since=since)

    def counted(self, spark: SparkSession, events: DataFrame) -> DataFrame:
        """Return those of some events that are counted now."""
        accepted: DataFrame | None = None
        if self.may_be_accepted:
            accepted = self.space.read(spark, SPEND_QUARANTINE).where("accepted_by IS NOT NULL")
        return countable(events, self.as_of, accepted)


def known_size(source: DataFrame, rows: int) -> DataFrame:
    """Say of what a MERGE adds that it is at most so many rows.

    Few are brought to where the table's rows are; else all of those are sorted to find a handful.
    """
    return F.broadcast(source) if rows <= _BROADCAST_ROWS_MAX else source


def _survey(
    events: DataFrame, budgets: Iterable[BudgetRow], as_of: datetime
) -> tuple[list[int], dict[str, int], bool]:
    """Return the hours of a batch, the budgets nobody knows, and whether any event is bad."""
    known = F.array(*(F.lit(row[0]) for row in budgets)).cast("array<string>")
    found = events.select(
        F.unix_seconds(hour_of("occurred_at")).alias("hour"),
        quarantine_reason(as_of).isNotNull().alias("is_bad"),
        "budget_ids",
    ).distinct()
    # Few events differ in this, so that few arrays are compared.
    seen = found.withColumn("unknown", F.array_except("budget_ids", known)).drop("budget_ids")
    seen = seen.distinct()
    rows = seen.collect()  # at most the hours in one batch, times what few budgets are unknown
    hours = sorted({int(row["hour"]) for row in rows})
    unknown: dict[str, int] = {}
    for row in rows:
        for name in row["unknown"]:
            unknown[name] = min(int(row["hour"]), unknown.get(name, int(row["hour"])))
    return hours, unknown, any(row["is_bad"] for row in rows)


def is_within(name: str, ranges: Iterable[HourRange]) -> Column:
    """Filter a column by ranges of time, which let Delta skip files."""
    is_inside = F.lit(False)
    for start, end in ranges:
        is_from = F.col(name) >= F.lit(datetime.fromtimestamp(start, UTC))
        is_inside |= is_from & (F.col(name) < F.lit(datetime.fromtimestamp(end, UTC)))
    return is_inside


def hours_text(ranges: Iterable[HourRange]) -> str:
    """Write as SQL that a row is of one of some hours."""
    parts = [f"(hour >= {_at(start)} AND hour < {_at(end)})" for start, end in ranges]
    return " OR ".join(parts) or "FALSE"


def _at(seconds: int) -> str:
    return time_literal(datetime.fromtimestamp(seconds, UTC))
