"""The events of a home's `spend_events`, read back as what they were written from."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from spendgate.domain.event import AdjustmentNote, CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Dimension
from spendgate.domain.table import SPEND_EVENTS
from spendgate.domain.usage import TokenUsage
from spendgate.errors import SinkUnavailableError


def read_events(folder: Path) -> Iterator[SpendEvent]:
    """Read every event, one file after the other; what a table of an earlier version lacks is null.

    Raises:
        SinkUnavailableError: if there is no table, or it can't be read.
    """
    path = folder / SPEND_EVENTS.name
    try:
        dataset = DeltaTable(path).to_pyarrow_dataset()
        wanted = set(SPEND_EVENTS.column_names)
        columns = [name for name in dataset.schema.names if name in wanted]
        for batch in dataset.to_batches(columns=columns):
            yield from map(event_of_row, batch.to_pylist(maps_as_pydicts="strict"))
    except TableNotFoundError:
        raise SinkUnavailableError(f"there is no table {SPEND_EVENTS.name} in {folder}") from None
    except (DeltaError, OSError) as error:
        raise SinkUnavailableError(f"can't read {path}: {type(error).__name__}: {error}") from error


def event_of_row(row: Mapping[str, Any]) -> SpendEvent:
    """Read one row as the event it was written from."""
    scopes = {name.value: row[f"{name}_id"] for name in Dimension if row[f"{name}_id"] is not None}
    facts = CallFacts(
        attempt=row["attempt"],
        occurred_at=_utc(row["occurred_at"]),
        scopes=scopes,
        model_requested=row["model_requested"] or "",
        model=row["model"],
        upstream=row["upstream"] or "",
        geo=row["geo"] or "",
        price_version=row["price_version"] or "",
        decision=row["decision"] or "",
        budget_ids=tuple(row["budget_ids"]),
        tags=dict(row["tags"]),
    )
    charge = Charge(
        usage=_usage(row),
        dbu_nano=None if row["dbu"] is None else _nano(row["dbu"]),
        context_tier=row["context_tier"],
        usage_source=row["usage_source"],
        latency_ms=row["latency_ms"],
        note=_note(row),
    )
    return SpendEvent(
        event_id=row["event_id"],
        hold_id=row["hold_id"],
        kind=EventKind(row["kind"]),
        recorded_at=_utc(row["recorded_at"]),
        facts=facts,
        charge=charge,
        reserved_nano=_nano(row["reserved_usd"]),
        cost_nano=_nano(row["cost_usd"]),
    )


def _usage(row: Mapping[str, Any]) -> TokenUsage | None:
    if row["input_tokens"] is None or row["output_tokens"] is None:
        return None
    names = ("input", "output", "cache_read", "cache_write", "reasoning")
    return TokenUsage(**{f"{name}_tokens": row[f"{name}_tokens"] or 0 for name in names})


def _note(row: Mapping[str, Any]) -> AdjustmentNote | None:
    name = row.get("adjustment_id")
    return None if name is None else AdjustmentNote(name, row["adjusted_by"], row["reason"])


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


def _nano(usd: Decimal) -> int:
    return int(usd.scaleb(9))
