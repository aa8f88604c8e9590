"""Aggregate: spend events into `spend_hourly`, `window_spend` and `budget_state`.

Each event is read from the stream once. A batch that is repeated after a crash changes nothing:
hours are summed again from the events, and a running sum carries the number of the last batch in
it. (Delta's `txnAppId` settings would do too, but serverless jobs may not set them.)
"""

# pyright: reportUnknownMemberType=false
# createDataFrame is overloaded with types that pandas and Spark leave open.

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.budget import BalanceRow, Policy
from spendgate.domain.decision import Status
from spendgate.domain.table import (
    BUDGET_STATE,
    SPEND_EVENTS,
    SPEND_HOURLY,
    TIMESTAMP,
    WINDOW_SPEND,
)
from spendgate.domain.window import WindowKind
from spendgate.jobs.alerts import alert
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.budget_frame import (
    BUDGETS_SCHEMA,
    OPEN_WINDOWS_SCHEMA,
    BudgetRow,
    budget_rows,
    open_window_rows,
)
from spendgate.transforms.budget_state import budget_state
from spendgate.transforms.hourly_spend import hour_of, hourly_spend
from spendgate.transforms.schemas import conformed
from spendgate.transforms.time_range import hour_ranges
from spendgate.transforms.window_spend import rolling_spend, window_spend


def run_job(run: JobRun) -> Report:
    """Aggregate the tables of a run, under the ledger's policy and with what it holds."""
    with run.opened_ledger() as ledger:
        policy, balances = ledger.policies.policy(), ledger.balances()
    checkpoint = run.folder / "checkpoints" / "aggregate"
    report = aggregate(run.spark(), run.space, policy, balances, run.as_of, checkpoint)
    return {**report, **alert(run, policy)}


def aggregate(
    spark: SparkSession,
    space: TableSpace,
    policy: Policy,
    balances: Sequence[BalanceRow] | None,
    as_of: datetime,
    checkpoint: Path,
) -> Report:
    """Fold new events in and bring `budget_state` up to a time; twice is as good as once.

    Args:
        spark: a classic or a Connect session.
        space: where the tables are.
        policy: the budgets, with their raises.
        balances: the ledger's balances, for what is held; None if the ledger can't be asked.
        as_of: the time of the state.
        checkpoint: the folder that remembers which events were read. Without it everything is read
            again, and the running sums start anew.
    """
    created = [t.name for t in (SPEND_HOURLY, WINDOW_SPEND, BUDGET_STATE) if space.create(spark, t)]
    report: dict[str, object] = {
        "job": "aggregate",
        "as_of": as_of.isoformat(),
        "tables_created": created,
    }
    if not space.exists(spark, SPEND_EVENTS):
        return report | {
            "batches": 0,
            "note": "there is no spend_events table yet: no call was charged",
        }
    budgets = budget_rows(policy, as_of)
    batches = _fold_new_events(spark, space, budgets, as_of, checkpoint)
    state = _current_state(spark, space, budgets, policy, balances, as_of)
    space.write("merge_budget_state", BUDGET_STATE, state)
    removed = _remove_former_windows(spark, space, as_of)
    return report | {
        "batches": batches,
        "events": space.read(spark, SPEND_EVENTS).count(),
        "budget_state": _count_by_status(spark, space, as_of),
        "budget_state_removed": removed,
        "held_known": balances is not None,
    }


def _fold_new_events(
    spark: SparkSession,
    space: TableSpace,
    budgets: list[BudgetRow],
    as_of: datetime,
    checkpoint: Path,
) -> int:
    query = (
        space.read_stream(spark, SPEND_EVENTS)
        .writeStream.foreachBatch(partial(fold_batch, space=space, budgets=budgets, as_of=as_of))
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    # Rows are counted once per scan of a batch, so only batches can be told.
    return len({progress.batchId for progress in query.recentProgress if progress.numInputRows})


def fold_batch(
    events: DataFrame,
    batch_id: int,
    *,
    space: TableSpace,
    budgets: list[BudgetRow],
    as_of: datetime,
) -> None:
    """Add one batch of events to the rollups; a repeated batch changes nothing."""
    spark = events.sparkSession
    seconds = events.select(F.unix_seconds(hour_of("occurred_at")).alias("hour")).distinct()
    hours = [int(row["hour"]) for row in seconds.collect()]  # at most the hours in one batch
    if not hours:
        return
    affected = space.read(spark, SPEND_EVENTS).where(_is_within(hours))
    space.write("merge_hourly", SPEND_HOURLY, hourly_spend(affected))
    sums = window_spend(events, spark.createDataFrame(budgets, BUDGETS_SCHEMA)).withColumns(
        {"batch_id": F.lit(batch_id), "changed_at": F.lit(as_of).cast(TIMESTAMP)}
    )
    # The first batch of a checkpoint starts the sums, whatever an earlier checkpoint had summed.
    statement = "merge_window_spend" if batch_id else "replace_window_spend"
    space.write(statement, WINDOW_SPEND, conformed(sums, WINDOW_SPEND))


def _is_within(hours: Iterable[int]) -> Column:
    """Filter by ranges of time, which let Delta skip files."""
    ranges = hour_ranges(hours)
    is_within = F.lit(False)
    for start, end in ranges:
        is_from = F.col("occurred_at") >= F.lit(datetime.fromtimestamp(start, UTC))
        is_within |= is_from & (F.col("occurred_at") < F.lit(datetime.fromtimestamp(end, UTC)))
    return is_within


def _current_state(
    spark: SparkSession,
    space: TableSpace,
    budgets: list[BudgetRow],
    policy: Policy,
    balances: Sequence[BalanceRow] | None,
    as_of: datetime,
) -> DataFrame:
    known = spark.createDataFrame(budgets, BUDGETS_SCHEMA)
    open_rows = open_window_rows(policy, balances, as_of)
    sums = _sums_to_refresh(spark, space, as_of)
    longest = [b.window.rolling_seconds or 0 for b in policy.budgets]
    if any(b.window.kind is WindowKind.ROLLING for b in policy.budgets):
        earliest = datetime.fromtimestamp(int(as_of.timestamp()) - max(longest), UTC)
        recent = space.read(spark, SPEND_EVENTS).where(F.col("occurred_at") >= F.lit(earliest))
        sums = sums.unionByName(rolling_spend(recent, known, as_of))
    return budget_state(
        sums,
        known,
        spark.createDataFrame(open_rows, OPEN_WINDOWS_SCHEMA),
        as_of,
        is_ledger_known=balances is not None,
    )


def _sums_to_refresh(spark: SparkSession, space: TableSpace, as_of: datetime) -> DataFrame:
    """The windows that were open, or were changed, since the state was last made."""
    sums = space.read(spark, WINDOW_SPEND)
    last = space.read(spark, BUDGET_STATE).agg(F.max(F.unix_micros("updated_at")).alias("at"))
    last_micros = last.collect()[0]["at"]  # one row
    if last_micros is not None:
        since = F.least(F.timestamp_micros(F.lit(last_micros)), F.lit(as_of).cast(TIMESTAMP))
        is_open = F.col("window_end").isNull() | (F.col("window_end") > since)
        sums = sums.where(is_open | (F.col("changed_at") >= since))
    return sums.drop("batch_id", "changed_at")


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
