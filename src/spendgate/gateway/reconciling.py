"""What the platform's own tables say of calls: evidence for open ends, and spend around the gate.

The books of both are kept by the ledger alone: an end by the hold's id, a booking by an id made of
what it is about. So a run that is repeated books nothing twice, and one that finds more corrects
what was booked by the difference.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from spendgate.domain.adjustment import (
    EXTERNAL_USAGE,
    Adjusted,
    Adjustment,
    AdjustmentProblem,
    NotAdjusted,
    Repricing,
)
from spendgate.domain.budget import Policy
from spendgate.domain.event import Charge
from spendgate.domain.hold import EventKind
from spendgate.domain.price import PriceBook, UnpricedModelError
from spendgate.domain.reservation import Settlement
from spendgate.domain.scope import PRINCIPAL, Dimension, Scope, ScopeError, checked_value
from spendgate.domain.usage import TokenUsage, UsageError
from spendgate.gateway.adjusting import adjustment, booking
from spendgate.gateway.charging import COST_NANO_MAX
from spendgate.gateway.ports import Ledger

ACTOR = "job:reconcile"
BYPASS_PREFIX = "bypass/"
"""What the ids of bookings for calls around the gate begin with."""
NOT_BILLED = frozenset({400, 401, 403, 404, 413, 422, 429})
"""Answers for which no provider bills: the table of outcomes of a call says the same."""

_SERVICE_PRINCIPAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SeenCall:
    """One call as the platform's usage tables list it; tokens are None where it doesn't know."""

    request_id: str
    workspace_id: str
    client_request_id: str | None
    requested_at: datetime
    endpoint: str
    model: str | None
    requester: str | None
    status_code: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    context: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_billed(self) -> bool:
        """Whether the provider may have billed it."""
        return 200 <= self.status_code < 300

    @property
    def usage(self) -> TokenUsage | None:
        """Its tokens in inclusive buckets; None where they are unknown or make no sense.

        The platform's tables don't say whether the input contains what a cache had: more of that
        than of input shows that it doesn't.
        """
        if self.input_tokens is None or self.output_tokens is None:
            return None
        read, written = self.cache_read_tokens or 0, self.cache_write_tokens or 0
        is_apart = read + written > self.input_tokens
        whole = self.input_tokens + (read + written if is_apart else 0)
        if whole == 0:
            return None  # no call is without input
        try:
            return TokenUsage(
                whole,
                self.output_tokens,
                cache_read_tokens=read,
                cache_write_tokens=written,
                reasoning_tokens=min(self.reasoning_tokens or 0, self.output_tokens),
            )
        except UsageError:
            return None


@dataclass(frozen=True, slots=True)
class Payers:
    """How calls around the gate are laid at somebody's door.

    Args:
        scopes: who pays for a requester, such as `{"3f…": Scope agent:triage-bot}`.
        must_be_vouched: whether only the platform's word counts for org, team, agent and user.
    """

    scopes: Mapping[str, Scope] = field(default_factory=dict[str, Scope])
    must_be_vouched: bool = False

    def of(self, call: SeenCall) -> Scope:
        """Return who pays: what the call says, then who made it, then what is set up for them."""
        said = {
            name.value: value
            for name in Dimension
            if not (self.must_be_vouched and name in PRINCIPAL)
            and (value := _usable(call.context.get(name) or call.context.get(f"{name}_id")))
        }
        if who := _usable(call.requester):
            kind = Dimension.AGENT if _SERVICE_PRINCIPAL.fullmatch(who) else Dimension.USER
            # The platform vouches for a user; a service principal may be many agents.
            said = {kind.value: who, **said} if kind is Dimension.AGENT else {**said, "user": who}
        known = self.scopes.get(call.requester or "")
        return Scope.of({**said, **(dict(known.parts) if known else {})})


@dataclass(slots=True)
class BypassSum:
    """Calls of one requester and context to one endpoint in one hour, around the gate."""

    workspace_id: str
    hour: datetime
    endpoint: str
    requester: str | None
    payer: Scope
    context: Mapping[str, str]
    requests: int = 0
    cost_nano: int = 0
    dbu_nano: int | None = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def booking_id(self) -> str:
        """The id of its booking: of what was seen, not of who is held to pay for it."""
        seen = [
            self.workspace_id,
            self.hour.isoformat(),
            self.endpoint,
            self.requester,
            sorted(self.context.items()),
        ]
        return BYPASS_PREFIX + hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:32]

    def add(self, charge: Charge, usage: TokenUsage) -> None:
        """Add a call that was priced."""
        self.requests += 1
        self.cost_nano += charge.cost_nano or 0
        if self.dbu_nano is not None:
            self.dbu_nano = None if charge.dbu_nano is None else self.dbu_nano + charge.dbu_nano
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens


@dataclass(slots=True)
class Booked:
    """What a run has booked."""

    settled: int = 0
    """Holds whose open end was closed by evidence."""
    freed_nano: int = 0
    """What that gave back; negative if the evidence was above what was charged."""
    too_late: int = 0
    """Holds with evidence that the ledger no longer keeps."""
    charged: int = 0
    """Bookings of calls around the gate."""
    corrected: int = 0
    """Bookings that were changed, because more was found."""
    bypass_nano: int = 0
    """What both added to spend."""
    uncovered: int = 0
    """Bookings that no budget covers."""
    problems: list[str] = field(default_factory=list[str])


def price_of(call: SeenCall, book: PriceBook, geo: str, *, at: datetime) -> Charge | None:
    """Price a call by the tokens that the platform counted; None where they are unknown.

    Raises:
        UnpricedModelError: if the book has no price for the model.
    """
    usage = call.usage
    if usage is None:
        return None
    names = (call.endpoint, call.model or call.endpoint)
    model = next((name for name in names if book.has(name, at)), call.endpoint)
    priced, row = usage, book.price_for(model, geo=geo, at=at)
    if row is not None and row.caches_implicitly and call.cache_write_tokens is None:
        # How much was written is unknown, and writes cost more: never less than was billed.
        priced = replace(usage, cache_read_tokens=0, cache_write_tokens=usage.input_tokens)
    cost = book.cost(model, priced, at=at, geo=geo)
    if cost.total_nano > COST_NANO_MAX:
        return None
    return Charge(
        usage=usage,
        cost_nano=cost.total_nano,
        dbu_nano=cost.dbu_nano,
        context_tier=cost.context_tier,
        usage_source=EXTERNAL_USAGE,
    )


def close_open_ends(
    ledger: Ledger, calls: Iterable[SeenCall], book: PriceBook, geo: str, at: datetime
) -> Booked:
    """Settle holds that were charged in full by what the platform counted of their calls.

    An answer for which nobody bills is evidence too. A missing row, or one without tokens, is none.
    """
    booked = Booked()
    for call in calls:
        hold_id = str(call.client_request_id)
        hold = ledger.hold_record(hold_id)
        if hold is None:
            booked.too_late += 1
            continue
        priced_at, model = hold.facts.occurred_at, hold.facts.model
        try:
            charge = _evidence(
                replace(call, endpoint=model), book, hold.facts.geo or geo, priced_at
            )
        except UnpricedModelError as error:
            booked.problems.append(f"hold {hold_id} stays charged in full: {error}")
            continue
        if charge is None:
            continue
        before = hold.amounts.charged_nano
        if _is_closed(ledger, hold_id, charge, at):
            booked.settled += 1
            booked.freed_nano += before - (charge.cost_nano or 0)
    return booked


def book_bypass(ledger: Ledger, policy: Policy, sums: Sequence[BypassSum], at: datetime) -> Booked:
    """Charge calls around the gate to the budgets that cover them, once; more is added later."""
    booked = Booked()
    for one in sums:
        claims = policy.claims(one.payer.identity, one.hour)
        booked.uncovered += not claims
        known = ledger.hold_record(one.booking_id)
        if known is not None:
            delta = one.cost_nano - known.amounts.charged_nano
            made = _repricing(one, at) if delta else None
        else:
            delta = one.cost_nano
            usage = TokenUsage(one.input_tokens, one.output_tokens)
            charge = Charge(usage, one.cost_nano, one.dbu_nano, usage_source=EXTERNAL_USAGE)
            change = booking(
                claims,
                one.payer,
                one.cost_nano,
                one.hour,
                model=one.endpoint,
                charge=charge,
                kind=EventKind.EXTERNAL,
            )
            made = _adjustment(one.booking_id, change, one, at)
        if made is None:
            continue
        (outcome,) = ledger.adjust([made])
        if isinstance(outcome, Adjusted):
            if outcome.moved:
                booked.bypass_nano += delta
                booked.charged += known is None
                booked.corrected += known is not None
        elif outcome.problem is not AdjustmentProblem.UNCHANGED:
            booked.problems.append(_refused(outcome, one))
    return booked


def payers_of(texts: Mapping[str, str], *, must_be_vouched: bool) -> Payers:
    """Read who pays for which requester.

    Raises:
        ScopeError: if a scope can't be read, or names no one.
    """
    scopes = {requester: Scope.parse(text) for requester, text in texts.items()}
    for requester, scope in scopes.items():
        if scope.wildcards or not scope.parts:
            raise ScopeError(f"{requester!r} must be given one payer, such as agent:triage-bot")
    return Payers(scopes, must_be_vouched)


def hour_start(at: datetime) -> datetime:
    """Return the start of the UTC hour of a time."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _usable(value: str | None) -> str | None:
    try:
        return checked_value("value", value)
    except ScopeError:
        return None


def _evidence(call: SeenCall, book: PriceBook, geo: str, at: datetime) -> Charge | None:
    if call.status_code in NOT_BILLED:
        return Charge(cost_nano=0, usage_source=EXTERNAL_USAGE)
    return price_of(call, book, geo, at=at) if call.is_billed else None


def _is_closed(ledger: Ledger, hold_id: str, charge: Charge, at: datetime) -> bool:
    (settled,) = ledger.settle([Settlement(hold_id, charge, at)])
    if settled.moved:
        return True
    # Settled before, at the full hold because its answer had no usage: evidence reprices it.
    change = Repricing(hold_id, charge.cost_nano or 0)
    digest = hashlib.sha256(hold_id.encode()).hexdigest()[:32]
    reason = "usage found in the platform's tables"
    made = adjustment(
        f"evidence/{digest}",
        change,
        {"hold_id": hold_id, "cost_nano": change.cost_nano},
        actor=ACTOR,
        reason=reason,
        at=at,
    )
    (outcome,) = ledger.adjust([made])
    return isinstance(outcome, Adjusted) and outcome.moved


def _repricing(one: BypassSum, at: datetime) -> Adjustment:
    # Absolute, so that two runs at once add up to what is there; each change has a time of its own.
    name = f"{one.booking_id}@{at:%Y%m%dT%H%M%S%f}:{one.cost_nano}"
    return _adjustment(name, Repricing(one.booking_id, one.cost_nano), one, at)


def _adjustment(name: str, change: object, one: BypassSum, at: datetime) -> Adjustment:
    said = {"booking": one.booking_id}  # not what it costs: another run may have found more
    reason = f"{one.requests} calls to {one.endpoint} around the gate"
    return adjustment(name, change, said, actor=ACTOR, reason=reason, at=at)  # type: ignore[arg-type] - one of its changes


def _refused(outcome: NotAdjusted, one: BypassSum) -> str:
    what = f"{one.endpoint} at {one.hour.isoformat()} by {one.requester}"
    return f"calls around the gate weren't booked ({what}): {outcome.problem} {outcome.detail}"
