"""The state of budgets: what is left, how fast it goes, and when it will be gone."""

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.decision import Status
from spendgate.domain.table import BIGINT, BUDGET_STATE, DOUBLE, MONEY_SUM, TIMESTAMP
from spendgate.transforms.schemas import conformed
from spendgate.transforms.window_spend import WINDOW_KEY

_SECONDS = "decimal(10,0)"
_FACTOR = "decimal(24,9)"
"""Money as a factor of an estimate: with `_SECONDS` it stays within Spark's 38 digits."""


def budget_state(
    sums: DataFrame,
    budgets: DataFrame,
    open_windows: DataFrame,
    as_of: datetime,
    *,
    is_ledger_known: bool,
) -> DataFrame:
    """Return the rows of `budget_state` for some windows.

    Args:
        sums: rows as `window_spend` and `rolling_spend` return them, each window once.
        budgets: rows of `BUDGETS_SCHEMA`; windows of other budgets, and of a budget's former scope
            or window, are left out.
        open_windows: rows of `OPEN_WINDOWS_SCHEMA`: windows that have a state without an event.
        as_of: the time of the state, also `updated_at`.
        is_ledger_known: False if the ledger couldn't be asked, so that held is unknown.
    """
    now = F.lit(as_of).cast(TIMESTAMP)
    windows = _all_windows(sums, budgets, open_windows)
    state = windows.join(F.broadcast(budgets), ["budget_id", "scope", "window"])
    held = F.coalesce("held_usd", F.lit(0).cast(MONEY_SUM))
    measured = state.withColumns(
        {
            "held_usd": held if is_ledger_known else F.lit(None).cast(MONEY_SUM),
            "remaining_usd": F.col("hard_usd") - F.col("spent_usd") - held,
            "used_ratio": _used_ratio(),
            "status": _status(),
            "updated_at": now,
            "elapsed": _elapsed_seconds(now),
            "left": F.greatest(_seconds_between(now, F.col("window_end")), F.lit(0)),
        }
    )
    return conformed(measured.withColumns(_estimates(now)), BUDGET_STATE)


def _all_windows(sums: DataFrame, budgets: DataFrame, open_windows: DataFrame) -> DataFrame:
    named = budgets.select("budget_id", "scope", "window")
    silent = open_windows.join(F.broadcast(named), "budget_id").select(
        *WINDOW_KEY,
        F.lit(0).cast(MONEY_SUM).alias("spent_usd"),
        F.lit(0).cast(BIGINT).alias("requests"),
        F.lit(None).cast(TIMESTAMP).alias("last_event_at"),
        "held_usd",
    )
    counted = sums.select(
        *WINDOW_KEY,
        "spent_usd",
        "requests",
        "last_event_at",
        F.lit(None).cast(MONEY_SUM).alias("held_usd"),
    )
    return (
        counted.unionByName(silent)
        .groupBy(*WINDOW_KEY)
        .agg(
            F.sum("spent_usd").cast(MONEY_SUM).alias("spent_usd"),
            F.sum("requests").alias("requests"),
            F.max("last_event_at").alias("last_event_at"),
            F.max("held_usd").alias("held_usd"),
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


def _estimates(now: Column) -> dict[str, Column]:
    """Project the window's mean rate to its end; a window that isn't bounded has no forecast."""
    spent, hard = F.col("spent_usd").cast(_FACTOR), F.col("hard_usd").cast(_FACTOR)
    elapsed, left = F.col("elapsed").cast(_SECONDS), F.col("left").cast(_SECONDS)
    is_known = F.col("window_start").isNotNull()
    is_ending = F.col("window_end").isNotNull()
    seconds_to_hard = F.when(spent > 0, F.ceil((hard - spent) * elapsed / spent))
    is_exhausted = F.col("spent_usd") >= F.col("hard_usd")
    return {
        "burn_usd_per_hour": F.when(is_known, spent * 3600 / elapsed),
        "forecast_usd": F.when(is_ending, spent * (elapsed + left).cast(_SECONDS) / elapsed),
        "exhausts_at": F.when(is_exhausted, F.col("last_event_at")).when(
            is_ending & (seconds_to_hard < left),
            F.timestamp_seconds(F.unix_seconds(now) + seconds_to_hard.cast("bigint")),
        ),
    }
