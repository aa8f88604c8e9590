"""A simulator's record of its calls in the shape of the platform's own tables.

So a home on this machine is reconciled as a workspace is: from usage, entities, prices and a bill.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.transforms.hourly_spend import hour_of

WORKSPACE = "simulator"
CALLS_SCHEMA = (
    "request_id string, at_micros bigint, endpoint string, requester string, "
    "client_request_id string, usage_context map<string,string>, is_streaming boolean, "
    "status int, input_tokens bigint, output_tokens bigint, billed_nano_usd bigint, broken string"
)
"""A line of the record; `broken` is the text of one that can't be read."""
BROKEN = "broken"
USD_PER_DBU = "0.07"
"""What a DBU of model serving lists at, so that the bill's DBU are about what the book says."""

_CLOUD, _UNIT = "AWS", "DBU"
_VENDORS = (("claude", "ANTHROPIC"), ("gpt-5", "OPENAI"))


def listed_calls(calls: DataFrame) -> DataFrame:
    """Return `system.serving.endpoint_usage`: one row per call."""
    return calls.select(
        F.lit(WORKSPACE).alias("account_id"),
        F.lit(WORKSPACE).alias("workspace_id"),
        F.expr("NULLIF(client_request_id, '')").alias("client_request_id"),
        F.col("request_id").alias("databricks_request_id"),
        "requester",
        F.col("status").alias("status_code"),
        F.timestamp_micros("at_micros").alias("request_time"),
        F.col("input_tokens").alias("input_token_count"),
        F.col("output_tokens").alias("output_token_count"),
        "usage_context",
        F.col("is_streaming").alias("request_streaming"),
        _entity().alias("served_entity_id"),
    )


def served_entities(calls: DataFrame) -> DataFrame:
    """Return `system.serving.served_entities`: one row per model."""
    first = F.timestamp_micros(F.min("at_micros"))
    return (
        calls.groupBy("endpoint")
        .agg(first.alias("change_time"))
        .select(
            _entity().alias("served_entity_id"),
            F.lit(WORKSPACE).alias("workspace_id"),
            F.col("endpoint").alias("endpoint_name"),
            F.lit("FOUNDATION_MODEL").alias("entity_type"),
            "change_time",
        )
    )


def billed_hours(calls: DataFrame) -> DataFrame:
    """Return `system.billing.usage`: one row per model and hour, in DBU."""
    hour = hour_of("request_time")
    billed = calls.withColumn("request_time", F.timestamp_micros("at_micros")).where(
        "billed_nano_usd > 0"
    )
    sums = billed.groupBy(hour.alias("hour"), "endpoint").agg(
        F.sum("billed_nano_usd").alias("nano")
    )
    end = F.col("hour") + F.expr("INTERVAL 1 HOUR")
    return sums.select(
        F.concat_ws(" ", "endpoint", F.unix_seconds("hour")).alias("record_id"),
        F.lit(WORKSPACE).alias("workspace_id"),
        _sku().alias("sku_name"),
        F.lit(_CLOUD).alias("cloud"),
        F.col("hour").alias("usage_start_time"),
        end.alias("usage_end_time"),
        F.expr("DATE_FROM_UNIX_DATE(CAST(UNIX_SECONDS(hour) DIV 86400 AS INT))").alias(
            "usage_date"
        ),
        F.lit(_UNIT).alias("usage_unit"),
        F.expr(f"CAST(nano AS DECIMAL(20,0)) / 1000000000 / {USD_PER_DBU}")
        .cast("decimal(38,18)")
        .alias("usage_quantity"),
        F.lit("MODEL_SERVING").alias("billing_origin_product"),
        F.lit("ORIGINAL").alias("record_type"),
        F.struct(F.col("endpoint").alias("endpoint_name")).alias("usage_metadata"),
    )


def listed_prices(calls: DataFrame) -> DataFrame:
    """Return `system.billing.list_prices`: what a DBU of each SKU costs."""
    price = F.lit(USD_PER_DBU).cast("decimal(38,18)").alias("default")
    return (
        calls.select(_sku().alias("sku_name"))
        .distinct()
        .select(
            F.timestamp_seconds(F.lit(0)).alias("price_start_time"),
            "sku_name",
            F.lit(_CLOUD).alias("cloud"),
            F.lit("USD").alias("currency_code"),
            F.lit(_UNIT).alias("usage_unit"),
            F.struct(price).alias("pricing"),
        )
    )


def _entity() -> Column:
    return F.concat(F.lit("entity-"), "endpoint")


def _sku() -> Column:
    sku = F.lit("PREMIUM_SERVERLESS_REAL_TIME_INFERENCE")
    for part, vendor in _VENDORS:
        named = F.lit(f"PREMIUM_{vendor}_MODEL_SERVING")
        sku = F.when(F.col("endpoint").contains(part), named).otherwise(sku)
    return sku
