"""Drain: deliver the ledger's outbox to Delta."""

from collections.abc import Mapping
from dataclasses import asdict

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import drain_outbox
from spendgate.errors import HostError, SinkUnavailableError
from spendgate.gateway.drain import flush_outbox
from spendgate.jobs.job_run import JobRun, Report


def run(run: JobRun) -> Report:
    """Deliver everything that isn't in Delta yet; where a host is at it, leave it to the host.

    Raises:
        HostError: if there is no ledger.
        LedgerUnavailableError: if the ledger doesn't answer.
        SinkUnavailableError: if the tables can't be written; the outbox keeps what is left.
    """
    with run.opened_ledger() as ledger:
        if run.catalog is not None:
            return {"job": "drain", **_drained_by_spark(run, ledger)}
        delivered = drain_outbox(ledger, run.settings)
    if delivered is None:
        return {"job": "drain", "note": "another process delivers this home's events already"}
    return {"job": "drain", **asdict(delivered)}


def _drained_by_spark(run: JobRun, ledger: StoredLedger) -> Mapping[str, object]:
    """Deliver to a catalog; two runs at once may do some work twice, but no row is there twice."""
    from spendgate.jobs.landing import merge_landing  # noqa: PLC0415 - pyspark is slow to load
    from spendgate.jobs.spark_sink import SparkSink  # noqa: PLC0415

    sink = SparkSink(run.spark(), run.space)
    sink.create_tables()
    limit = run.settings.drain_events_max
    try:
        landed = merge_landing(run)
        merged = {} if landed is None else {"landed_batches": landed}
    except (HostError, SinkUnavailableError) as error:
        # The outbox has all that landed, so it doesn't wait for it.
        merged = {"problems": [f"landing table: {error}"]}
    return {**asdict(flush_outbox(ledger.outbox, sink, ledger.ledger_id, limit)), **merged}
