"""The first half of a call: who pays, may it start, and what exactly is sent upstream.

Splitting a call into `admit` and `finish` lets any host, threaded or asynchronous, make the model
call in between as it likes; the money is safe from the moment `admit` returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from spendgate.domain.budget import Claim
from spendgate.domain.decision import Granted
from spendgate.domain.event import CallFacts
from spendgate.domain.reservation import ReserveRequest
from spendgate.errors import ForbiddenError
from spendgate.gateway.identity import Caller
from spendgate.gateway.offer import Offers
from spendgate.gateway.reply import SpendNote
from spendgate.gateway.rules import Rules
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import Call, Host


@dataclass(frozen=True, slots=True)
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

    is_large: bool = False
    """Whether looking at the body takes long enough to keep others waiting."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A checked call, who pays for it, and when it came: what no policy changes."""

    call: Call
    caller: Caller
    request_id: str
    at: datetime

    @property
    def note(self) -> SpendNote:
        """The `spend` object as far as it is known before the decision."""
        return SpendNote(self.request_id, decision="refuse", model_requested=self.call.model)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that is ready to ask for its money."""

    arrival: Arrival
    rules: Rules
    claims: tuple[Claim, ...]
    offers: Offers
    request: ReserveRequest

    @property
    def call(self) -> Call:
        """The request itself."""
        return self.arrival.call

    @property
    def caller(self) -> Caller:
        """Who pays."""
        return self.arrival.caller

    def with_attempt(self, attempt: int) -> "Prepared":
        """Return the same call as another attempt: each may be billed, so each has its own hold."""
        facts = replace(self.request.facts, attempt=attempt)
        hold_id = f"{self.arrival.request_id}#{attempt}"
        return replace(self, request=replace(self.request, hold_id=hold_id, facts=facts))


@dataclass(frozen=True, slots=True)
class Admission:
    """A call whose money is held: send `body`, then finish, whatever happens."""

    prepared: Prepared
    granted: Granted
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


def prepare(arrival: Arrival, rules: Rules, upstream: str, terms: Terms) -> Prepared:
    """Match budgets and price the call.

    Raises:
        ForbiddenError: if the model isn't allowed, the scope is paused, no budget covers the call,
            or the model has no price.
        InvalidRequestError: if the call can't be bounded.
    """
    call, caller, at = arrival.call, arrival.caller, arrival.at
    identity = caller.identity
    if caller.models is not None and call.model not in caller.models:
        raise ForbiddenError("model_forbidden", "the token doesn't allow this model", "model")
    paused = rules.policy.paused_scope(identity)
    if paused is not None:
        raise ForbiddenError("scope_paused", f"{paused.text} is paused by an operator")
    claims = rules.policy_for(identity).claims(identity, at)
    if not claims and rules.policy.defaults.unmatched != "allow":
        scopes = ", ".join(f"{name}:{value}" for name, value in identity.values.items())
        raise ForbiddenError("no_budget", f"no budget covers this call ({scopes})")
    offers = Offers(call, rules.policy, rules.book, at, terms)
    candidates = offers.along_chains(call.model, claims)
    if candidates is None:
        raise ForbiddenError(
            "model_not_priced", "the model has no price, so it has no bound", "model"
        )
    if caller.models is not None:
        candidates = {name: one for name, one in candidates.items() if name in caller.models}
    facts = CallFacts(
        attempt=1,
        occurred_at=at,
        scopes=dict(identity.values),
        model_requested=call.model,
        model=call.model,
        upstream=upstream,
        geo=terms.geo,
        price_version=candidates[call.model].price_version,
        decision="allow",
        budget_ids=tuple(claim.budget.budget_id for claim in claims),
        tags=dict(identity.tags),
    )
    is_keyed = call.idempotency_key is not None
    request = ReserveRequest(
        hold_id=f"{arrival.request_id}#1",
        # Only a client's key can meet another body; our own ids name one call each.
        fingerprint=call.fingerprint() if is_keyed else arrival.request_id,
        claims=claims,
        candidates=candidates,
        model=call.model,
        facts=facts,
        policy_version=rules.policy.version,
        expires_at=at + timedelta(seconds=terms.hold_seconds),
    )
    return Prepared(arrival, rules, claims, offers, request)
