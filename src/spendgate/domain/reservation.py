"""What a reservation asks of a ledger, and everything a ledger can answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from spendgate.domain.budget import BalanceKey, Claim
from spendgate.domain.decision import Balance, Candidate, Granted, Refused
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.hold import HoldState


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """Ask for one hold over all budgets that cover a call.

    `facts` is completed by the ledger with what was decided: the model served and the decision.
    """

    hold_id: str
    fingerprint: str
    claims: tuple[Claim, ...]
    candidates: Mapping[str, Candidate]
    model: str
    facts: CallFacts
    policy_version: int
    expires_at: datetime


def completed_facts(request: ReserveRequest, granted: Granted) -> CallFacts:
    """Return a call's facts, completed with what was decided: model, server, price, decision."""
    candidate, facts = granted.candidate, request.facts
    asked = facts.model, facts.upstream, facts.geo, facts.price_version, facts.decision
    decided = (
        candidate.model,
        facts.upstream if candidate.upstream is None else candidate.upstream,
        facts.geo if candidate.geo is None else candidate.geo,
        candidate.price_version,
        str(granted.decision),
    )
    if asked == decided:
        return facts  # as nearly always, and a copy takes longer than to see that
    model, upstream, geo, price_version, decision = decided
    return replace(
        facts,
        model=model,
        upstream=upstream,
        geo=geo,
        price_version=price_version,
        decision=decision,
    )


@dataclass(frozen=True, slots=True)
class AlreadyReserved:
    """This hold id exists with the same fingerprint: nothing moved again."""

    state: HoldState
    amount_nano: int
    charged_nano: int
    model: str


@dataclass(frozen=True, slots=True)
class FingerprintConflict:
    """This hold id exists for another request: nothing moved."""


@dataclass(frozen=True, slots=True)
class StalePolicy:
    """The policy has changed since the request was prepared: read it again and ask again."""

    version: int


Verdict = Granted | Refused | AlreadyReserved | FingerprintConflict | StalePolicy


@dataclass(frozen=True, slots=True)
class Settlement:
    """Settle one hold with what its call really cost; an unknown cost settles the full hold."""

    hold_id: str
    charge: Charge
    at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """How a settlement, void or expiry ended; `state` is None where there is no such hold.

    `balances` are those that it moved, and maybe others', as they were right after it; none where
    the ledger doesn't say.
    """

    hold_id: str
    state: HoldState | None
    charged_nano: int
    moved: bool
    is_overrun: bool = False
    balances: Mapping[BalanceKey, Balance] = field(
        default_factory=dict[BalanceKey, Balance], compare=False, repr=False
    )
