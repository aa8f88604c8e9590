"""The platform's usage tables in one shape: one row per call, whichever way it went."""

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spendgate.transforms.schemas import quoted_name

CALL_TYPES = {
    "request_id": "string",
    "workspace_id": "string",
    "client_request_id": "string",
    "requested_at": "timestamp",
    "endpoint": "string",
    "model": "string",
    "requester": "string",
    "status_code": "int",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cache_read_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "context": "map<string,string>",
}
_NOT_MODELS = ("CUSTOM_MODEL", "FEATURE_SPEC")
"""Entities that bill by the hour and count no tokens, such as the gate's own endpoint."""


def served_calls(
    usage: DataFrame, entities: DataFrame, since: datetime, until: datetime
) -> DataFrame:
    """Return the calls of `system.serving.endpoint_usage`, named by `served_entities`.

    An entity has a row per change; the latest one names it. An entity that isn't listed keeps its
    id as the endpoint's name, so that its calls aren't lost.
    """
    newest = Window.partitionBy("served_entity_id").orderBy(F.col("change_time").desc_nulls_last())
    named = (
        entities.withColumn("_rank", F.row_number().over(newest))
        .where("_rank = 1")
        .select("served_entity_id", "endpoint_name", "entity_type")
    )
    calls = (
        usage.where(_is_between("request_time", since, until))
        .join(named, "served_entity_id", "left")
        .where(~F.coalesce(F.upper("entity_type").isin(*_NOT_MODELS), F.lit(False)))
    )
    return _once(
        calls,
        request_id=F.col("databricks_request_id"),
        client_request_id=F.col("client_request_id"),
        requested_at=F.col("request_time"),
        endpoint=F.coalesce("endpoint_name", "served_entity_id", F.lit("unknown")),
        input_tokens=F.col("input_token_count"),
        output_tokens=F.col("output_token_count"),
        context=F.col("usage_context"),
    )


def gateway_calls(usage: DataFrame, since: datetime, until: datetime) -> DataFrame:
    """Return the calls of `system.ai_gateway.usage`, where tags carry what the body can't."""
    details = "token_details"
    return _once(
        usage.where(_is_between("event_time", since, until)),
        request_id=F.col("request_id"),
        client_request_id=F.try_element_at("request_tags", F.lit("client_request_id")),
        requested_at=F.col("event_time"),
        endpoint=F.coalesce(
            nested(usage, "service_name"),
            nested(usage, "endpoint_name"),
            nested(usage, "destination_name"),
            F.lit("unknown"),
        ),
        model=F.coalesce(nested(usage, "destination_model"), nested(usage, "destination_name")),
        input_tokens=F.col("input_tokens"),
        output_tokens=F.col("output_tokens"),
        cache_read_tokens=nested(usage, f"{details}.cache_read_input_tokens"),
        cache_write_tokens=nested(usage, f"{details}.cache_creation_input_tokens"),
        reasoning_tokens=nested(usage, f"{details}.output_reasoning_tokens"),
        context=F.map_filter("request_tags", lambda name, _: name != "client_request_id"),
    )


def sorted_out(calls: DataFrame, hold_ids: DataFrame) -> DataFrame:
    """Say of each call whether a hold is known by its id, and whether it is the hold's own call.

    A hold stands for one call. Another one with its id was made by somebody else, and is billed.
    """
    # Calls without an id are apart, so that they don't all become one partition.
    name = F.coalesce("client_request_id", "request_id")
    first = Window.partitionBy(name).orderBy(~is_billed(), "requested_at", "request_id")
    held = hold_ids.select(F.col("hold_id").alias("client_request_id"), F.lit(True).alias("_held"))
    is_held = F.coalesce("_held", F.lit(False))
    return (
        calls.join(held, "client_request_id", "left")
        .withColumn("is_held", is_held)
        .withColumn("is_ours", is_held & (F.row_number().over(first) == 1))
        .select(*CALL_TYPES, "is_held", "is_ours")
    )


def is_billed() -> Column:
    """Tell whether the provider may bill a call."""
    return F.coalesce(F.col("status_code").between(200, 299), F.lit(False))


def nested(frame: DataFrame, path: str) -> Column:
    """Return a column or a struct's field, null where this release of the table lacks it."""
    found = frame.schema
    for name in path.split("."):
        fields = getattr(found, "names", ())
        if name not in fields:
            return F.lit(None)
        found = found[name].dataType  # type: ignore[index] - a struct has names
    return F.col(".".join(quoted_name(name) for name in path.split(".")))


def _once(calls: DataFrame, **columns: Column) -> DataFrame:
    known = {
        "workspace_id": F.col("workspace_id"),
        "requester": F.col("requester"),
        "status_code": F.col("status_code"),
        **columns,
    }
    shaped = calls.select(
        *(known.get(name, F.lit(None)).cast(kind).alias(name) for name, kind in CALL_TYPES.items())
    )
    empty = F.create_map().cast(CALL_TYPES["context"])
    shaped = shaped.withColumn("context", F.coalesce("context", empty))
    unnamed = F.concat(F.lit("row-"), F.xxhash64(*(c for c in CALL_TYPES if c != "context")))
    shaped = shaped.withColumn("request_id", F.coalesce("request_id", unnamed))
    # A row that is delivered twice is one call.
    return shaped.dropDuplicates(["workspace_id", "request_id"])


def _is_between(name: str, since: datetime, until: datetime) -> Column:
    return (F.col(name) >= F.lit(since)) & (F.col(name) < F.lit(until))
