"""Deliver the outbox to the sink: claim, append, confirm, until all that waited is there.

A crash between the steps repeats a batch under its number, and the sink takes it once. What comes
meanwhile waits for the next flush: under steady traffic a flush would otherwise never end, and each
append would take the few events that came during the one before.
"""

from dataclasses import dataclass

from spendgate.gateway.ports import Outbox, SpendSink


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What one flush delivered."""

    batches: int = 0
    events: int = 0
    decisions: int = 0


def flush_outbox(outbox: Outbox, sink: SpendSink, ledger_id: str, limit: int) -> FlushReport:
    """Deliver all that waits, in batches of at most `limit` rows; one flusher at a time.

    Raises:
        SinkUnavailableError: if the sink can't take a batch now; it stays in the outbox.
    """
    batches = events = decisions = 0
    while (batch := outbox.claim_batch(limit)) is not None:
        sink.append(ledger_id, batch)
        outbox.confirm_batch(batch.number)
        batches += 1
        events += len(batch.events)
        decisions += len(batch.decisions)
        if batch.is_last:
            break
    return FlushReport(batches, events, decisions)
