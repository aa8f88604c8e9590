"""The first half of a call: who pays, may it start, and what exactly is sent upstream.

Splitting a call into `admit` and `finish` lets any host, threaded or asynchronous, make the model
call in between as it likes; the money is safe from the moment `admit` returns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta

from spendgate.domain.budget import Claim, Policy
from spendgate.domain.decision import Granted
from spendgate.domain.event import CallFacts
from spendgate.domain.reservation import ReserveRequest
from spendgate.domain.scope import Identity
from spendgate.domain.upstream import UpstreamSpec
from spendgate.errors import ForbiddenError
from spendgate.gateway.attempts import Failure, Plan
from spendgate.gateway.identity import Caller
from spendgate.gateway.offer import Offers
from spendgate.gateway.reply import FailedAttempt, SpendNote
from spendgate.gateway.routing import check_allowed, with_models
from spendgate.gateway.rules import Rules
from spendgate.gateway.terms import Terms
from spendgate.gateway.value_object import value_object
from spendgate.gateway.wire import Call, Host

HOLD_MARGIN_SECONDS = 30.0
"""How much longer a hold lives than its call may take."""

_DATABRICKS_ONLY = frozenset({"usage_context", "client_request_id"})
"""Fields of ours that other model servers may refuse."""


@value_object
class Incoming:
    """A request as a host hands it over; header names are in lower case."""

    route: str
    body: Mapping[str, object]
    host: Host
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    vouched: Mapping[str, str] | None = None
    """What the platform says about the caller; None where it isn't asked."""

    may_stream: bool = False
    """Whether this way of the host can answer in pieces."""

    body_bytes: int = 0
    """How large the body came; looking at a large one keeps others waiting."""

    reserves_only: bool = False
    """Whether the caller calls the model itself, and only the money is held here."""


@value_object
class Arrival:
    """A checked call, who pays for it, and when it came: what no policy changes."""

    call: Call
    caller: Caller
    request_id: str
    at: datetime
    attempt: int = 1
    tried: tuple[Failure, ...] = ()
    """How earlier attempts failed, for the planner; `failed` says what they cost."""

    failed: tuple[FailedAttempt, ...] = ()
    reserves_only: bool = False

    @property
    def note(self) -> SpendNote:
        """The `spend` object as far as it is known before the decision."""
        return SpendNote(
            self.request_id,
            decision="refuse",
            model_requested=self.call.model,
            failed_attempts=self.failed,
        )


@value_object
class Prepared:
    """A call that is ready to ask for its money."""

    arrival: Arrival
    rules: Rules
    claims: tuple[Claim, ...]
    offers: Offers
    plan: Plan
    terms: Terms
    request: ReserveRequest
    is_unheld: bool = False
    """Whether it goes out without a hold, because the ledger is away."""

    @property
    def call(self) -> Call:
        """The request itself."""
        return self.arrival.call

    @property
    def caller(self) -> Caller:
        """Who pays."""
        return self.arrival.caller

    @property
    def choices(self) -> tuple[str, ...]:
        """The models to ask money for in turn, until one is granted."""
        is_routed = self.rules.policy.router.routes(self.call.model)
        return self.plan.models if is_routed else self.plan.models[:1]

    def asking(self, model: str) -> "Prepared":
        """Return the same call asking for another model's money.

        Raises:
            ForbiddenError: if the model has no price.
        """
        request = _request(
            self.arrival, self.rules, self.claims, self.offers, self.plan, self.terms, model
        )
        asking = replace(self, request=request)
        return asking.with_attempt(self.request.facts.attempt)

    def with_attempt(self, attempt: int) -> "Prepared":
        """Return the same call as another attempt: each may be billed, so each has its own hold."""
        facts = replace(self.request.facts, attempt=attempt)
        hold_id = f"{self.arrival.request_id}#{attempt}"
        return replace(self, request=replace(self.request, hold_id=hold_id, facts=facts))


@value_object
class Admission:
    """A call whose money is held: send `body`, then finish, whatever happens."""

    prepared: Prepared
    granted: Granted
    server: UpstreamSpec
    body: Mapping[str, object]

    @property
    def hold_id(self) -> str:
        """The hold that pays for this attempt."""
        return self.prepared.request.hold_id

    @property
    def max_tokens_source(self) -> str:
        """Where the granted number comes from."""
        if self.granted.tokens < self.granted.candidate.tokens_wanted:
            return "fit"
        return "default" if self.prepared.call.max_tokens is None else "client"

    @property
    def callers_body(self) -> dict[str, object]:
        """The granted request for a caller that sends it itself, to whichever model's API."""
        asked = self.prepared.call.body
        return {k: v for k, v in self.body.items() if k not in _DATABRICKS_ONLY or k in asked}


def prepare(arrival: Arrival, rules: Rules, default: UpstreamSpec | None, terms: Terms) -> Prepared:
    """Match budgets, choose models and servers, and price the call.

    Args:
        arrival: the call.
        rules: policy and prices.
        default: the server of models that the policy names none for.
        terms: how calls are priced and held.

    Raises:
        ForbiddenError: if the model isn't allowed or served, the scope is paused, no budget covers
            the call, or the model has no price.
        InvalidRequestError: if the call can't be bounded.
    """
    call, caller, policy = arrival.call, arrival.caller, rules.policy
    router = policy.router
    if not router.routes(call.model):
        check_allowed(call.model, caller)
    paused = policy.paused_scope(caller.identity)
    if paused is not None:
        raise ForbiddenError("scope_paused", f"{paused.text} is paused by an operator")
    claims = rules.claims(caller.identity, arrival.at)
    if not claims and policy.defaults.unmatched != "allow":
        raise _no_budget(policy, caller.identity, arrival.at)
    default = _told_apart(default, policy.upstreams)
    plan = Plan((), policy.upstreams, router.retries, arrival.tried, default)
    offers = Offers(call, rules, claims, arrival.at, terms, plan.upstream_for)
    plan = with_models(plan, call.model, router, caller, offers)
    request = _request(arrival, rules, claims, offers, plan, terms, plan.models[0])
    return Prepared(arrival, rules, claims, offers, plan, terms, request)


def _no_budget(policy: Policy, identity: Identity, at: datetime) -> ForbiddenError:
    """Say what the call names, and what it would have to name otherwise or besides.

    Of values only those are told that the call has but for their case: others are somebody's.
    """
    named = ", ".join(f"{name}:{value}" for name, value in identity.values.items())
    message = f"no budget covers this call ({named})"
    binding = [one for one in policy.budgets if one.expires_at is None or at < one.expires_at]
    respelt = [parts for one in binding if (parts := one.scope.respelt(identity))]
    lacking = [one.scope.lacking(identity) for one in binding]
    nearest = min((names for names in lacking if names), key=len, default=None)
    if respelt:
        parts = " and ".join(f"{name}:{value}" for name, value in min(respelt, key=len))
        message += f"; a budget has {parts}; values are case-sensitive"
    elif nearest is not None:
        message += f"; the nearest one also asks for {' and '.join(nearest)}: name it"
    return ForbiddenError("no_budget", message)


def _told_apart(
    default: UpstreamSpec | None, named: tuple[UpstreamSpec, ...]
) -> UpstreamSpec | None:
    """Return the host's own server, under another name where the policy has taken it."""
    if default is not None and any(one.name == default.name for one in named):
        return replace(default, name=f"{default.name} (--upstream)")
    return default


def _request(
    arrival: Arrival,
    rules: Rules,
    claims: tuple[Claim, ...],
    offers: Offers,
    plan: Plan,
    terms: Terms,
    model: str,
) -> ReserveRequest:
    call, caller = arrival.call, arrival.caller
    candidates = offers.along_chains(model, claims)
    if candidates is None:
        raise ForbiddenError(
            "model_not_priced",
            "the model has no price, so it has no bound; add one with `spendgate price set`, or "
            "choose a model that has one",
            "model",
        )
    if caller.models is not None:
        candidates = {name: one for name, one in candidates.items() if name in caller.models}
    first = candidates[model]
    facts = CallFacts(
        attempt=arrival.attempt,
        occurred_at=arrival.at,
        scopes=dict(caller.identity.values),
        model_requested=call.model,
        model=model,
        upstream=first.upstream or "",
        geo=first.geo or terms.geo,
        price_version=first.price_version,
        decision="allow",
        budget_ids=tuple([claim.budget.budget_id for claim in claims]),
        tags=dict(caller.identity.tags),
    )
    is_keyed = call.idempotency_key is not None
    return ReserveRequest(
        hold_id=f"{arrival.request_id}#{arrival.attempt}",
        # Only a client's key can meet another body; our own ids name one call each.
        fingerprint=call.fingerprint() if is_keyed else arrival.request_id,
        claims=claims,
        candidates=candidates,
        model=model,
        facts=facts,
        policy_version=rules.policy.version,
        expires_at=arrival.at + timedelta(seconds=_hold_seconds(candidates, plan, terms)),
    )


def _hold_seconds(candidates: Iterable[str], plan: Plan, terms: Terms) -> float:
    """Return a hold's life: longer than its call may take on the slowest of its servers."""
    servers = (plan.upstream_for(model) for model in candidates)
    limits = [one.timeout_seconds for one in servers if one is not None and one.timeout_seconds]
    return max([terms.hold_seconds, *(limit + HOLD_MARGIN_SECONDS for limit in limits)])
