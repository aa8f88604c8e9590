"""All that a ledger knows, as plain dicts behind one lock: a commit is the swap of one reference.

A write works on a copy, so that a batch which fails in the middle leaves nothing behind.
"""

import threading
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from spendgate.domain.adjustment import Adjusted, Adjustment
from spendgate.domain.budget import BalanceKey, Budget, ModelLimits, PolicyDefaults, Raise
from spendgate.domain.decision import Balance
from spendgate.domain.event import CallFacts, DecisionRecord, SpendEvent
from spendgate.domain.hold import HoldState
from spendgate.domain.revocation import Revocation
from spendgate.domain.upstream import Router, UpstreamSpec
from spendgate.gateway.ports import EventBatch

_ZERO = Balance()


@dataclass(frozen=True, slots=True)
class MemoryHold:
    """One hold with the balances that it moves."""

    fingerprint: str
    amount_nano: int
    keys: tuple[BalanceKey, ...]
    facts: CallFacts
    expires_at: datetime
    state: HoldState = HoldState.HELD
    charged_nano: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One event with the balances that it moved."""

    event: SpendEvent
    keys: tuple[BalanceKey, ...]


@dataclass(frozen=True, slots=True)
class PolicyRows:
    """The policy's rows; a change makes a new one, so that two can be compared."""

    budgets: dict[str, Budget] = field(default_factory=dict[str, Budget])
    raises: dict[str, Raise] = field(default_factory=dict[str, Raise])
    pauses: dict[str, tuple[str, datetime]] = field(default_factory=dict[str, tuple[str, datetime]])
    revocations: dict[str, Revocation] = field(default_factory=dict[str, Revocation])
    prices: tuple[str, ...] = ()
    models: dict[str, ModelLimits] = field(default_factory=dict[str, ModelLimits])
    defaults: PolicyDefaults = field(default_factory=PolicyDefaults)
    upstreams: tuple[UpstreamSpec, ...] = ()
    router: Router = field(default_factory=Router)


@dataclass(slots=True)
class MemoryState:
    """One committed state, or the draft of the next."""

    ledger_id: str
    policy: PolicyRows = field(default_factory=PolicyRows)
    policy_version: int = 1
    balances: dict[BalanceKey, Balance] = field(default_factory=dict[BalanceKey, Balance])
    holds: dict[str, MemoryHold] = field(default_factory=dict[str, MemoryHold])
    adjustments: dict[str, tuple[Adjustment, Adjusted]] = field(
        default_factory=dict[str, tuple[Adjustment, Adjusted]]
    )
    journal: list[JournalEntry] = field(default_factory=list[JournalEntry])
    decisions: list[DecisionRecord] = field(default_factory=list[DecisionRecord])
    batches: list[EventBatch] = field(default_factory=list[EventBatch])
    delivered: set[int] = field(default_factory=set[int])
    touched: dict[BalanceKey, datetime] = field(default_factory=dict[BalanceKey, datetime])
    carried: dict[BalanceKey, int] = field(default_factory=dict[BalanceKey, int])
    """What collected entries had added to each balance, nano-USD."""
    collected_entries: int = 0
    collected_nano: int = 0

    def move(
        self, keys: Sequence[BalanceKey], spent_nano: int, held_nano: int, at: datetime
    ) -> None:
        """Add to spent and held of balances; one that isn't there yet starts at zero."""
        for key in keys:
            self.touched[key] = max(at, self.touched.get(key, at))
            now = self.balances.get(key, _ZERO)
            moved = Balance(now.spent_nano + spent_nano, now.held_nano + held_nano)
            self.balances[key] = moved

    def draft(self) -> "MemoryState":
        """Return a copy that can be changed alone; what it holds is immutable."""
        return MemoryState(
            self.ledger_id,
            self.policy,
            self.policy_version,
            dict(self.balances),
            dict(self.holds),
            dict(self.adjustments),
            list(self.journal),
            list(self.decisions),
            list(self.batches),
            set(self.delivered),
            dict(self.touched),
            dict(self.carried),
            self.collected_entries,
            self.collected_nano,
        )


class MemoryStore:
    """One state for many threads; it ends with its process."""

    def __init__(self, ledger_id: str | None = None) -> None:
        self._lock = threading.RLock()
        self._state = MemoryState(ledger_id or uuid.uuid4().hex)

    @property
    def state(self) -> MemoryState:
        """The last committed state, to be read only."""
        return self._state

    @contextmanager
    def write(self) -> Generator[MemoryState]:
        """Change a draft alone; it becomes the state at the end of the block or is dropped."""
        with self._lock:
            draft = self._state.draft()
            yield draft
            self._state = draft
