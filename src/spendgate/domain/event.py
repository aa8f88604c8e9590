"""The spend event: one immutable fact per end of a hold, and the decision record beside it.

Both are composed here, once, so that every store journals the same thing. Money is nano-USD until a
sink writes it as DECIMAL(18,9).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from spendgate.domain.hold import EventKind, Movement
from spendgate.domain.usage import TokenUsage

SCHEMA_VERSION = 2
"""Version 2 says of an adjustment who made it and why."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known of a call when its money is reserved; kept with the hold until its end."""

    attempt: int
    occurred_at: datetime
    scopes: Mapping[str, str]
    model_requested: str
    model: str
    upstream: str
    geo: str
    price_version: str
    decision: str
    budget_ids: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class AdjustmentNote:
    """Which adjustment an event belongs to, who made it and why."""

    adjustment_id: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What is known when a call has ended: its usage and its cost, or that they are unknown."""

    usage: TokenUsage | None = None
    cost_nano: int | None = None
    dbu_nano: int | None = None
    context_tier: str | None = None
    usage_source: str = "reserved"
    latency_ms: int | None = None
    note: AdjustmentNote | None = None


@dataclass(frozen=True, slots=True)
class SpendEvent:
    """One row of `spend_events`."""

    event_id: str
    hold_id: str
    kind: EventKind
    recorded_at: datetime
    facts: CallFacts
    charge: Charge
    reserved_nano: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One row of `decisions`: a refusal, a downgrade, or what a shadow budget would refuse."""

    decision_id: str
    occurred_at: datetime
    scopes: Mapping[str, str]
    model_requested: str
    decision: str
    code: str | None = None
    budget_id: str | None = None
    limit_nano: int | None = None
    spent_nano: int | None = None
    held_nano: int | None = None
    needed_nano: int | None = None
    suggested_model: str | None = None


def spend_event(
    hold_id: str,
    sequence: int,
    movement: Movement,
    facts: CallFacts,
    charge: Charge,
    reserved_nano: int,
    recorded_at: datetime,
) -> SpendEvent:
    """Compose the event of one movement; its id is `hold_id:sequence`, so a retry repeats it."""
    return SpendEvent(
        event_id=f"{hold_id}:{sequence}",
        hold_id=hold_id,
        kind=movement.kind,
        recorded_at=recorded_at,
        facts=facts,
        charge=charge,
        reserved_nano=reserved_nano,
        cost_nano=movement.spent_delta_nano,
    )
