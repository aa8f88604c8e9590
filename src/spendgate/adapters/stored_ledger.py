"""What hosts, jobs and commands use of a ledger, whichever store it is in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from spendgate.adapters.stored_audit import AuditReport
from spendgate.adapters.stored_deliveries import StoredDeliveries
from spendgate.adapters.stored_exposure import Exposure
from spendgate.adapters.stored_outbox import StoredOutbox
from spendgate.adapters.stored_policy import StoredPolicy
from spendgate.gateway.ports import Ledger


@dataclass(frozen=True, slots=True)
class LaneState:
    """How busy this process's lanes are; a ledger without lanes has none waiting."""

    reserves_waiting: int
    ends_waiting: int
    ends_unconfirmed: int


class StoredLedger(Ledger, Protocol):
    """A ledger with its policy, its outbox and its audit."""

    @property
    def policies(self) -> StoredPolicy:
        """The policy that this ledger enforces."""
        ...

    @property
    def outbox(self) -> StoredOutbox:
        """The journal as a feed for the sink."""
        ...

    @property
    def deliveries(self) -> StoredDeliveries:
        """Alerts on their way to notifiers."""
        ...

    def commit_seconds(self) -> float:
        """Measure one commit, the floor of every reserve."""
        ...

    def lanes(self) -> LaneState:
        """Return how many of this process's callers wait for the ledger."""
        ...

    def exposure(self, at: datetime) -> Exposure:
        """Return what is held now, what should have ended, and how large the ledger is."""
        ...

    def audit(self) -> AuditReport:
        """Recompute every balance from the journal and the open holds, and compare."""
        ...
