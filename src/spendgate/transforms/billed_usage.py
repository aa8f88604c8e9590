"""The bill per endpoint, SKU and hour: `system.billing.usage` at the prices in force then."""

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import MONEY_SUM
from spendgate.transforms.hourly_spend import hour_of
from spendgate.transforms.platform_usage import nested

PRODUCTS = ("MODEL_SERVING", "AI_GATEWAY", "AI_FUNCTIONS")
FOUNDATION_MODEL = "FOUNDATION_MODEL"
VENDOR_SKU = "%\\_MODEL\\_SERVING"
"""Models of a vendor have SKUs of their own, such as `PREMIUM_ANTHROPIC_MODEL_SERVING`."""

_PRICED = "_price"


def billed_usage(
    usage: DataFrame,
    prices: Sequence[DataFrame],
    endpoints: Sequence[str],
    workspaces: Sequence[str],
    since: datetime,
    until: datetime,
) -> DataFrame:
    """Return what was billed for models: `hour, endpoint, sku, billed_dbu, billed_usd`.

    Retractions and restatements are summed with what they correct. What has no price in a table
    keeps its DBU and has no USD: it isn't free.

    Args:
        usage: `system.billing.usage`.
        prices: tables of prices, the one that counts first: the account's, then the list.
        endpoints: endpoints that are models, whatever their SKU.
        workspaces: the workspaces that count.
        since: first instant.
        until: first instant after.
    """
    endpoint = _endpoint(usage)
    is_model = (
        endpoint.isin(*endpoints)
        | (
            F.coalesce(nested(usage, "product_features.serving_type"), F.lit(""))
            == FOUNDATION_MODEL
        )
        | F.upper("sku_name").like(VENDOR_SKU)
    )
    start = F.col("usage_start_time")
    rows = usage.where(
        F.col("usage_date").between(F.lit(since.date()), F.lit(until.date()))
        & (start >= F.lit(since))
        & (start < F.lit(until))
        & F.col("workspace_id").cast("string").isin(*workspaces)
        & F.col("billing_origin_product").isin(*PRODUCTS)
        & is_model
    ).select(
        _row_name().alias("_row"),
        hour_of("usage_start_time").alias("hour"),
        endpoint.alias("endpoint"),
        F.col("sku_name").alias("sku"),
        "cloud",
        "usage_unit",
        "usage_end_time",
        F.col("usage_quantity").cast("decimal(28,12)").alias("quantity"),
    )
    priced = rows.dropDuplicates(["_row"])
    for rank, table in enumerate(prices):
        priced = _with_price(priced, table, f"{_PRICED}{rank}")
    price = F.coalesce(*(F.col(f"{_PRICED}{rank}") for rank in range(len(prices))), F.lit(None))
    is_dbu = F.upper("usage_unit") == "DBU"
    # One row without a price leaves the sum unknown: a part isn't the whole.
    is_unpriced = F.max(price.isNull().cast("int")) == 1
    usd = F.sum((F.col("quantity") * price.cast("decimal(18,9)")).cast("decimal(38,12)"))
    return priced.groupBy("hour", "endpoint", "sku").agg(
        F.sum(F.when(is_dbu, F.col("quantity"))).cast(MONEY_SUM).alias("billed_dbu"),
        F.when(~is_unpriced, usd).cast(MONEY_SUM).alias("billed_usd"),
    )


def _endpoint(usage: DataFrame) -> Column:
    return F.coalesce(
        nested(usage, "usage_metadata.endpoint_name"),
        nested(usage, "usage_metadata.ai_gateway.endpoint_name"),
        nested(usage, "usage_metadata.ai_gateway.destination_model"),
        F.lit("unknown"),
    )


def _row_name() -> Column:
    """Name a row: a record is there once per record type, also if it was delivered twice."""
    own = F.concat_ws(" ", "record_id", F.coalesce("record_type", F.lit("ORIGINAL")))
    unnamed = F.concat(F.lit("row-"), F.monotonically_increasing_id().cast("string"))
    return F.when(F.col("record_id").isNull(), unnamed).otherwise(own)


def _with_price(rows: DataFrame, prices: DataFrame, name: str) -> DataFrame:
    effective = F.coalesce(
        nested(prices, "pricing.effective_list.default"), nested(prices, "pricing.default")
    )
    known = prices.where(F.upper("currency_code") == "USD").select(
        F.col("sku_name").alias("_sku"),
        F.col("cloud").alias("_cloud"),
        F.col("usage_unit").alias("_unit"),
        F.col("price_start_time").alias("_from"),
        F.col("price_end_time").alias("_until"),
        effective.alias(name),
    )
    is_in_force = (F.col("usage_end_time") >= F.col("_from")) & (
        F.col("_until").isNull() | (F.col("usage_end_time") < F.col("_until"))
    )
    joined = rows.join(
        known,
        (F.col("sku") == F.col("_sku"))
        & (F.col("cloud") == F.col("_cloud"))
        & (F.col("usage_unit") == F.col("_unit"))
        & is_in_force,
        "left",
    )
    # Of two prices for one time the later one counts, and the row stays one row.
    newest = Window.partitionBy("_row").orderBy(F.col("_from").desc_nulls_last())
    ranked = joined.withColumn("_rank", F.row_number().over(newest)).where("_rank = 1")
    return ranked.select(*rows.columns, name)
