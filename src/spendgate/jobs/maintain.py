"""Maintain: remove from ledger and tables what nobody needs any more."""

from dataclasses import asdict
from datetime import timedelta

from spendgate.adapters.plain_data import as_list
from spendgate.domain.budget import Policy
from spendgate.domain.retention import FILES_MIN
from spendgate.domain.table_list import ALL_TABLES
from spendgate.errors import HostError, LedgerUnavailableError
from spendgate.jobs.job_run import JobRun, Report

DELIVERIES_KEPT = timedelta(days=90)
"""How long a told alert is remembered, so that no host tells it again: longer than any window that
ends."""


def run(run: JobRun) -> Report:
    """Collect the ledger, then look after the tables; either goes on where the other can't.

    Raises:
        HostError: if a home on this machine has no ledger.
        LedgerUnavailableError: if the ledger doesn't answer and no table needs anything; what was
            removed until then is gone.
    """
    has_work = _has_work(run)
    policy, problems = None, list[object]()
    report: dict[str, object] = {"job": "maintain"}
    try:
        collected, policy = _collect(run)
        report |= collected
    except (LedgerUnavailableError, HostError) as error:
        if not has_work or (run.catalog is None and isinstance(error, HostError)):
            raise  # a home without a ledger is another home than was meant
        problems.append(f"ledger: {error}")
    if has_work:
        tables = _maintained(run, policy)
        problems += as_list(tables.get("problems")) or ()
        report |= tables
    return report | {"problems": problems}


def _collect(run: JobRun) -> tuple[dict[str, object], Policy]:
    """Collect the ledger; safe beside traffic, to interrupt and to run twice at once."""
    keep = timedelta(seconds=run.settings.ledger_retention_seconds)
    with run.opened_ledger() as ledger:
        policy = ledger.policies.policy()
        removed = ledger.collect(run.as_of, keep)
        told = ledger.deliveries.forget(run.as_of - DELIVERIES_KEPT)
    counts = {f"{name}_removed": count for name, count in asdict(removed).items()}
    older = {"older_than": (run.as_of - keep).isoformat()}
    return {**older, **counts, "deliveries_removed": told}, policy


def _maintained(run: JobRun, policy: Policy | None) -> dict[str, object]:
    try:
        from spendgate.jobs.table_upkeep import maintain_tables  # noqa: PLC0415 - pyspark is slow

        return maintain_tables(run, policy)
    except (ImportError, HostError) as error:
        what = f"tables: {error}"
        # A home works without Spark until it is asked for what only Spark does.
        is_asked = run.catalog is not None or _removes_rows(run)
        return {"problems": [what]} if is_asked else {"notes": [what]}


def _has_work(run: JobRun) -> bool:
    """Tell whether any table may need something, without starting Spark on this machine."""
    if run.catalog is not None:
        return True
    folders = [run.settings.delta_folder / table.name for table in ALL_TABLES]
    there = [folder for folder in folders if (folder / "_delta_log").is_dir()]
    if _removes_rows(run):
        return bool(there)
    return any(sum(1 for _ in folder.glob("*.parquet")) >= FILES_MIN for folder in there)


def _removes_rows(run: JobRun) -> bool:
    days = (run.settings.events_retention_days, run.settings.windows_retention_days)
    return any(one is not None for one in days)
