"""Why a job finds no table of events."""

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.domain.table import SPEND_EVENTS
from spendgate.jobs.job_run import Report


def absent_events(ledger: StoredLedger) -> Report:
    """Say why no table of events is there: nothing charged, nothing delivered, or it is lost."""
    name = SPEND_EVENTS.name
    if not ledger.outbox.latest_events(1):
        return {"note": f"there is no {name} table yet: no call was charged"}
    if ledger.outbox.state().waiting_events:
        return {"problems": [f"there is no {name} table yet, and events wait for it: run drain"]}
    what = f"there is no {name} table, but the ledger's events were delivered to one"
    return {"problems": [f"{what}: restore it, or name the place where it is"]}
