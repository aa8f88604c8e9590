"""The policy as the table `budgets` has it, for when the ledger can't be asked."""

from datetime import UTC, datetime, timedelta

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.budget_table import rule_of_row
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.policy_tables import BUDGETS
from spendgate.domain.table import TIMESTAMP
from spendgate.errors import PolicyError
from spendgate.jobs.table_space import TableSpace

ROWS_MAX = 100_000
"""Rows that are read; they are kept in memory."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def policy_of_table(spark: SparkSession, space: TableSpace) -> Policy | None:
    """Return the budgets and raises of the table; None if there is no table, or nothing in it.

    A row that can't be read is left out: sync_policies reports it, and it is in force nowhere.
    """
    if not space.exists(spark, BUDGETS):
        return None
    times = [column.name for column in BUDGETS.columns if column.type == TIMESTAMP]
    # Collected timestamps come in this machine's zone and without it, so they travel as numbers.
    micros = {name: F.unix_micros(name) for name in times}
    frame = space.read(spark, BUDGETS).select(*BUDGETS.column_names).withColumns(micros)
    budgets: list[Budget] = []
    raises: list[Raise] = []
    for found in frame.limit(ROWS_MAX).collect():
        row = found.asDict(recursive=True)
        for name in times:
            if row[name] is not None:
                row[name] = _EPOCH + timedelta(microseconds=row[name])
        try:
            rule = rule_of_row(row)
        except PolicyError:
            continue
        if isinstance(rule, Raise):
            raises.append(rule)
        else:
            budgets.append(rule)
    return Policy(tuple(budgets), tuple(raises)) if budgets else None
