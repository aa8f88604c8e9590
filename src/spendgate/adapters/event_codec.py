"""How a ledger stores facts, charges and decision records: compact JSON, read back exactly."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, cast

from spendgate.adapters.json_bytes import json_bytes
from spendgate.domain.event import AdjustmentNote, CallFacts, Charge, DecisionRecord
from spendgate.domain.usage import TokenUsage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_usage_of = attrgetter(*TokenUsage.__dataclass_fields__)
_RECORD_FIELDS = tuple(DecisionRecord.__dataclass_fields__)


def to_micros(at: datetime) -> int:
    """Return microseconds since the Unix epoch, exactly."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """Return the aware UTC time of microseconds since the Unix epoch."""
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def dump(value: object) -> str:
    """Write compact JSON."""
    return json_bytes(value).decode()


def encode_facts(facts: CallFacts) -> str:
    """Write the facts of a call."""
    return dump(
        {
            "attempt": facts.attempt,
            "occurred_at": to_micros(facts.occurred_at),
            "scopes": dict(facts.scopes),
            "model_requested": facts.model_requested,
            "model": facts.model,
            "upstream": facts.upstream,
            "geo": facts.geo,
            "price_version": facts.price_version,
            "decision": facts.decision,
            "budget_ids": facts.budget_ids,
            "tags": dict(facts.tags),
        }
    )


def decode_facts(text: str) -> CallFacts:
    """Read the facts of a call."""
    raw = _object(text)
    raw["occurred_at"] = from_micros(raw["occurred_at"])
    raw["budget_ids"] = tuple(raw["budget_ids"])
    return CallFacts(**raw)


def encode_charge(charge: Charge) -> str:
    """Write a charge; what is unknown is left out."""
    raw: dict[str, object] = {"usage_source": charge.usage_source}
    if charge.usage is not None:
        raw["usage"] = _usage_of(charge.usage)
    if charge.cost_nano is not None:
        raw["cost_nano"] = charge.cost_nano
    if charge.dbu_nano is not None:
        raw["dbu_nano"] = charge.dbu_nano
    if charge.context_tier is not None:
        raw["context_tier"] = charge.context_tier
    if charge.latency_ms is not None:
        raw["latency_ms"] = charge.latency_ms
    if (note := charge.note) is not None:
        raw["note"] = [note.adjustment_id, note.actor, note.reason]
    return dump(raw)


def decode_charge(text: str) -> Charge:
    """Read a charge."""
    raw = _object(text)
    usage, note = raw.pop("usage", None), raw.pop("note", None)
    return Charge(
        usage=None if usage is None else TokenUsage(*usage),
        note=None if note is None else AdjustmentNote(*note),
        **raw,
    )


def encode_decision(record: DecisionRecord) -> str:
    """Write a decision record."""
    raw = {name: getattr(record, name) for name in _RECORD_FIELDS}
    raw["occurred_at"] = to_micros(record.occurred_at)
    raw["scopes"] = dict(record.scopes)
    return dump(raw)


def decode_decision(text: str) -> DecisionRecord:
    """Read a decision record."""
    raw = _object(text)
    raw["occurred_at"] = from_micros(raw["occurred_at"])
    return DecisionRecord(**raw)


def _object(text: str) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", json.loads(text)))  # what we wrote ourselves
