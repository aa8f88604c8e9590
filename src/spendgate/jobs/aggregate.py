"""Aggregate: spend events into `spend_hourly`, `budget_hourly`, `window_spend`, `budget_state`.

Each event is read from the stream once; `event_rounds` says why a batch that is repeated after a
crash changes nothing. (Delta's `txnAppId` settings would do too, but serverless jobs may not set
them.)
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.plain_data import as_list
from spendgate.domain.alert_sources import raise_alerts
from spendgate.domain.budget import BalanceRow, Policy
from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.domain.table import (
    BUDGET_STATE,
    SPEND_EVENTS,
    SPEND_HOURLY,
    TIMESTAMP,
    WINDOW_SPEND,
)
from spendgate.errors import HostError, LedgerUnavailableError
from spendgate.jobs.absent_events import absent_events
from spendgate.jobs.alerts import add_alerts, alert
from spendgate.jobs.event_rounds import SURVEYED, Rounds, is_within
from spendgate.jobs.file_order import put_in_order
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.quarantine_summary import QuarantineSummary, quarantine_summary
from spendgate.jobs.round_log import RoundLog, read_log, write_log
from spendgate.jobs.spark_session import compiled_queries
from spendgate.jobs.state_renewal import renew_state
from spendgate.jobs.table_policy import policy_of_table
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.budget_frame import budget_rows
from spendgate.transforms.hourly_spend import hour_of
from spendgate.transforms.quarantine import quarantine_reason
from spendgate.transforms.time_range import hour_ranges

CLOCKS_APART = timedelta(hours=1)
"""Runs whose machines' clocks differ by less are taken as they come."""

OWN_TABLES = (SPEND_HOURLY, BUDGET_HOURLY, WINDOW_SPEND, BUDGET_STATE)
"""What the job makes from the events; a table of another shape is made anew."""


def run_job(run: JobRun) -> Report:
    """Aggregate the tables of a run, under the ledger's policy and with what it holds.

    A ledger that doesn't answer doesn't stop the sums: then the table `budgets` has the policy, and
    what is held isn't known.

    Raises:
        HostError: if `budget_state` is of a later time already.
    """
    checkpoint = run.folder / "checkpoints" / "aggregate"
    if not run.rebuild:
        _refuse_earlier(read_log(checkpoint), run.as_of)
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
    quarantine = quarantine_summary(spark, space)
    rows = budget_rows(policy or Policy(), as_of)
    rounds = Rounds(space, rows, as_of, checkpoint, quarantine.may_be_accepted)
    opened = log = _opened_log(spark, rounds, is_rebuild or bool(created))
    events = space.count(spark, SPEND_EVENTS)
    with compiled_queries(spark, is_ours=space.folder is not None, rows=events - log.events):
        batches = _fold_new_events(spark, rounds)
        log = _catch_up(spark, rounds, read_log(checkpoint) or log, quarantine.hours)
        report |= {"batches": batches, "events": events}
        if policy is not None:
            made, log = renew_state(spark, rounds, policy, balances, log)
            report |= made
        write_log(checkpoint, replace(log, events=events))
        for table in (WINDOW_SPEND, BUDGET_STATE):
            put_in_order(spark, space, table)
    # Otherwise it is as it was: the last round to find anything was before this run.
    if quarantine.hours or (log.bad_round or 0) >= max(opened.round_id, 1):
        quarantine = quarantine_summary(spark, space)
    return report | {
        "held_known": balances is not None,
        "budgets_unknown": sorted(log.unknown),
        **_told_of(quarantine),
    }


def _told_of(quarantine: QuarantineSummary) -> Report:
    problems = [
        f"{count} events aren't counted ({reason}); see table {SPEND_QUARANTINE.name}"
        for reason, count in quarantine.waiting.items()
    ]
    return {"quarantined": quarantine.waiting, "problems": problems}


def _refuse_earlier(log: RoundLog | None, as_of: datetime) -> None:
    """Keep windows that are long over from being opened again."""
    last = None if log is None else log.state_at
    if last is not None and as_of < last - CLOCKS_APART:
        raise HostError(
            f"budget_state is of {last.isoformat()} already, and this run would be of "
            f"{as_of.isoformat()}; leave --as-of out, or make all again as of then by --rebuild"
        )


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


def _catch_up(
    spark: SparkSession, rounds: Rounds, log: RoundLog, waiting_hours: Sequence[int]
) -> RoundLog:
    """Sum hours again whose events can be counted now, or whose budgets are known now.

    What a batch of this run has put into quarantine can't be counted yet, so that only the hours
    count which waited when the run began.
    """
    released = _releasable(spark, rounds, waiting_hours)
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


def _releasable(spark: SparkSession, rounds: Rounds, hours: Sequence[int]) -> DataFrame | None:
    """The rows of the quarantine whose events can be counted now; None if nothing waits."""
    if not hours:
        return None
    is_of_them = is_within("occurred_at", hour_ranges(hours))
    waiting = rounds.space.read(spark, SPEND_QUARANTINE).where("released_at IS NULL")
    waiting = waiting.where(is_of_them)
    events = rounds.space.read(spark, SPEND_EVENTS).where(is_of_them)
    bad = events.where(quarantine_reason(rounds.as_of).isNotNull()).select("event_id")
    still = bad.join(waiting.where("accepted_by IS NULL"), "event_id", "left_semi")
    return waiting.join(still, "event_id", "left_anti").select("event_id", "occurred_at")


def _hours_of(rows: DataFrame) -> list[int]:
    found = rows.select(F.unix_seconds(hour_of("occurred_at")).alias("hour")).distinct().collect()
    return [int(row["hour"]) for row in found]  # at most the hours that have quarantined events
