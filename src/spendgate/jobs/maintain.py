"""Maintain: remove from the ledger what nobody needs any more."""

from dataclasses import asdict
from datetime import timedelta

from spendgate.jobs.job_run import JobRun, Report

DELIVERIES_KEPT = timedelta(days=90)
"""How long a told alert is remembered, so that no host tells it again: longer than any window that
ends."""


def run(run: JobRun) -> Report:
    """Collect the ledger; safe beside traffic, to interrupt and to run twice at once.

    Raises:
        HostError: if there is no ledger.
        LedgerUnavailableError: if the ledger doesn't answer; what was removed until then is gone.
    """
    keep = timedelta(seconds=run.settings.ledger_retention_seconds)
    with run.opened_ledger() as ledger:
        removed = ledger.collect(run.as_of, keep)
        told = ledger.deliveries.forget(run.as_of - DELIVERIES_KEPT)
    report = {f"{name}_removed": count for name, count in asdict(removed).items()}
    report["deliveries_removed"] = told
    return {"job": "maintain", "older_than": (run.as_of - keep).isoformat(), **report}
