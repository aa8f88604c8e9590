"""Ours against the bill per endpoint, SKU and hour."""

from datetime import datetime
from decimal import Decimal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.reconciliation_table import RECONCILIATION
from spendgate.domain.table import MONEY_SUM, TIMESTAMP
from spendgate.transforms.charged_calls import charged_calls
from spendgate.transforms.hourly_spend import HOUR_SECONDS, hour_of
from spendgate.transforms.platform_usage import is_billed
from spendgate.transforms.schemas import conformed

RATIO_MIN = Decimal("0.98")
RATIO_MAX = Decimal("1.02")
RESIDUAL_USD_MIN = Decimal("0.01")
"""A difference below a cent is rounding, whatever the ratio."""
NEIGHBOUR_HOURS = 12
"""A call that is reserved in one hour and billed in the next is no drift of either, so an hour is
only called one if the hours around it, as many on each side, don't agree either."""
UNKNOWN_SKU = "unknown"

_CALLS = ("hour", "endpoint")
_SHARED = {
    "our_requests": "bigint",
    "our_usd": MONEY_SUM,
    "our_dbu": MONEY_SUM,
    "platform_requests": "bigint",
    "bypass_requests": "bigint",
    "bypass_usd": MONEY_SUM,
}
"""What a call doesn't know the SKU of."""


def our_spend(events: DataFrame, since: datetime, until: datetime) -> DataFrame:
    """Sum what the gate charged for calls: `hour, endpoint, our_requests, our_usd, our_dbu`.

    Only holds of calls have an attempt in their id: bookings are for what didn't pass the gate.
    """
    is_in = (F.col("occurred_at") >= F.lit(since)) & (F.col("occurred_at") < F.lit(until))
    calls = events.where(is_in & F.col("hold_id").contains("#")).dropDuplicates(["event_id"])
    return (
        calls.groupBy(hour_of("occurred_at").alias("hour"), F.col("model").alias("endpoint"))
        .agg(
            charged_calls().alias("our_requests"),
            F.sum("cost_usd").alias("our_usd"),
            F.sum("dbu").alias("our_dbu"),
        )
        .where("our_requests > 0 OR our_usd <> 0")
    )


def platform_counts(calls: DataFrame) -> DataFrame:
    """Count the calls that the platform lists and may bill: `hour, endpoint, platform_requests`."""
    billed = calls.where(is_billed())
    return billed.groupBy(hour_of("requested_at").alias("hour"), "endpoint").agg(
        F.count(F.lit(1)).alias("platform_requests")
    )


def reconciled(
    ours: DataFrame,
    platform: DataFrame,
    bypass: DataFrame,
    billed: DataFrame,
    as_of: datetime,
    settled_before: datetime,
) -> DataFrame:
    """Return the rows of `reconciliation`.

    An endpoint's SKUs share what is ours by what is billed on each, because a call doesn't know
    its SKU.

    Args:
        ours: what the gate charged, by hour and endpoint.
        platform: what the platform lists, by hour and endpoint.
        bypass: `hour, endpoint, bypass_requests, bypass_usd` of what didn't pass the gate.
        billed: the bill by hour, endpoint and SKU.
        as_of: the time of the run.
        settled_before: hours that end later may still be billed and are open.
    """
    calls = ours.join(platform, list(_CALLS), "full").join(bypass, list(_CALLS), "full")
    rows = calls.join(billed, list(_CALLS), "full")
    rows = rows.withColumn("sku", F.coalesce("sku", F.lit(UNKNOWN_SKU)))
    shared = rows.withColumns({name: _share(name, kind) for name, kind in _SHARED.items()})
    ours_usd, bypass_usd = _or_zero("our_usd"), _or_zero("bypass_usd")
    compared = shared.withColumns(
        {
            "our_requests": F.coalesce("our_requests", F.lit(0)),
            "our_usd": ours_usd,
            "residual_usd": F.col("billed_usd") - ours_usd - bypass_usd,
            "_through": F.col("billed_usd") - bypass_usd,
        }
    )
    is_drift = _is_off(F.col("our_usd"), F.coalesce("_through", F.lit(0))) & _is_near_off()
    ended = F.col("hour") + F.expr("INTERVAL 1 HOUR")
    is_unpriced = (F.col("billed_dbu").isNotNull() & F.col("billed_usd").isNull()) | (
        (F.col("bypass_requests") > 0) & F.col("bypass_usd").isNull()
    )
    status = (
        F.when(is_unpriced, "unpriced")
        .when(ended > F.lit(settled_before), "open")
        .when(is_drift, "drift")
        .otherwise("agreed")
    )
    ratio = F.when(F.col("_through") > 0, F.col("our_usd") / F.col("_through"))
    return conformed(
        compared.withColumns(
            {"status": status, "ratio": ratio, "updated_at": F.lit(as_of).cast(TIMESTAMP)}
        ),
        RECONCILIATION,
    )


def _is_near_off() -> Column:
    near = (
        Window.partitionBy("endpoint", "sku")
        .orderBy(F.unix_seconds("hour"))
        .rangeBetween(-NEIGHBOUR_HOURS * HOUR_SECONDS, NEIGHBOUR_HOURS * HOUR_SECONDS)
    )
    ours, bypass, billed = (
        F.sum(_or_zero(name)).over(near) for name in ("our_usd", "bypass_usd", "billed_usd")
    )
    return _is_off(ours, billed - bypass)


def _share(name: str, kind: str) -> Column:
    """Divide an endpoint's value among its SKUs; the parts add up to it exactly."""
    every = Window.partitionBy(*_CALLS)
    so_far = every.orderBy("sku").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    weight = F.greatest(F.coalesce("billed_usd", "billed_dbu", F.lit(0)), F.lit(0))
    total, upto = F.sum(weight).over(every), F.sum(weight).over(so_far)
    last = F.row_number().over(every.orderBy("sku")) == F.count(F.lit(1)).over(every)
    above, below = _part(name, upto, total, kind), _part(name, upto - weight, total, kind)
    whole = F.col(name)
    # Nothing billed: the last SKU has it all.
    by_weight = F.when(last, whole - below).otherwise(above - below)
    return F.when(total > 0, by_weight).when(last, whole).cast(kind)


def _part(name: str, weight: Column, total: Column, kind: str) -> Column:
    fraction = (weight / total).cast("decimal(18,15)")
    digits = 0 if kind == "bigint" else 9
    return F.round(F.col(name).cast("decimal(28,9)") * fraction, digits).cast(kind)


def _or_zero(name: str) -> Column:
    return F.coalesce(name, F.lit(0)).cast(MONEY_SUM)


def _is_off(ours: Column, billed: Column) -> Column:
    difference = F.abs(billed - ours)
    is_within = (ours >= billed * F.lit(RATIO_MIN)) & (ours <= billed * F.lit(RATIO_MAX))
    return (difference >= F.lit(RESIDUAL_USD_MIN)) & ~is_within
