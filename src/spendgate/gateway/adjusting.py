"""Adjustments in an operator's words: which budgets they are about, and what is told when refused.

The command line, the budgets API and webhooks of other meters build their adjustments here.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from spendgate.domain.adjustment import (
    EXTERNAL_USAGE,
    Adjustment,
    AdjustmentProblem,
    Booking,
    HoldRecord,
    NotAdjusted,
    Repricing,
    Transfer,
)
from spendgate.domain.budget import Budget, Claim, Policy
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import window_at
from spendgate.errors import InvalidRequestError

NO_MODEL = "adjustment"
"""What stands for the model in an entry that is about none."""
TEXT_CHARACTERS_MAX = 500
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}")


def adjustment(
    adjustment_id: str,
    change: Booking | Repricing | Transfer,
    said: Mapping[str, object],
    *,
    actor: str,
    reason: str,
    at: datetime,
) -> Adjustment:
    """Make an adjustment of a change.

    Args:
        adjustment_id: names it; the same id with the same `said` again changes nothing.
        change: what moves.
        said: what was asked for, as plain JSON; it tells a repeat from another adjustment.
        actor: who made it.
        reason: why.
        at: when it is recorded.

    Raises:
        InvalidRequestError: if id, actor or reason can't be kept.
    """
    if not _ID.fullmatch(adjustment_id):
        message = "the id must be 1 to 128 letters, digits or . _ : @ / + -, not a hold's with #"
        raise InvalidRequestError(message, "id")
    for name, text in (("by", actor), ("reason", reason)):
        if not text.strip() or not text.isprintable() or len(text) > TEXT_CHARACTERS_MAX:
            message = f"{name} must be 1 to {TEXT_CHARACTERS_MAX} printable characters"
            raise InvalidRequestError(message, name)
    canonical = json.dumps(dict(said), sort_keys=True)
    fingerprint = hashlib.sha256(canonical.encode()).hexdigest()
    return Adjustment(adjustment_id, fingerprint, change, actor, reason, at)


def booking(
    claims: tuple[Claim, ...],
    payer: Scope,
    amount_nano: int,
    at: datetime,
    *,
    model: str = NO_MODEL,
    upstream: str = "",
    charge: Charge | None = None,
    kind: EventKind = EventKind.CORRECTED,
) -> Booking:
    """Book an amount on the budgets of some claims; a negative one is a credit."""
    identity = payer.identity
    facts = CallFacts(
        attempt=1,
        occurred_at=at,
        scopes=identity.values,
        model_requested="",
        model=model,
        upstream=upstream,
        geo="",
        price_version="",
        decision="",
        budget_ids=tuple(claim.budget.budget_id for claim in claims),
        tags=identity.tags,
    )
    keys = tuple(claim.keys[0] for claim in claims)
    given = charge or Charge(usage_source=EXTERNAL_USAGE)
    return Booking(amount_nano, keys, facts, given, kind)


def claims_of_payer(policy: Policy, payer: Scope, at: datetime) -> tuple[Claim, ...]:
    """Return the budgets that cover a payer at a time.

    Raises:
        InvalidRequestError: if the payer isn't one, or nothing covers it.
    """
    _check_payer(payer)
    return _covered(policy.claims(payer.identity, at), payer)


def claim_of_budget(
    policy: Policy, budget_id: str, payer: Scope | None, at: datetime
) -> tuple[Claim, Scope]:
    """Return one budget's claim at a time, and who pays; a wildcard needs to be told who.

    Raises:
        InvalidRequestError: if there is no such budget, or it doesn't cover the payer.
    """
    budget = policy.budget(budget_id)
    if budget is None:
        known = ", ".join(one.budget_id for one in policy.budgets) or "none"
        raise InvalidRequestError(f"there is no budget {budget_id!r}; there are: {known}", "budget")
    who = payer or budget.scope
    if payer is None and budget.scope.wildcards:
        names = ",".join(f"{name}:NAME" for name in budget.scope.dimensions)
        message = f"budget {budget_id!r} covers {budget.scope.text}; say whose with --scope {names}"
        raise InvalidRequestError(message, "scope")
    _check_payer(who)
    bound = budget.scope.match(who.identity)
    if bound is None:
        message = f"budget {budget_id!r} covers {budget.scope.text}, not {who.text}"
        raise InvalidRequestError(message, "scope")
    return _claim(policy, budget, bound, at), who


def transfer(
    policy: Policy, hold_id: str, hold: HoldRecord, to: Scope
) -> tuple[Transfer, tuple[Claim, ...]]:
    """Let somebody else pay for a call: what `to` names replaces who paid, the rest stays.

    Raises:
        InvalidRequestError: if `to` has a wildcard, or no budget covers the new payer.
    """
    _check_payer(to)
    facts, given = hold.facts, to.identity
    identity = Identity({**facts.scopes, **given.values}, {**facts.tags, **given.tags})
    claims = _covered(policy.claims(identity, facts.occurred_at), to)
    moved = replace(
        facts,
        scopes=identity.values,
        tags=identity.tags,
        budget_ids=tuple(claim.budget.budget_id for claim in claims),
    )
    return Transfer(hold_id, tuple(claim.keys[0] for claim in claims), moved), claims


def claims_of_facts(policy: Policy, facts: CallFacts) -> tuple[Claim, ...]:
    """Return the budgets that a call was charged to, in its windows, as far as they still exist."""
    identity = Identity(facts.scopes, facts.tags)
    found = ((policy.budget(one), one) for one in facts.budget_ids)
    return tuple(
        _claim(policy, budget, bound, facts.occurred_at)
        for budget, _ in found
        if budget is not None and (bound := budget.scope.match(identity)) is not None
    )


def claims_to_show(policy: Policy, claims: Iterable[Claim], now: datetime) -> tuple[Claim, ...]:
    """Give claims the limit that holds now, or held last where their window is over.

    What is adjusted may have been spent under a raise that has expired since.
    """

    def last_instant(end: datetime | None) -> datetime:
        return now if end is None else min(now, end - timedelta(microseconds=1))

    return tuple(
        Claim(
            one.budget,
            one.scope,
            one.window,
            policy.limit(one.budget, last_instant(one.window.end)),
        )
        for one in claims
    )


def not_adjusted(refused: NotAdjusted, hold_id: str) -> InvalidRequestError:
    """Say why nothing moved, and what to do."""
    texts = {
        AdjustmentProblem.UNKNOWN_HOLD: (
            f"there is no hold {hold_id!r} in this ledger; hold ids are in spend_events.hold_id "
            "and end with #1, the attempt. For a call that is no longer kept use --credit or "
            "--charge with --at"
        ),
        AdjustmentProblem.IN_FLIGHT: (
            f"hold {hold_id!r} is in flight; adjust it once its call has ended or it has expired"
        ),
        AdjustmentProblem.UNCHANGED: f"hold {hold_id!r} is so already: nothing would change",
        AdjustmentProblem.BELOW_ZERO: (
            f"{refused.detail}; credit at most what was spent in that window (--at names another), "
            "or give more with `spendgate budget raise`"
        ),
        AdjustmentProblem.CONFLICT: f"id {refused.adjustment_id!r}: {refused.detail}",
    }
    return InvalidRequestError(texts[refused.problem])


def _check_payer(payer: Scope) -> None:
    if payer.wildcards:
        message = f"{payer.text}: name who pays, such as agent:triage-bot; * is no payer"
        raise InvalidRequestError(message, "scope")


def _covered(claims: tuple[Claim, ...], payer: Scope) -> tuple[Claim, ...]:
    if not claims:
        message = f"no budget covers {payer.text}; `spendgate budget list` shows what there is"
        raise InvalidRequestError(message, "scope")
    return claims


def _claim(policy: Policy, budget: Budget, bound: Scope, at: datetime) -> Claim:
    window = window_at(budget.window, budget.tz, at)
    return Claim(budget, bound, window, policy.limit(budget, at))
