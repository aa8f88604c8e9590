"""Maintain: remove from the ledger what nobody needs any more."""

from dataclasses import asdict
from datetime import timedelta

from spendgate.jobs.job_run import JobRun, Report


def run(run: JobRun) -> Report:
    """Collect the ledger; safe beside traffic, to interrupt and to run twice at once.

    Raises:
        HostError: if there is no ledger.
        LedgerUnavailableError: if the ledger doesn't answer; what was removed until then is gone.
    """
    keep = timedelta(seconds=run.settings.ledger_retention_seconds)
    with run.opened_ledger() as ledger:
        removed = ledger.collect(run.as_of, keep)
    report = {f"{name}_removed": count for name, count in asdict(removed).items()}
    return {"job": "maintain", "older_than": (run.as_of - keep).isoformat(), **report}
