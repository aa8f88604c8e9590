"""`spendgate-job NAME …`: the entry point of the wheel for jobs on Databricks.

It returns where a command would exit with 0, and raises where it would exit with 1: a wheel task
takes any `SystemExit` for a failure.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from spendgate.bootstrap import utc_now
from spendgate.config import Settings
from spendgate.errors import HostError, JobFailedError
from spendgate.jobs.job_list import JOBS, run_named, unheeded_choices
from spendgate.jobs.job_run import JobRun
from spendgate.web.environment import wrong_settings

_CHOICES = ("rebuild", "since", "until", "out")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a job, print its report as one line of JSON.

    Raises:
        JobFailedError: if the report names problems.
        SpendgateError: as the job says.
        SystemExit: if the arguments are wrong.
    """
    parser = job_parser()
    given = parser.parse_args(arguments)
    run = _run_of(given)
    if unheeded := unheeded_choices(given.name, run):
        parser.error(f"{given.name} takes no {', '.join(unheeded)}")
    report = run_named(given.name, run)
    print(json.dumps(report, default=str))  # noqa: T201 - the job's output is its report
    if problems := report.get("problems"):
        raise JobFailedError(f"{given.name}: {problems}")


def job_parser() -> argparse.ArgumentParser:
    """Return the parser of a job's parameters; the bundle's resources are checked by it."""
    parser = argparse.ArgumentParser(prog="spendgate-job", description="Run a job of spendgate.")
    parser.add_argument("name", choices=sorted(JOBS), help="the job")
    parser.add_argument("--home", type=Path, help="folder of tables on this machine")
    parser.add_argument("--catalog", help="catalog of the tables")
    parser.add_argument("--schema", default="spendgate", help="schema of the tables")
    parser.add_argument("--volume", help="folder for checkpoints and exports: /Volumes/…")
    parser.add_argument("--ledger", help="ledger URL, such as lakebase://projects/…")
    parser.add_argument("--budgets", type=Path, help="the policy file")
    parser.add_argument("--as-of", type=_instant, help="run as of then; default now")
    parser.add_argument("--rebuild", action="store_true", help="make all again from the events")
    parser.add_argument("--since", type=_instant, help="first instant that is looked at")
    parser.add_argument("--until", type=_instant, help="first instant after")
    parser.add_argument("--out", type=Path, help="folder or file of an export")
    what = "a setting, such as geo=in_geo; serverless tasks have no environment"
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", type=_setting, help=what)
    return parser


def _run_of(given: argparse.Namespace) -> JobRun:
    flags: dict[str, object] = dict(given.set or ())
    flags |= {
        name: value
        for name, value in (
            ("home", given.home),
            ("ledger_url", given.ledger),
            ("budgets_file", given.budgets),
        )
        if value is not None
    }
    try:
        settings = Settings.model_validate(flags)
    except ValidationError as error:
        wrong = "; ".join(wrong_settings(error, flags))
        raise HostError(f"these settings can't be used: {wrong}") from None
    choices = {name: getattr(given, name) for name in _CHOICES}
    at = utc_now() if given.as_of is None else given.as_of
    return JobRun(settings, at, given.catalog, given.schema, given.volume, **choices)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in Settings.model_fields:
        raise argparse.ArgumentTypeError(f"{name[:60]!r} is no setting; write it like NAME=VALUE")
    return name, value


def _instant(text: str) -> datetime:
    """Read an ISO date or time; without a zone it is UTC."""
    try:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2030-01-31T00:00:00Z"
        ) from None


if __name__ == "__main__":
    main(sys.argv[1:])
