"""Events and decision records as Arrow tables of the Delta tables' shape."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import re
from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from spendgate.domain.event import SCHEMA_VERSION, DecisionRecord, SpendEvent
from spendgate.domain.money import to_decimal
from spendgate.domain.scope import Dimension
from spendgate.domain.table import (
    BIGINT,
    BOOLEAN,
    DECISIONS,
    DOUBLE,
    INT,
    SPEND_EVENTS,
    STRING,
    TEXT_MAP,
    TIMESTAMP,
    Table,
)

_ARROW_TYPES: dict[str, pa.DataType] = {
    STRING: pa.string(),
    INT: pa.int32(),
    BIGINT: pa.int64(),
    DOUBLE: pa.float64(),
    BOOLEAN: pa.bool_(),
    TIMESTAMP: pa.timestamp("us", tz="UTC"),
    TEXT_MAP: pa.map_(pa.string(), pa.string()),
}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_ARRAY = re.compile(r"array<(.+)>")


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type of a column's SQL type."""
    if decimal := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if array := _ARRAY.fullmatch(name):
        return pa.list_(arrow_type(array[1]))
    return _ARROW_TYPES[name]


def arrow_schema(table: Table) -> pa.Schema:
    """Return a table's Arrow schema, each field with its comment."""
    return pa.schema(
        pa.field(
            column.name,
            arrow_type(column.type),
            nullable=not column.is_required,
            metadata={"comment": column.comment},
        )
        for column in table.columns
    )


def event_table(events: Sequence[SpendEvent]) -> pa.Table:
    """Return events as rows of `spend_events`."""
    rows = [event_row(event) for event in events]
    return pa.Table.from_pylist(rows, schema=arrow_schema(SPEND_EVENTS))


def decision_table(decisions: Sequence[DecisionRecord]) -> pa.Table:
    """Return decision records as rows of `decisions`."""
    rows = [_decision_row(decision) for decision in decisions]
    return pa.Table.from_pylist(rows, schema=arrow_schema(DECISIONS))


def event_row(event: SpendEvent) -> dict[str, object]:
    """Return an event as a row of `spend_events`."""
    facts, charge = event.facts, event.charge
    usage, note = charge.usage, charge.note
    return {
        "event_id": event.event_id,
        "hold_id": event.hold_id,
        "attempt": facts.attempt,
        "kind": event.kind.value,
        "occurred_at": facts.occurred_at,
        "recorded_at": event.recorded_at,
        **{f"{name}_id": facts.scopes.get(name) for name in Dimension},
        "tags": sorted(facts.tags.items()),
        "model_requested": facts.model_requested or None,
        "model": facts.model,
        "upstream": facts.upstream or None,
        "geo": facts.geo or None,
        "context_tier": charge.context_tier,
        "input_tokens": usage and usage.input_tokens,
        "cache_read_tokens": usage and usage.cache_read_tokens,
        "cache_write_tokens": usage and usage.cache_write_tokens,
        "output_tokens": usage and usage.output_tokens,
        "reasoning_tokens": usage and usage.reasoning_tokens,
        "reserved_usd": to_decimal(event.reserved_nano),
        "cost_usd": to_decimal(event.cost_nano),
        "dbu": _decimal(charge.dbu_nano),
        "price_version": facts.price_version or None,
        "usage_source": charge.usage_source,
        "decision": facts.decision or None,
        "budget_ids": list(facts.budget_ids),
        "latency_ms": charge.latency_ms,
        "schema_version": SCHEMA_VERSION,
        "adjustment_id": note and note.adjustment_id,
        "adjusted_by": note and note.actor,
        "reason": note and note.reason,
    }


def _decision_row(record: DecisionRecord) -> dict[str, object]:
    return {
        "decision_id": record.decision_id,
        "occurred_at": record.occurred_at,
        **{f"{name}_id": record.scopes.get(name) for name in Dimension},
        "model_requested": record.model_requested,
        "decision": record.decision,
        "code": record.code,
        "budget_id": record.budget_id,
        "limit_usd": _decimal(record.limit_nano),
        "spent_usd": _decimal(record.spent_nano),
        "held_usd": _decimal(record.held_nano),
        "needed_usd": _decimal(record.needed_nano),
        "suggested_model": record.suggested_model,
    }


def _decimal(nano: int | None) -> Decimal | None:
    return None if nano is None else to_decimal(nano)
