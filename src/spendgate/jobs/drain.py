"""Drain: deliver the ledger's outbox to Delta."""

from dataclasses import asdict

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import drain_outbox
from spendgate.config import Settings


def run(ledger: StoredLedger, settings: Settings) -> dict[str, object]:
    """Deliver everything that isn't in Delta yet; where a host is at it, leave it to the host.

    Raises:
        SinkUnavailableError: if the tables can't be written; the outbox keeps what is left.
    """
    delivered = drain_outbox(ledger, settings)
    if delivered is None:
        return {"job": "drain", "note": "another process delivers this home's events already"}
    return {"job": "drain", **asdict(delivered)}
