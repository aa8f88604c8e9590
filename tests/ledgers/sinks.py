"""A spend sink in memory that keeps the one promise of Delta that counts: a version once."""

from tests.ledgers.crashing import AFTER_APPEND, BEFORE_APPEND, Passing

from spendgate.domain.event import DecisionRecord, SpendEvent
from spendgate.gateway.ports import EventBatch, SpendSink


class VersionedSink:
    """Appends a batch unless its number, or a later one, was appended before."""

    def __init__(self) -> None:
        self.events: list[SpendEvent] = []
        self.decisions: list[DecisionRecord] = []
        self.versions: dict[str, int] = {}

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        if self.versions.get(ledger_id, 0) >= batch.number:
            return
        self.events += batch.events
        self.decisions += batch.decisions
        self.versions[ledger_id] = batch.number


class VersionlessSink(VersionedSink):
    """A mutant: appends whatever comes, as a plain table would."""

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        self.versions.clear()
        super().append(ledger_id, batch)


class CrashingSink:
    """A sink whose writer can die before and after each append."""

    def __init__(self, sink: SpendSink, passing: Passing) -> None:
        self._sink = sink
        self._passing = passing

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        self._passing(BEFORE_APPEND)
        self._sink.append(ledger_id, batch)
        self._passing(AFTER_APPEND)
