"""The last part of aggregate: `budget_state` is made of the sums, the budgets and what is held.

A window with an end has a pace, so that every open one is made again at each run. A lifetime has
none: its row changes with its sums, with what is held of it, and with its budget. So a run makes
the rows of lifetimes that its rounds have changed, corrects what is held of others, and leaves the
rest, unless a budget or a raise has changed, or the ledger can be asked again or not any more: then
it makes all. What the rows were made of is noted after they are written, so that a run that was
killed is made up for by the next.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.budget import BalanceRow, Policy
from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.decision import Status
from spendgate.domain.table import (
    BUDGET_STATE,
    MONEY_SUM,
    SPEND_EVENTS,
    TIMESTAMP,
    WINDOW_KEY,
    WINDOW_SPEND,
)
from spendgate.domain.window import WindowKind
from spendgate.jobs.event_rounds import Rounds, known_size
from spendgate.jobs.job_run import Report
from spendgate.jobs.literal_frame import literal_frame
from spendgate.jobs.round_log import RoundLog
from spendgate.transforms.budget_frame import (
    BUDGETS_SCHEMA,
    OPEN_WINDOWS_SCHEMA,
    open_window_rows,
    state_basis,
)
from spendgate.transforms.budget_state import budget_state
from spendgate.transforms.single_events import events_once
from spendgate.transforms.window_spend import rolling_spend

_CARRY_DAYS = 100
"""Windows that may carry money to an open one are over since less: months are the longest."""
_OPEN_DAYS = 32
"""An open window that has an end began less than so long ago."""
_EPOCH = datetime.fromtimestamp(0, UTC)


def renew_state(
    spark: SparkSession,
    rounds: Rounds,
    policy: Policy,
    balances: Sequence[BalanceRow] | None,
    log: RoundLog,
) -> tuple[Report, RoundLog]:
    """Bring `budget_state` up to a run's time; return its counts, and the log to be written then.

    Args:
        spark: the session.
        rounds: the run's rounds, all done.
        policy: the budgets, with their raises.
        balances: the ledger's balances, for what is held; None if the ledger can't be asked.
        log: what the last run has noted.
    """
    basis = state_basis(policy, rounds.as_of, is_ledger_known=balances is not None)
    is_whole = log.state_basis != basis
    state = _current_state(spark, rounds, policy, balances, log, is_whole=is_whole)
    rounds.space.write(
        "merge_budget_state", BUDGET_STATE, state, are_lifetimes_kept=str(not is_whole).upper()
    )
    report = _remove_former(spark, rounds, is_whole=is_whole)
    noted = {"state_round": log.round_id, "state_at": rounds.as_of, "state_basis": basis}
    return report, replace(log, **noted)


def _current_state(
    spark: SparkSession,
    rounds: Rounds,
    policy: Policy,
    balances: Sequence[BalanceRow] | None,
    log: RoundLog,
    *,
    is_whole: bool,
) -> DataFrame:
    space, as_of = rounds.space, rounds.as_of
    known = literal_frame(spark, rounds.budgets, BUDGETS_SCHEMA)
    open_rows = open_window_rows(policy, balances, as_of)
    open_windows = literal_frame(spark, open_rows, OPEN_WINDOWS_SCHEMA)
    if not is_whole:
        open_windows = open_windows.unionByName(_once_held(spark, rounds))
    carrying = [one.budget_id for one in policy.budgets if one.rollover_max_nano]
    sums = _sums_to_refresh(spark, rounds, log, carrying, is_whole=is_whole)
    may_be_many = is_whole
    longest = [b.window.rolling_seconds or 0 for b in policy.budgets]
    if any(b.window.kind is WindowKind.ROLLING for b in policy.budgets):
        may_be_many = True
        earliest = datetime.fromtimestamp(int(as_of.timestamp()) - max(longest), UTC)
        recent = space.read(spark, SPEND_EVENTS).where(F.col("occurred_at") >= F.lit(earliest))
        counted = events_once(rounds.counted(spark, recent))
        rolling = rolling_spend(counted, known, rounds.scopes, as_of)
        sums = sums.unionByName(rolling.withColumn("is_shown", F.lit(True)))
    now = F.lit(as_of).cast(TIMESTAMP)
    recent_hours = F.col("hour") >= F.lit(as_of - timedelta(days=_OPEN_DAYS))
    hours = space.read(spark, BUDGET_HOURLY).where(recent_hours & (F.col("window_end") > now))
    state = budget_state(
        sums,
        known,
        open_windows,
        hours,
        as_of,
        is_ledger_known=balances is not None,
        is_carrying=bool(carrying),
    )
    return state if may_be_many else known_size(state, len(open_rows) + sums.count())


def _once_held(spark: SparkSession, rounds: Rounds) -> DataFrame:
    """The lifetimes of which money was held when the state was last made, as of none now.

    Those that no event has fallen into aren't among them: they go with their hold.
    """
    state = rounds.space.read(spark, BUDGET_STATE)
    held = state.where(
        _is_lifetime() & (F.col("held_usd") != 0) & F.col("last_event_at").isNotNull()
    )
    nothing = F.lit(0).cast(MONEY_SUM).alias("held_usd")
    return held.select("budget_id", "scope_value", "window_start", "window_end", nothing)


def _sums_to_refresh(
    spark: SparkSession, rounds: Rounds, log: RoundLog, carrying: Sequence[str], *, is_whole: bool
) -> DataFrame:
    """The windows that were open, or were changed, since the state was last made.

    Of lifetimes, which are open for good, those that were changed, or else all. Windows of budgets
    that carry money on are there besides, not to be shown.
    """
    sums = rounds.space.read(spark, WINDOW_SPEND)
    last = log.state_at or _newest_state(spark, rounds)
    is_shown = F.lit(True)
    if last is not None:
        since = F.lit(min(last, rounds.as_of))
        is_shown = (F.col("window_end") > since) | (F.lit(is_whole) & _is_lifetime())
        # The last round too: it may have been repeated since.
        is_shown |= (
            F.col("changed_at") >= since
            if log.state_round is None
            else F.col("round_id") >= log.state_round
        )
    may_carry = F.col("budget_id").isin(*carrying) & (
        F.col("window_end") > F.lit(rounds.as_of - timedelta(days=_CARRY_DAYS))
    )
    # Plain comparisons, by which Delta leaves out the files of what hasn't changed: most of them.
    needed = sums.where(is_shown | may_carry if carrying else is_shown)
    # Where there is no end, a comparison with it is null.
    needed = needed.withColumn("is_shown", F.coalesce(is_shown, F.lit(False)))
    kept = ("spent_usd", "requests", "last_event_at", "is_shown")
    return needed.select(*WINDOW_KEY, *kept)


def _newest_state(spark: SparkSession, rounds: Rounds) -> datetime | None:
    """When the state was last made, as far as its rows say; logs of older versions don't."""
    micros = F.max(F.unix_micros("updated_at")).alias("at")
    found = rounds.space.read(spark, BUDGET_STATE).agg(micros).collect()[0]["at"]  # one row
    return None if found is None else _EPOCH + timedelta(microseconds=found)


def _is_former(as_of: datetime, *, is_whole: bool) -> Column:
    """Whether an open window is no more: its budget is gone, or is defined otherwise.

    While budgets are as they were, of lifetimes only those go that had no more than a hold. That is
    said by comparisons by which Delta leaves out the files of other lifetimes and closed windows.
    """
    may_go = F.col("window_end") > F.lit(as_of)
    if is_whole:
        may_go |= F.col("window_end").isNull()
    else:
        may_go |= F.col("window").startswith(f"{WindowKind.ROLLING.value}:")
        may_go |= F.col("window_end").isNull() & F.col("last_event_at").isNull()
    return may_go & (F.col("updated_at") != F.lit(as_of))


def _remove_former(spark: SparkSession, rounds: Rounds, *, is_whole: bool) -> Report:
    """Remove open windows that are no more, and count the others."""
    state = rounds.space.read(spark, BUDGET_STATE)
    is_former = _is_former(rounds.as_of, is_whole=is_whole)
    is_open = F.col("window_end").isNull() | (F.col("window_end") > F.lit(rounds.as_of))
    groups = state.where(is_open | is_former).groupBy(
        "status", F.coalesce(is_former, F.lit(False)).alias("is_former")
    )
    counts, removed = {status.value: 0 for status in Status}, 0
    for row in groups.count().collect():  # six rows at most
        if row["is_former"]:
            removed += row["count"]
        else:
            counts[row["status"]] = row["count"]
    if removed:
        former = state.where(is_former).select(*BUDGET_STATE.key)
        rounds.space.write("delete_budget_state", BUDGET_STATE, former)
    return {"budget_state": counts, "budget_state_removed": removed}


def _is_lifetime() -> Column:
    return F.col("window") == WindowKind.LIFETIME.value
