"""Crossings: where the state of a budget has reached a level at which people are told.

Whether a crossing is new is decided by the MERGE into `budget_alerts`; here each has its id. The id
is `domain.alert.AlertKey.alert_id` as columns, which a test compares.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.alert import (
    ID_CHARACTERS,
    LIFETIME,
    PENDING,
    UNROUTED,
    AlertKind,
    rungs,
)
from spendgate.domain.budget import PPM, Policy
from spendgate.domain.budget_tables import BUDGET_ALERTS
from spendgate.domain.decision import RefusalCode
from spendgate.domain.table import (
    DOUBLE,
    INT,
    MONEY_SUM,
    RATIO,
    STRING,
    TEXT_ARRAY,
    TEXT_MAP,
    TIMESTAMP,
)
from spendgate.transforms.calendar_window import window_bounds
from spendgate.transforms.schemas import conformed
from spendgate.transforms.window_limit import highest_limit, last_limit, part_of
from spendgate.transforms.window_spend import scope_value

LOOKBACK = timedelta(days=7)
"""A window that ended earlier, or a refusal before that, is no news any more."""
FORECAST_PART = 0.1
"""The part of a window that must have passed before its forecast alerts: one early call alone would
be taken for the whole window's rate."""
AGREED_MIN, AGREED_MAX = 0.98, 1.02
"""An hour's charges, as a fraction of the bill, between which they agree with it."""
_RATIO_MAX = 999.0
_DAY_SECONDS = 86_400
_WHOLE = "decimal(9,0)"
"""An amount times parts per million of this width keeps all its digits."""
RUNGS_SCHEMA = f"budget_id {STRING}, kind {STRING}, threshold_ppm {INT}, routes {TEXT_ARRAY}"

RungRow = tuple[str, str, int, list[str]]


def rung_rows(policy: Policy) -> list[RungRow]:
    """Return a row of `RUNGS_SCHEMA` per level of each budget."""
    return [
        (
            budget.budget_id,
            one.kind.value,
            one.threshold_ppm,
            list(budget.routes or policy.defaults.routes),
        )
        for budget in policy.budgets
        for one in rungs(budget)
    ]


def spend_crossings(
    state: DataFrame, budgets: DataFrame, levels: DataFrame, as_of: datetime
) -> DataFrame:
    """Return the rows of `budget_alerts` that the state of budgets makes, known ones too.

    Args:
        state: rows of `budget_state`; each is compared with its own limit.
        budgets: rows of `BUDGETS_SCHEMA`.
        levels: rows of `RUNGS_SCHEMA`.
        as_of: the time of the run; windows that ended long before are left out.
    """
    now, earliest = (F.lit(at).cast(TIMESTAMP) for at in (as_of, as_of - LOOKBACK))
    recent = state.where(F.col("window_end").isNull() | (F.col("window_end") > earliest))
    facts = budgets.select(
        "budget_id",
        "rolling_seconds",
        "carry_max_usd",
        "hard_cap",
        "former_until",
        "former_usd",
        F.col("limit_usd").alias("bare_usd"),
    )
    reached = (
        recent.join(F.broadcast(levels), "budget_id")
        .join(F.broadcast(facts), "budget_id")
        .where(_is_reached(now))
    )
    return _alerts(reached.withColumn("window_start", _start_of_stretch(now)), now)


def refusal_crossings(
    decisions: DataFrame,
    budgets: DataFrame,
    levels: DataFrame,
    scopes: Iterable[str],
    as_of: datetime,
) -> DataFrame:
    """Return the hard stops among refusals: the first of each budget, value and window.

    A budget refuses before its last cent is spent, so its state alone doesn't show every stop. A
    refusal has no tags: those of budgets by tag show in the state alone.

    Args:
        decisions: rows of `decisions`.
        budgets: rows of `BUDGETS_SCHEMA`.
        levels: rows of `RUNGS_SCHEMA`.
        scopes: the scopes of the budgets.
        as_of: the time of the run; refusals long before are left out.
    """
    now, earliest = (F.lit(at).cast(TIMESTAMP) for at in (as_of, as_of - LOOKBACK))
    stops = levels.where(F.col("kind") == AlertKind.HARD_STOP.value)
    refused = decisions.where(
        (F.col("decision") == "refuse")
        & (F.col("code") == RefusalCode.EXHAUSTED.value)
        & (F.col("occurred_at") > earliest)
    ).select("budget_id", *_SCOPE_IDS, "occurred_at", "limit_usd", "spent_usd")
    facts = budgets.select(
        "budget_id", "scope", "window", "tz", "kind_of_window", "rolling_seconds"
    )
    bounds = window_bounds(F.col("occurred_at"), F.col("tz"), F.col("kind_of_window"))
    placed = (
        refused.join(F.broadcast(facts), "budget_id")
        .join(F.broadcast(stops), "budget_id")
        .withColumn("tags", F.create_map().cast(TEXT_MAP))
        .withColumns({"scope_value": scope_value(scopes), "bounds": bounds})
        .where("scope_value IS NOT NULL")
        .withColumns({"window_start": F.col("bounds.start"), "window_end": F.col("bounds.end")})
        .withColumn("window_start", _start_of_stretch(F.col("occurred_at")))
    )
    first = placed.groupBy(
        "budget_id", "scope", "scope_value", "window", "window_start", "window_end", "kind",
        "threshold_ppm", "routes",
    ).agg(
        F.max("limit_usd").alias("limit_usd"), F.max("spent_usd").alias("spent_usd")
    )  # fmt: skip
    return _alerts(first.withColumn("forecast_usd", F.lit(None).cast(MONEY_SUM)), now)


def drift_crossings(reconciliation: DataFrame, routes: Sequence[str], as_of: datetime) -> DataFrame:
    """Return a row per endpoint, SKU and day on which an hour's charges don't agree with the bill.

    Args:
        reconciliation: rows of `reconciliation`.
        routes: who is told of what is about no budget.
        as_of: the time of the run; hours long before are left out.
    """
    now, earliest = (F.lit(at).cast(TIMESTAMP) for at in (as_of, as_of - LOOKBACK))
    is_off = (F.col("ratio") < AGREED_MIN) | (F.col("ratio") > AGREED_MAX)
    off = F.abs(F.col("ratio") - 1)
    day = F.unix_seconds("hour") - F.pmod(F.unix_seconds("hour"), F.lit(_DAY_SECONDS))
    worst = (
        reconciliation.where((F.col("hour") > earliest) & is_off)
        .withColumns({"off": off, "window_start": F.timestamp_seconds(day)})
        .groupBy("endpoint", "sku", "window_start")
        .agg(F.max_by(F.struct("ratio", "our_usd", "billed_usd"), "off").alias("worst"))
    )
    text = F.concat_ws(
        " ", F.lit("endpoint"), "endpoint", F.lit("SKU"), "sku", F.lit("ours"), "worst.our_usd",
        F.lit("billed"), "worst.billed_usd", F.lit("USD in the worst hour"),
    )  # fmt: skip
    shown = worst.withColumns(
        {
            "kind": F.lit(AlertKind.DRIFT.value),
            "budget_id": F.lit(""),
            "scope": F.lit(None).cast(STRING),
            "scope_value": F.concat_ws(" ", "endpoint", "sku"),
            "window": F.lit("day"),
            "window_end": F.timestamp_seconds(F.unix_seconds("window_start") + _DAY_SECONDS),
            "threshold_ppm": F.lit(0),
            "limit_usd": F.lit(None).cast(MONEY_SUM),
            "spent_usd": F.lit(None).cast(MONEY_SUM),
            "forecast_usd": F.lit(None).cast(MONEY_SUM),
            "routes": F.array(*map(F.lit, routes)).cast(TEXT_ARRAY),
        }
    )
    ratio = F.least(F.col("worst.ratio"), F.lit(_RATIO_MAX)).cast(RATIO)
    return _alerts(shown, now, detail=text, threshold=ratio)


def each_once(crossings: Sequence[DataFrame]) -> DataFrame:
    """Return crossings of several sources, each once; the first source's figures stay."""
    ordered = [frame.withColumn("source", F.lit(n)) for n, frame in enumerate(crossings)]
    joined = ordered[0]
    for frame in ordered[1:]:
        joined = joined.unionByName(frame)
    rows = F.struct("source", *BUDGET_ALERTS.column_names)
    once = joined.groupBy("alert_id").agg(F.min_by(rows, "source").alias("row"))
    return conformed(once.select("row.*"), BUDGET_ALERTS)


_SCOPE_IDS = ("org_id", "team_id", "agent_id", "user_id", "session_id", "task_id")


def _is_reached(now: Column) -> Column:
    """Whether a window's level is at least `Rung.at_nano` of its own limit and caps."""
    level, kind = _level(now), F.col("kind")
    held = F.coalesce("held_usd", F.lit(0).cast(MONEY_SUM))
    hard = F.col("remaining_usd") + F.col("spent_usd") + held
    bare = last_limit(F.col("bare_usd"))
    bare_hard = part_of(bare, "hard_cap")
    # While raises held that have expired in the window, its hard cap was higher by so much.
    raised = part_of(highest_limit(F.col("bare_usd")), "hard_cap") - bare_hard
    # What the next window takes of one that is over lowers its limit, and is no use of it.
    has_left = (F.col("carry_max_usd") > 0) & (F.col("window_end") <= now)
    limit = F.when(has_left, F.greatest("limit_usd", bare)).otherwise(F.col("limit_usd"))
    stop = F.when(has_left, F.greatest(hard, bare_hard)).otherwise(hard)
    share = limit * F.col("threshold_ppm").cast(_WHOLE)
    is_over = (
        F.when(kind == AlertKind.HARD_STOP.value, level >= stop)
        .when(kind == AlertKind.OVERRUN.value, level > hard + raised)
        .when(kind == AlertKind.FORECAST.value, level > hard)
        .otherwise(level * F.lit(PPM).cast(_WHOLE) >= share)
    )
    return (level > 0) & is_over


def _level(now: Column) -> Column:
    """What a rung is compared with: spend, or the forecast once the window is old enough."""
    elapsed = F.unix_seconds(now) - F.unix_seconds("window_start")
    length = F.unix_seconds("window_end") - F.unix_seconds("window_start")
    is_telling = (elapsed >= length * F.lit(FORECAST_PART)) & (F.col("window_end") > now)
    forecast = F.when(is_telling, F.col("forecast_usd"))
    is_forecast = F.col("kind") == AlertKind.FORECAST.value
    return F.when(is_forecast, forecast).otherwise(F.col("spent_usd"))


def _start_of_stretch(at: Column) -> Column:
    """Return `domain.alert.period_start`: a rolling window is told of once per its own length."""
    seconds = F.unix_seconds(at)
    floored = F.timestamp_seconds(seconds - F.pmod(seconds, F.col("rolling_seconds")))
    return F.when(F.col("rolling_seconds").isNotNull(), floored).otherwise(F.col("window_start"))


def _alerts(
    crossed: DataFrame,
    now: Column,
    detail: Column | None = None,
    threshold: Column | None = None,
) -> DataFrame:
    period = F.coalesce(F.unix_seconds("window_start").cast(STRING), F.lit(LIFETIME))
    parts = ("kind", "budget_id", "scope_value", period, F.col("threshold_ppm").cast(STRING))
    digest = F.sha2(F.concat_ws("\x1f", *parts), 256)
    share = (F.col("threshold_ppm") / F.lit(PPM)).cast(RATIO)
    named = crossed.withColumns(
        {
            "alert_id": F.substring(digest, 1, ID_CHARACTERS),
            "budget_id": F.when(F.col("budget_id") != "", F.col("budget_id")),
            "threshold": share if threshold is None else threshold,
            "used_ratio": F.when(
                F.col("limit_usd") > 0,
                F.col("spent_usd").cast(DOUBLE) / F.col("limit_usd").cast(DOUBLE),
            ),
            "detail": F.lit(None).cast(STRING) if detail is None else detail,
            "crossed_at": now,
            "status": F.when(F.size("routes") > 0, PENDING).otherwise(UNROUTED),
            "attempts": F.lit(0),
            "sent_at": F.lit(None).cast(TIMESTAMP),
            "last_error": F.lit(None).cast(STRING),
            "updated_at": now,
        }
    )
    return conformed(named, BUDGET_ALERTS)
