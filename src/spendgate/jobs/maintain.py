"""Maintain: remove from the ledger what nobody needs any more."""

from dataclasses import asdict
from datetime import datetime, timedelta

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.config import Settings


def run(ledger: StoredLedger, settings: Settings, at: datetime) -> dict[str, object]:
    """Collect the ledger; safe beside traffic, to interrupt and to run twice at once.

    Raises:
        LedgerUnavailableError: if the ledger doesn't answer; what was removed until then is gone.
    """
    keep = timedelta(seconds=settings.ledger_retention_seconds)
    removed = ledger.collect(at, keep)
    report = {f"{name}_removed": count for name, count in asdict(removed).items()}
    return {"job": "maintain", "older_than": (at - keep).isoformat(), **report}
