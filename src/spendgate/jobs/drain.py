"""Drain: deliver the ledger's outbox to Delta."""

from dataclasses import asdict
from typing import Protocol

from spendgate.adapters.delta_sink import DeltaSink
from spendgate.config import Settings
from spendgate.gateway.drain import flush_outbox
from spendgate.gateway.ports import Ledger, Outbox


class DrainableLedger(Ledger, Outbox, Protocol):
    """A ledger with its outbox."""


def run(ledger: DrainableLedger, settings: Settings) -> dict[str, object]:
    """Deliver everything that isn't in Delta yet; where a host is at it, leave it to the host.

    Raises:
        SinkUnavailableError: if the tables can't be written; the outbox keeps what is left.
    """
    sink = DeltaSink(settings.delta_folder)
    with sink.sole_flusher() as is_alone:
        if not is_alone:
            return {"job": "drain", "note": "another process is flushing this home; nothing to do"}
        delivered = flush_outbox(ledger, sink, ledger.ledger_id, settings.flush_events_max)
        return {"job": "drain", **asdict(delivered)}
