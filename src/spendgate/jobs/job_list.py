"""The jobs by name, each loaded when it is run, so that one without Spark starts at once."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

from spendgate.bootstrap import utc_now
from spendgate.errors import HostError
from spendgate.jobs.home_lock import home_lock
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.platform_errors import explained

CLOCKS_APART = timedelta(minutes=5)
"""How far another machine's clock may be ahead of this one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job: what it is for, how to run it, and which of `JobRun`'s choices it heeds."""

    summary: str
    run: Callable[[JobRun], Report]
    choices: frozenset[str] = frozenset()
    """Names of `rebuild`, `since`, `until`, `out`, `bill` that it takes; others are refused."""

    is_alone: bool = True
    """Whether it changes tables of a home that other jobs change too."""


def unheeded_choices(name: str, run: JobRun) -> list[str]:
    """Return the flags of a run that its job doesn't take."""
    names = ("rebuild", "since", "until", "out", "bill")
    given = {name: getattr(run, name) for name in names}
    taken = JOBS[name].choices
    return [f"--{one}" for one, value in given.items() if value and one not in taken]


def run_named(name: str, run: JobRun) -> Report:
    """Run a job.

    Raises:
        HostError: if the run's time is in the future, a table or a right is missing, or another
            job works on the home, with the way out.
    """
    if run.as_of > utc_now() + CLOCKS_APART:
        raise HostError(f"--as-of {run.as_of.isoformat()} is in the future; leave it out")
    try:
        with _alone(JOBS[name], run):
            return JOBS[name].run(run)
    except Exception as error:
        way_out = explained(error)
        if way_out is None:
            raise
        raise HostError(f"{name}: {way_out}") from error


def _alone(job: Job, run: JobRun) -> AbstractContextManager[None]:
    is_alone = job.is_alone and run.catalog is None
    return home_lock(run.settings.home.absolute()) if is_alone else nullcontext()


def _setup(run: JobRun) -> Report:
    from spendgate.jobs import setup  # noqa: PLC0415

    return setup.run(run)


def _drain(run: JobRun) -> Report:
    from spendgate.jobs import drain  # noqa: PLC0415

    return drain.run(run)


def _aggregate(run: JobRun) -> Report:
    from spendgate.jobs import aggregate  # noqa: PLC0415

    return aggregate.run_job(run)


def _chargeback(run: JobRun) -> Report:
    from spendgate.jobs import chargeback  # noqa: PLC0415

    return chargeback.run(run)


def _maintain(run: JobRun) -> Report:
    from spendgate.jobs import maintain  # noqa: PLC0415

    return maintain.run(run)


def _reconcile(run: JobRun) -> Report:
    from spendgate.jobs import reconcile  # noqa: PLC0415

    return reconcile.run(run)


def _sync_policies(run: JobRun) -> Report:
    from spendgate.jobs import sync_policies  # noqa: PLC0415

    return sync_policies.run(run)


JOBS: Mapping[str, Job] = {
    "setup": Job("make tables, views and functions, or bring them up to date", _setup),
    "drain": Job("deliver the ledger's outbox to Delta", _drain, is_alone=False),
    "aggregate": Job(
        "new events into rollups, windows and budget_state", _aggregate, frozenset({"rebuild"})
    ),
    "reconcile": Job(
        "compare with the platform's usage and bill; close open ends, charge bypass traffic",
        _reconcile,
        frozenset({"since", "until", "bill"}),
    ),
    "sync_policies": Job("policy file, table `budgets` and ledger agree; prices", _sync_policies),
    "chargeback": Job(
        "a period as FOCUS files, and a statement to the billing system",
        _chargeback,
        frozenset({"since", "until", "out"}),
    ),
    "maintain": Job("remove what nobody needs any more", _maintain),
}
