"""Setup: the schema's tables, views and functions, made or brought up to date.

Every step looks first and changes only what differs, so that it can be run at each deployment.
"""

# pyright: reportUnknownMemberType=false
# spark.sql takes arguments of any type.

import shlex
from collections.abc import Callable, Sequence

from pyspark.sql import SparkSession

from spendgate.bootstrap import has_ledger
from spendgate.config import Settings
from spendgate.domain.table_list import ALL_TABLES
from spendgate.errors import LedgerUnavailableError
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.sync_policies import sync_policies
from spendgate.jobs.table_space import TableSpace

SetupCheck = Callable[[SparkSession, JobRun], Sequence[str]]
"""Something else that a deployment needs; returns its problems with the way out of each."""


def run(run: JobRun, checks: Sequence[SetupCheck] = ()) -> Report:
    """Make what is missing, then check the rest; twice is as good as once.

    Budgets and prices come from policy file and price book by way of the ledger. Where there is
    none yet, the report says what makes one; where it can't be reached, `sync_policies` brings
    them in later.
    """
    spark = run.spark()
    report: dict[str, object] = {"job": "setup", **make_tables(spark, run.space)}
    problems = [str(one) for one in _listed(report.pop("problems"))]
    problems += [problem for check in checks for problem in check(spark, run)]
    if not has_ledger(run.settings):
        report["seeds"] = no_ledger_note(run.settings)
    else:
        try:
            with run.opened_ledger() as ledger:
                seeds = sync_policies(spark, run.space, ledger, run.settings, run.as_of)
            problems += [str(one) for one in _listed(seeds.get("problems"))]
            report["seeds"] = {k: v for k, v in seeds.items() if k not in ("job", "problems")}
        except LedgerUnavailableError as error:
            problems.append(f"budgets and prices aren't seeded, run sync_policies: {error}")
    return {**report, "problems": problems}


def no_ledger_note(settings: Settings) -> str:
    """Say how budgets and prices come in where no ledger is yet."""
    home = shlex.quote(str(settings.home))
    made = f"make one with `spendgate budget import FILE --home {home}`"
    return f"there is no ledger yet: {made}, then run setup again"


def make_tables(spark: SparkSession, space: TableSpace) -> dict[str, object]:
    """Create the schema and all that is in it, add what tables of earlier versions lack."""
    if space.catalog is not None:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {space.schema_name}")
    created: list[str] = []
    columns: dict[str, list[str]] = {}
    constraints: dict[str, list[str]] = {}
    problems: list[str] = []
    for table in ALL_TABLES:
        if space.create(spark, table):
            created.append(table.name)
        elif added := space.evolve(spark, table):
            columns[table.name] = added
        added, violated = space.constrain(spark, table)
        problems += violated
        if added:
            constraints[table.name] = added
    views = space.create_views(spark) if space.catalog is not None else []
    metric_views, notes = space.create_metric_views(spark)
    return {
        "tables_created": created,
        "columns_added": columns,
        "constraints_added": constraints,
        "views_and_functions": sorted([*views, *metric_views]),
        **({"notes": notes} if notes else {}),
        "problems": problems,
    }


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []  # type: ignore[reportUnknownVariableType]  # a report is plain JSON
