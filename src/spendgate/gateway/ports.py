"""What the gate needs from the outside; one adapter file implements each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from spendgate.domain.adjustment import Adjustment, AdjustmentOutcome, HoldRecord
from spendgate.domain.budget import BalanceRow, Budget, Claim, Policy, Raise
from spendgate.domain.decision import Position
from spendgate.domain.event import DecisionRecord, SpendEvent
from spendgate.domain.reservation import ReserveRequest, Settled, Settlement, Verdict
from spendgate.domain.retention import Collected
from spendgate.domain.revocation import Revocation
from spendgate.domain.scope import Scope
from spendgate.gateway.value_object import value_object

if TYPE_CHECKING:
    from spendgate.gateway.call_report import CallReport

Clock = Callable[[], datetime]
"""Answers the aware UTC time."""


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A numbered batch of the outbox; the number is the sink's transaction version."""

    number: int
    events: tuple[SpendEvent, ...]
    decisions: tuple[DecisionRecord, ...]
    is_last: bool = False
    """Whether all that waited is in it, so that what waits after it came later."""


class Ledger(Protocol):
    """The one place where money is held and spent; every verb is a batch and safe to repeat."""

    @property
    def ledger_id(self) -> str:
        """The ledger's own name, part of every exactly-once mark."""
        ...

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[Verdict]:
        """Admit or refuse each request in turn; a grant moves all of its balances or none."""
        ...

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Charge what calls cost; a hold that ended before is answered, not charged again."""
        ...

    def void(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Release holds whose calls never happened."""
        ...

    def expire(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Charge holds in full now: their calls' ends are unknown."""
        ...

    def sweep(self, at: datetime, limit: int = 500) -> int:
        """Expire holds that are past their time; return how many."""
        ...

    def adjust(self, adjustments: Sequence[Adjustment]) -> list[AdjustmentOutcome]:
        """Book corrections and spend from elsewhere; each moves all of its balances or none."""
        ...

    def hold_record(self, hold_id: str) -> HoldRecord | None:
        """Return a hold as it is now; None if there is none."""
        ...

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        """Remove what is older than `keep` and nobody needs; return how much that was.

        Never an open hold, nor an entry that the sink doesn't have. A hold id is forgotten with its
        hold: reserved again, it is a new one, and an end of it that comes later is answered as one
        of a hold that doesn't exist.
        """
        ...

    def record(self, decisions: Sequence[DecisionRecord]) -> None:
        """Journal refusals and downgrades."""
        ...

    def positions(self, claims: Sequence[Claim]) -> tuple[Position, ...]:
        """Return where budgets stand now, without locking anybody out."""
        ...

    def policy_version(self) -> int:
        """Return the policy's version, cheaply."""
        ...

    @property
    def policies(self) -> "PolicyStore":
        """The policy that this ledger enforces."""
        ...

    def balances(self) -> list[BalanceRow]:
        """Return every balance."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


class PolicyStore(Protocol):
    """A ledger's policy and its administration; each change raises the policy's version."""

    def policy(self) -> Policy:
        """Return the policy in force, all of one version."""
        ...

    def prices(self) -> list[str]:
        """Return the price rows over the shipped book as JSON, oldest first."""
        ...

    def put_price(self, row_json: str) -> None:
        """Append one dated price row over the shipped book."""
        ...

    def import_policy(self, policy: Policy) -> list[str]:
        """Replace the rows that the file owns; return the ids kept because people own them."""
        ...

    def put_budgets(self, budgets: Sequence[Budget]) -> None:
        """Insert or replace budgets, all or none."""
        ...

    def remove_budget(self, budget_id: str) -> bool:
        """Remove a budget and its raises; False if there was none."""
        ...

    def put_raise(self, raised: Raise) -> None:
        """Add a temporary raise."""
        ...

    def pause(self, scope: Scope, reason: str, at: datetime) -> None:
        """Refuse every call of a scope from now on."""
        ...

    def resume(self, scope: Scope) -> bool:
        """Lift a pause; False if there was none."""
        ...

    def revoke(self, revocation: Revocation) -> None:
        """Refuse a token, or all of a scope so far, from now on."""
        ...

    def revocations(self) -> list[Revocation]:
        """Return what is revoked."""
        ...


class Outbox(Protocol):
    """The journal as a feed for the sink."""

    def claim_batch(self, limit: int) -> EventBatch | None:
        """Return the open batch, or number a new one; None when all is delivered."""
        ...

    def confirm_batch(self, number: int) -> None:
        """Mark a batch as delivered."""
        ...


class SpendSink(Protocol):
    """Where events end up for SQL."""

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        """Append a batch exactly once, also when it is called again with the same number.

        Raises:
            SinkUnavailableError: if the sink can't take it now.
        """
        ...


@value_object
class UpstreamAnswer:
    """What a model server answered: any status, the parsed body if it was JSON."""

    status: int
    body: Mapping[str, object] | None
    retry_after_seconds: float | None = None
    is_key_renewed: bool = False
    """Whether the key was refused and another one may do; nothing was billed then."""


@dataclass(frozen=True, slots=True)
class UpstreamNotSent:
    """The request never reached the server: nothing can have been billed."""

    reason: str


@dataclass(frozen=True, slots=True)
class UpstreamLost:
    """The request was sent and its end is unknown: it may have been billed."""

    reason: str


UpstreamOutcome = UpstreamAnswer | UpstreamNotSent | UpstreamLost


class UpstreamStream(Protocol):
    """An answer of status 2xx that comes in pieces; whoever gets one closes it."""

    def read(self) -> "bytes | UpstreamLost | None":
        """Return the next bytes as they came, None at a clean end, or how the rest was lost."""
        ...

    def close(self) -> None:
        """Stop reading; also frees a `read` that is waiting."""
        ...


class Upstream(Protocol):
    """A model server, called once per hold."""

    @property
    def name(self) -> str:
        """The name that spend events carry."""
        ...

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Send one body to a route such as `chat/completions`; never retries."""
        ...

    def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome | UpstreamStream:
        """Send one body that asks for a stream; never retries.

        Whatever isn't a stream of status 2xx is read whole and returned as `call` does.
        """
        ...


class AsyncUpstreamStream(Protocol):
    """An UpstreamStream whose `read` is awaited."""

    async def read(self) -> "bytes | UpstreamLost | None":
        """Return the next bytes as they came, None at a clean end, or how the rest was lost."""
        ...

    def close(self) -> None:
        """Stop reading; also frees a `read` that is waiting."""
        ...


class AsyncUpstream(Protocol):
    """A model server, called once per hold, that keeps no thread while it answers."""

    @property
    def name(self) -> str:
        """The name that spend events carry."""
        ...

    async def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Send one body to a route such as `chat/completions`; never retries."""
        ...

    async def stream(
        self, route: str, body: Mapping[str, object]
    ) -> UpstreamOutcome | AsyncUpstreamStream:
        """Send one body that asks for a stream; never retries."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Telemetry(Protocol):
    """Those who watch; they neither hold a call up nor raise."""

    @property
    def is_watching(self) -> bool:
        """Whether anybody wants reports."""
        ...

    def answered(self, outcome: str, seconds: float) -> None:
        """Hear that a request was admitted, or why not, and how long that took."""
        ...

    def ended(self, report: "CallReport", seconds: float) -> None:
        """Hear how an attempt ended, and how long booking its end took."""
        ...


class TokenVerifier(Protocol):
    """Checks spend tokens."""

    def verify(self, token: str) -> "TokenClaims":
        """Return a token's claims.

        Raises:
            TokenError: if the token is forged, expired, or for another audience.
        """
        ...


class TokenMinter(Protocol):
    """Signs spend tokens."""

    def mint(self, claims: "TokenClaims", at: datetime) -> "tuple[str, TokenClaims]":
        """Return a new token for claims, and the claims with its id.

        Raises:
            TokenError: if nothing can be signed here, or these claims make no token.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a spend token vouches for, and which token it is.

    `token_ids` holds its own id last, after those of the tokens it was narrowed from. `minted_at`
    is when the first of them was made. `asserted` names what a bearer added by narrowing: it binds
    every call, but nobody vouches for it.
    """

    scopes: Mapping[str, str]
    tags: Mapping[str, str]
    models: tuple[str, ...] | None = None
    asserted: frozenset[str] = frozenset()
    token_ids: tuple[str, ...] = field(default=(), compare=False)
    minted_at: datetime | None = field(default=None, compare=False)
    expires_at: datetime | None = field(default=None, compare=False)


NO_CLAIMS = TokenClaims({}, {})
"""The claims of a call without a token."""
