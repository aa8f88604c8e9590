"""Decision records: what the gate refused, downgraded, or would have refused."""

from spendgate.domain.budget import Mode
from spendgate.domain.decision import Decision, Granted, Refused, is_soft
from spendgate.domain.event import DecisionRecord
from spendgate.gateway.admission import Arrival, Prepared

REFUSE = "refuse"
SHADOW = "shadow"


def forbidden_record(
    arrival: Arrival, code: str, *, decision: str = REFUSE, budget_id: str | None = None
) -> DecisionRecord:
    """Record a call that was refused before any budget was asked for its money."""
    return DecisionRecord(
        decision_id=_decision_id(arrival, decision),
        occurred_at=arrival.at,
        scopes=dict(arrival.caller.identity.values),
        model_requested=arrival.call.model,
        decision=decision,
        code=code,
        budget_id=budget_id,
    )


def refusal_record(
    prepared: Prepared, refused: Refused, suggested_model: str | None, decision: str = REFUSE
) -> DecisionRecord:
    """Record a budget's refusal, or with `shadow` what a shadow budget would have refused."""
    facts = prepared.request.facts
    binding = refused.binding
    return DecisionRecord(
        decision_id=_decision_id(prepared.arrival, decision),
        occurred_at=facts.occurred_at,
        scopes=facts.scopes,
        model_requested=facts.model_requested,
        decision=decision,
        code=refused.code.value,
        budget_id=binding.claim.budget.budget_id,
        limit_nano=binding.limit_nano,
        spent_nano=binding.spent_nano,
        held_nano=binding.held_nano,
        needed_nano=refused.needed_nano,
        suggested_model=suggested_model,
    )


def downgrade_record(prepared: Prepared, granted: Granted) -> DecisionRecord:
    """Record that a cheaper model served the call, and the budget whose soft cap asked for it."""
    facts = prepared.request.facts
    model = prepared.request.model
    requested = prepared.request.candidates[model]
    asking = next(
        p
        for p in granted.positions
        if p.claim.budget.mode is Mode.ENFORCE
        and p.claim.budget.step_from(model) is not None
        and is_soft(p, requested)
    )
    return DecisionRecord(
        decision_id=_decision_id(prepared.arrival, Decision.DOWNGRADE),
        occurred_at=facts.occurred_at,
        scopes=facts.scopes,
        model_requested=facts.model_requested,
        decision=Decision.DOWNGRADE.value,
        budget_id=asking.claim.budget.budget_id,
        limit_nano=asking.limit_nano,
        spent_nano=asking.spent_nano,
        held_nano=asking.held_nano,
        needed_nano=granted.amount_nano,
        suggested_model=granted.candidate.model,
    )


def _decision_id(arrival: Arrival, decision: str) -> str:
    """Name a decision after its request, which the caller knows; each try of a key is one."""
    return f"{arrival.request_id}:{decision}:{arrival.at:%Y%m%dT%H%M%S%f}"
