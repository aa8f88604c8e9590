"""What would happen to a request, and why: the decision without its effects."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from spendgate.domain.decision import Granted, Refused, decide_at
from spendgate.domain.money import format_usd
from spendgate.domain.scope import Dimension
from spendgate.gateway.admission import Prepared
from spendgate.gateway.json_object import json_object
from spendgate.gateway.ports import Ledger, TokenClaims, TokenMinter
from spendgate.gateway.reply import budget_object
from spendgate.gateway.reserving import distance

TOKEN_SECONDS = 60


def explained(prepared: Prepared, ledger: Ledger) -> dict[str, object]:
    """Decide a prepared call against the balances as they are, moving nothing."""
    positions = ledger.positions(prepared.claims)
    refusals: list[tuple[Prepared, Refused]] = []
    for model in prepared.choices:
        asking = prepared.asking(model)
        verdict = decide_at(positions, asking.request.candidates, model)
        if isinstance(verdict, Granted):
            return _explained(asking, verdict)
        refusals.append((asking, verdict))
    return _explained(*min(refusals, key=lambda one: distance(one[1])))


def vouched(
    own: Mapping[str, object], minter: TokenMinter | None, at: datetime
) -> dict[str, object]:
    """Vouch for who pays as the operator who holds the key may; without a key it is asserted."""
    tags = {str(name): str(value) for name, value in json_object(own.get("tags")).items()}
    scopes = {one.value: str(own[one.value]) for one in Dimension if own.get(one.value) is not None}
    if "spend_token" in own or minter is None or not scopes:
        return dict(own)
    ends = at + timedelta(seconds=TOKEN_SECONDS)
    token, _ = minter.mint(TokenClaims(scopes, tags, expires_at=ends), at)
    return {**own, "spend_token": token}


def _explained(prepared: Prepared, verdict: Granted | Refused) -> dict[str, object]:
    request = prepared.request
    shown: dict[str, object] = {
        "model_requested": prepared.call.model,
        "identity": dict(request.facts.scopes),
        "trusted": sorted(prepared.caller.identity.trusted),
        "budgets": [
            budget_object(one) | {"carried_usd": format_usd(one.carried_nano)}
            for one in verdict.positions
        ],
        "models_in_turn": list(prepared.plan.models),
        "candidates": [
            {
                "model": one.model,
                "upstream": one.upstream,
                "worst_case_usd": format_usd(one.amount_nano(one.tokens_wanted)),
                "expected_usd": format_usd(one.expected_nano),
                "max_tokens": one.tokens_wanted,
            }
            for one in request.candidates.values()
        ],
    }
    if isinstance(verdict, Granted):
        return shown | {
            "decision": verdict.decision.value,
            "model_served": verdict.candidate.model,
            "max_tokens_granted": verdict.tokens,
            "would_hold_usd": format_usd(verdict.amount_nano),
            "tools_disabled": list(verdict.tools_disabled),
        }
    return shown | {
        "decision": "refuse",
        "code": verdict.code.value,
        "budget_id": verdict.binding.claim.budget.budget_id,
        "needed_usd": format_usd(verdict.needed_nano),
        "needed_for_model": verdict.model,
        "suggested_model": prepared.offers.suggestion(
            verdict.positions, (request.model, verdict.model), prepared.caller.models
        ),
    }
