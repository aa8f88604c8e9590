"""The in-memory ledger's journal as a feed: numbered batches, delivered until confirmed."""

from dataclasses import replace

from spendgate.adapters.memory_store import MemoryState, MemoryStore
from spendgate.adapters.stored_outbox import OutboxState
from spendgate.gateway.ports import EventBatch


class MemoryOutbox:
    """The outbox of a store; one flusher at a time is the caller's duty."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def claim_batch(self, limit: int) -> EventBatch | None:
        """Return the open batch, or number a new one; None when all is delivered."""
        state = self._store.state
        for batch in state.batches:
            if batch.number not in state.delivered:
                return replace(batch, is_last=False)  # what came after it waits too
        if not _is_waiting(state):
            return None
        with self._store.write() as draft:
            events = draft.journal[_claimed_events(draft) :][:limit]
            decisions = draft.decisions[_claimed_decisions(draft) :][:limit]
            batch = EventBatch(
                number=max((one.number for one in draft.batches), default=0) + 1,
                events=tuple(one.event for one in events),
                decisions=tuple(decisions),
                is_last=max(len(events), len(decisions)) < limit,
            )
            draft.batches.append(batch)
        return batch

    def confirm_batch(self, number: int) -> None:
        """Mark a batch as delivered."""
        with self._store.write() as draft:
            if any(batch.number == number for batch in draft.batches):
                draft.delivered.add(number)

    def state(self) -> OutboxState:
        """Return how many events and decisions wait, and since when."""
        state = self._store.state
        open_batches = [one for one in state.batches if one.number not in state.delivered]
        waiting = [one.event for one in state.journal[_claimed_events(state) :]]
        waiting += [event for batch in open_batches for event in batch.events]
        oldest = min((event.recorded_at for event in waiting), default=None)
        decisions = state.decisions[_claimed_decisions(state) :]
        decisions += [one for batch in open_batches for one in batch.decisions]
        first = min((one.occurred_at for one in decisions), default=None)
        return OutboxState(len(waiting), oldest, len(decisions), first)


def _is_waiting(state: MemoryState) -> bool:
    events, decisions = _claimed_events(state), _claimed_decisions(state)
    return events < len(state.journal) or decisions < len(state.decisions)


def _claimed_events(state: MemoryState) -> int:
    return sum(len(batch.events) for batch in state.batches)


def _claimed_decisions(state: MemoryState) -> int:
    return sum(len(batch.decisions) for batch in state.batches)
