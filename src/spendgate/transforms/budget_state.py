"""The state of budgets: what is left, how fast it goes, and when it will be gone."""

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.decision import Status
from spendgate.domain.table import (
    BIGINT,
    BUDGET_STATE,
    DOUBLE,
    MONEY_SUM,
    TIMESTAMP,
    WINDOW_KEY,
)
from spendgate.transforms.carried import with_carried
from spendgate.transforms.pace import estimates, window_pace
from spendgate.transforms.schemas import conformed
from spendgate.transforms.time_range import HOUR_SECONDS
from spendgate.transforms.window_limit import last_limit, part_of


def budget_state(
    sums: DataFrame,
    budgets: DataFrame,
    open_windows: DataFrame,
    hours: DataFrame,
    as_of: datetime,
    *,
    is_ledger_known: bool,
    is_carrying: bool = False,
) -> DataFrame:
    """Return the rows of `budget_state` for some windows.

    Args:
        sums: rows as `window_spend` and `rolling_spend` return them, each window once, with
            `is_shown`: False where a window is there for what it carries to its neighbours.
        budgets: rows of `BUDGETS_SCHEMA`; windows of other budgets, and of a budget's former scope
            or window, are left out.
        open_windows: rows of `OPEN_WINDOWS_SCHEMA`: windows that have a state without an event.
        hours: rows of `budget_hourly` of the windows among them that are open, for their pace.
        as_of: the time of the state, also `updated_at`.
        is_carrying: True if some budget has a rollover.
        is_ledger_known: False if the ledger couldn't be asked, so that held is unknown.
    """
    now = F.lit(as_of).cast(TIMESTAMP)
    windows = _all_windows(sums, budgets, open_windows)
    state = windows.join(F.broadcast(budgets), ["budget_id", "scope", "window"])
    limit = F.col("limit_usd")
    state = state.withColumn("limit_usd", last_limit(limit)).withColumns(
        {"soft_usd": part_of(limit, "soft_cap"), "hard_usd": part_of(limit, "hard_cap")}
    )
    if is_carrying:
        state = with_carried(state)
    state = state.where("is_shown")
    pace = window_pace(hours, as_of).select(
        *(F.col(name).alias(f"p_{name}") for name in WINDOW_KEY), "pace", "squares"
    )
    is_same = [F.col(name).eqNullSafe(F.col(f"p_{name}")) for name in WINDOW_KEY]
    state = state.join(pace, is_same, "left")
    held = F.coalesce("held_usd", F.lit(0).cast(MONEY_SUM))
    measured = state.withColumns(
        {
            "held_usd": held if is_ledger_known else F.lit(None).cast(MONEY_SUM),
            "remaining_usd": F.col("hard_usd") - F.col("spent_usd") - held,
            "used_ratio": _used_ratio(),
            "status": _status(),
            "updated_at": now,
            "elapsed": _elapsed_seconds(now) / HOUR_SECONDS,
            "left": F.greatest(_seconds_between(now, F.col("window_end")), F.lit(0)) / HOUR_SECONDS,
        }
    )
    return conformed(measured.withColumns(estimates(now)), BUDGET_STATE)


def _all_windows(sums: DataFrame, budgets: DataFrame, open_windows: DataFrame) -> DataFrame:
    named = budgets.select("budget_id", "scope", "window")
    silent = open_windows.join(F.broadcast(named), "budget_id").select(
        *WINDOW_KEY,
        F.lit(0).cast(MONEY_SUM).alias("spent_usd"),
        F.lit(0).cast(BIGINT).alias("requests"),
        F.lit(None).cast(TIMESTAMP).alias("last_event_at"),
        "held_usd",
        F.lit(True).alias("is_shown"),
    )
    counted = sums.select(
        *WINDOW_KEY,
        "spent_usd",
        "requests",
        "last_event_at",
        F.lit(None).cast(MONEY_SUM).alias("held_usd"),
        "is_shown",
    )
    return (
        counted.unionByName(silent)
        .groupBy(*WINDOW_KEY)
        .agg(
            F.sum("spent_usd").cast(MONEY_SUM).alias("spent_usd"),
            F.sum("requests").alias("requests"),
            F.max("last_event_at").alias("last_event_at"),
            F.max("held_usd").alias("held_usd"),
            F.max("is_shown").alias("is_shown"),
        )
    )


def _used_ratio() -> Column:
    """A restore can cut a limit to nothing: then all of it is used."""
    spent, limit = F.col("spent_usd").cast(DOUBLE), F.col("limit_usd").cast(DOUBLE)
    return F.when(limit > 0, spent / limit).otherwise(F.lit(1.0))


def _status() -> Column:
    spent = F.col("spent_usd")
    return (
        F.when(spent >= F.col("hard_usd"), Status.HARD.value)
        .when(spent >= F.col("soft_usd"), Status.SOFT.value)
        .otherwise(Status.OK.value)
    )


def _elapsed_seconds(now: Column) -> Column:
    """Seconds of the window so far, at least one, so that a rate exists from the first call on."""
    until = F.least(now, F.coalesce("window_end", now))
    return F.greatest(_seconds_between(F.col("window_start"), until), F.lit(1))


def _seconds_between(start: Column, end: Column) -> Column:
    return F.when(start.isNotNull() & end.isNotNull(), F.unix_seconds(end) - F.unix_seconds(start))
