"""Aggregate: spend events into `spend_hourly`, `budget_hourly`, `window_spend`, `budget_state`.

Each event is read from the stream once; `event_rounds` says why a batch that is repeated after a
crash changes nothing. (Delta's `txnAppId` settings would do too, but serverless jobs may not set
them.)
"""

# pyright: reportUnknownMemberType=false
# createDataFrame is overloaded with types that pandas and Spark leave open.

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.plain_data import as_list
from spendgate.domain.alert_sources import raise_alerts
from spendgate.domain.budget import BalanceRow, Policy
from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.decision import Status
from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.domain.table import (
    BUDGET_STATE,
    SPEND_EVENTS,
    SPEND_HOURLY,
    TIMESTAMP,
    WINDOW_KEY,
    WINDOW_SPEND,
)
from spendgate.domain.window import WindowKind
from spendgate.errors import HostError, LedgerUnavailableError
from spendgate.jobs.absent_events import absent_events
from spendgate.jobs.alerts import add_alerts, alert
from spendgate.jobs.event_rounds import SURVEYED, Rounds, is_within
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.round_log import RoundLog, read_log, write_log
from spendgate.jobs.spark_session import compiled_queries
from spendgate.jobs.table_policy import policy_of_table
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.budget_frame import (
    BUDGETS_SCHEMA,
    OPEN_WINDOWS_SCHEMA,
    budget_rows,
    open_window_rows,
)
from spendgate.transforms.budget_state import budget_state
from spendgate.transforms.hourly_spend import hour_of
from spendgate.transforms.quarantine import quarantine_reason
from spendgate.transforms.single_events import events_once
from spendgate.transforms.time_range import hour_ranges
from spendgate.transforms.window_spend import rolling_spend

OWN_TABLES = (SPEND_HOURLY, BUDGET_HOURLY, WINDOW_SPEND, BUDGET_STATE)
"""What the job makes from the events; a table of another shape is made anew."""
_CARRY_DAYS = 100
"""Windows that may carry money to an open one are over since less: months are the longest."""
_OPEN_DAYS = 32
"""An open window that has an end began less than so long ago."""


def run_job(run: JobRun) -> Report:
    """Aggregate the tables of a run, under the ledger's policy and with what it holds.

    A ledger that doesn't answer doesn't stop the sums: then the table `budgets` has the policy, and
    what is held isn't known.
    """
    spark, space = run.spark(), run.space
    balances: Sequence[BalanceRow] | None = None
    note: str | None = None
    absent: Report = {}
    try:
        with run.opened_ledger() as ledger:
            policy, balances = ledger.policies.policy(), ledger.balances()
            if not space.exists(spark, SPEND_EVENTS):
                absent = absent_events(ledger)
    except (LedgerUnavailableError, HostError) as error:
        if isinstance(error, HostError) and run.catalog is None:
            raise  # a home without a ledger is another home than was meant
        note = f"held is unknown: {error}"
        policy = policy_of_table(spark, space)
    checkpoint = run.folder / "checkpoints" / "aggregate"
    report = aggregate(
        spark, space, policy, balances, run.as_of, checkpoint, is_rebuild=run.rebuild
    )
    report = {**report, **absent}
    if note is None and policy is not None:
        told = alert(run, policy)
        problems = [one for part in (report, told) for one in as_list(part.get("problems")) or ()]
        return {**report, **told, "problems": problems}
    others = [] if policy is None else raise_alerts(policy, run.as_of)
    alerts = 0 if policy is None else add_alerts(spark, space, policy, others, run.as_of)
    return {**report, "alerts_new": alerts, "ledger": note}


def aggregate(
    spark: SparkSession,
    space: TableSpace,
    policy: Policy | None,
    balances: Sequence[BalanceRow] | None,
    as_of: datetime,
    checkpoint: Path,
    *,
    is_rebuild: bool = False,
) -> Report:
    """Fold new events in and bring `budget_state` up to a time; twice is as good as once.

    Args:
        spark: a classic or a Connect session.
        space: where the tables are.
        policy: the budgets, with their raises; None if nobody can tell them: then `budget_state`
            stays as it is, and the windows' sums are made when somebody can.
        balances: the ledger's balances, for what is held; None if the ledger can't be asked.
        as_of: the time of the state.
        checkpoint: the folder that remembers which events were read. Without it everything is read
            again, and all sums start anew.
        is_rebuild: forget the checkpoint.
    """
    created = [table.name for table in OWN_TABLES if space.renew(spark, table)]
    if space.create(spark, SPEND_QUARANTINE):
        created.append(SPEND_QUARANTINE.name)
    report: dict[str, object] = {
        "job": "aggregate",
        "as_of": as_of.isoformat(),
        "tables_created": created,
    }
    if not space.exists(spark, SPEND_EVENTS):
        return report | {
            "batches": 0,
            "note": "there is no spend_events table",
        }
    rounds = Rounds(space, budget_rows(policy or Policy(), as_of), as_of, checkpoint)
    log = _opened_log(spark, rounds, is_rebuild or bool(created))
    events = space.read(spark, SPEND_EVENTS).count()  # Delta knows: no file is read
    with compiled_queries(spark, is_ours=space.folder is not None, rows=events - log.events):
        batches = _fold_new_events(spark, rounds)
        log = _catch_up(spark, rounds, read_log(checkpoint) or log)
        report |= {"batches": batches, "events": events}
        if policy is not None:
            report |= _renew_state(spark, rounds, policy, balances)
        write_log(checkpoint, replace(log, events=events))
    quarantine = _quarantine_counts(spark, space)
    return report | {
        "held_known": balances is not None,
        "budgets_unknown": sorted(log.unknown),
        "quarantined": quarantine,
        "problems": [
            f"{count} events aren't counted ({reason}); see table {SPEND_QUARANTINE.name}"
            for reason, count in quarantine.items()
        ],
    }


def _renew_state(
    spark: SparkSession, rounds: Rounds, policy: Policy, balances: Sequence[BalanceRow] | None
) -> Report:
    space, as_of = rounds.space, rounds.as_of
    state = _current_state(spark, rounds, policy, balances)
    space.write("merge_budget_state", BUDGET_STATE, state)
    removed = _remove_former_windows(spark, space, as_of)
    return {
        "budget_state": _count_by_status(spark, space, as_of),
        "budget_state_removed": removed,
    }


def _opened_log(spark: SparkSession, rounds: Rounds, is_anew: bool) -> RoundLog:
    """Read the log, and end a round that was killed; without a log all is read again."""
    log = None if is_anew else read_log(rounds.checkpoint)
    if log is None:
        shutil.rmtree(rounds.checkpoint, ignore_errors=True)
        log = RoundLog(definitions=rounds.definitions)
        write_log(rounds.checkpoint, log)
    elif log.todo:
        log = replace(rounds.redo(spark, log), definitions=log.definitions)
        write_log(rounds.checkpoint, log)
    return log


def _fold_new_events(spark: SparkSession, rounds: Rounds) -> int:
    query = (
        rounds.space.read_stream(spark, SPEND_EVENTS)
        .select(*SURVEYED)
        .writeStream.foreachBatch(rounds.fold_batch)
        .option("checkpointLocation", str(rounds.checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    # Rows are counted once per scan of a batch, so only batches can be told.
    return len({progress.batchId for progress in query.recentProgress if progress.numInputRows})


def _catch_up(spark: SparkSession, rounds: Rounds, log: RoundLog) -> RoundLog:
    """Sum hours again whose events can be counted now, or whose budgets are known now."""
    released = _releasable(spark, rounds)
    hours = [] if released is None else _hours_of(released)
    redefined = tuple(
        name for name, now in rounds.definitions.items() if log.definitions.get(name, now) != now
    )
    starts = [hour for name, hour in log.unknown.items() if name in rounds.definitions]
    if redefined:
        former = rounds.space.read(spark, BUDGET_HOURLY).where(F.col("budget_id").isin(*redefined))
        first = former.agg(F.min(F.unix_seconds("hour")).alias("hour")).collect()[0]["hour"]
        starts += [] if first is None else [int(first)]
    ranges = hour_ranges(hours)
    if starts:
        end = int((rounds.as_of + timedelta(days=1)).timestamp())
        ranges = [(min(starts + hours), max([end, *(last for _, last in ranges)]))]
    if ranges:
        log = log.of_its_own(tuple(ranges), redefined)
        write_log(rounds.checkpoint, log)
    if released is not None and hours:
        marked = released.withColumn("released_at", F.lit(rounds.as_of).cast(TIMESTAMP))
        rounds.space.write("release_quarantine", SPEND_QUARANTINE, marked)
    return rounds.redo(spark, log)


def _releasable(spark: SparkSession, rounds: Rounds) -> DataFrame | None:
    """The rows of the quarantine whose events can be counted now; None if nothing is in it."""
    waiting = rounds.space.read(spark, SPEND_QUARANTINE).where("released_at IS NULL")
    hours = _hours_of(waiting)
    if not hours:
        return None
    events = rounds.space.read(spark, SPEND_EVENTS)
    events = events.where(is_within("occurred_at", hour_ranges(hours)))
    bad = events.where(quarantine_reason(rounds.as_of).isNotNull()).select("event_id")
    still = bad.join(waiting.where("accepted_by IS NULL"), "event_id", "left_semi")
    return waiting.join(still, "event_id", "left_anti").select("event_id", "occurred_at")


def _hours_of(rows: DataFrame) -> list[int]:
    found = rows.select(F.unix_seconds(hour_of("occurred_at")).alias("hour")).distinct().collect()
    return [int(row["hour"]) for row in found]  # at most the hours that have quarantined events


def _quarantine_counts(spark: SparkSession, space: TableSpace) -> dict[str, int]:
    waiting = space.read(spark, SPEND_QUARANTINE).where("released_at IS NULL")
    rows = waiting.groupBy("reason").count().collect()  # a row per reason
    return {row["reason"]: row["count"] for row in sorted(rows)}


def _current_state(
    spark: SparkSession,
    rounds: Rounds,
    policy: Policy,
    balances: Sequence[BalanceRow] | None,
) -> DataFrame:
    space, as_of = rounds.space, rounds.as_of
    known = spark.createDataFrame(rounds.budgets, BUDGETS_SCHEMA)
    open_rows = open_window_rows(policy, balances, as_of)
    carrying = [one.budget_id for one in policy.budgets if one.rollover_max_nano]
    sums = _sums_to_refresh(spark, space, as_of, carrying)
    longest = [b.window.rolling_seconds or 0 for b in policy.budgets]
    if any(b.window.kind is WindowKind.ROLLING for b in policy.budgets):
        earliest = datetime.fromtimestamp(int(as_of.timestamp()) - max(longest), UTC)
        recent = space.read(spark, SPEND_EVENTS).where(F.col("occurred_at") >= F.lit(earliest))
        counted = events_once(rounds.counted(spark, recent))
        rolling = rolling_spend(counted, known, rounds.scopes, as_of)
        sums = sums.unionByName(rolling.withColumn("is_shown", F.lit(True)))
    now = F.lit(as_of).cast(TIMESTAMP)
    recent_hours = F.col("hour") >= F.lit(as_of - timedelta(days=_OPEN_DAYS))
    hours = space.read(spark, BUDGET_HOURLY).where(recent_hours & (F.col("window_end") > now))
    return budget_state(
        sums,
        known,
        spark.createDataFrame(open_rows, OPEN_WINDOWS_SCHEMA),
        hours,
        as_of,
        is_ledger_known=balances is not None,
        is_carrying=bool(carrying),
    )


def _sums_to_refresh(
    spark: SparkSession, space: TableSpace, as_of: datetime, carrying: Sequence[str]
) -> DataFrame:
    """The windows that were open, or were changed, since the state was last made.

    Windows of budgets that carry money on are there besides, not to be shown.
    """
    sums = space.read(spark, WINDOW_SPEND)
    last = space.read(spark, BUDGET_STATE).agg(F.max(F.unix_micros("updated_at")).alias("at"))
    last_micros = last.collect()[0]["at"]  # one row
    is_shown = F.lit(True)
    if last_micros is not None:
        since = F.least(F.timestamp_micros(F.lit(last_micros)), F.lit(as_of).cast(TIMESTAMP))
        is_open = F.col("window_end").isNull() | (F.col("window_end") > since)
        is_shown = is_open | (F.col("changed_at") >= since)
    may_carry = F.col("budget_id").isin(*carrying) & (
        F.col("window_end") > F.lit(as_of - timedelta(days=_CARRY_DAYS))
    )
    shown = sums.withColumn("is_shown", is_shown)
    needed = shown.where(F.col("is_shown") | may_carry) if carrying else shown.where("is_shown")
    kept = ("spent_usd", "requests", "last_event_at", "is_shown")
    return needed.select(*WINDOW_KEY, *kept)


def _remove_former_windows(spark: SparkSession, space: TableSpace, as_of: datetime) -> int:
    """Remove open windows that are no more: their budget is gone, or is defined otherwise."""
    now = F.lit(as_of).cast(TIMESTAMP)
    is_open = F.col("window_end").isNull() | (F.col("window_end") > now)
    former = space.read(spark, BUDGET_STATE).where(is_open & (F.col("updated_at") != now))
    if former.isEmpty():
        return 0
    metrics = space.write("delete_budget_state", BUDGET_STATE, former.select(*BUDGET_STATE.key))
    return int(metrics[0]["num_deleted_rows"])


def _count_by_status(spark: SparkSession, space: TableSpace, as_of: datetime) -> dict[str, int]:
    current = F.col("updated_at") == F.lit(as_of).cast(TIMESTAMP)
    counted = space.read(spark, BUDGET_STATE).where(current).groupBy("status").count()
    found = {row["status"]: row["count"] for row in counted.collect()}  # three rows at most
    return {status.value: found.get(status.value, 0) for status in Status}
