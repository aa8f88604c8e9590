"""Drain: deliver the ledger's outbox to Delta."""

from dataclasses import asdict

from spendgate.bootstrap import drain_outbox
from spendgate.jobs.job_run import JobRun, Report


def run(run: JobRun) -> Report:
    """Deliver everything that isn't in Delta yet; where a host is at it, leave it to the host.

    Raises:
        HostError: if there is no ledger.
        LedgerUnavailableError: if the ledger doesn't answer.
        SinkUnavailableError: if the tables can't be written; the outbox keeps what is left.
    """
    with run.opened_ledger() as ledger:
        delivered = drain_outbox(ledger, run.settings)
    if delivered is None:
        return {"job": "drain", "note": "another process delivers this home's events already"}
    return {"job": "drain", **asdict(delivered)}
