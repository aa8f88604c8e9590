"""Every dataset of the dashboard on local Delta: by Spark, by DataFusion, filled and empty."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.delta_snapshot import query_each
from spendgate.dashboard.datasets import bound_sql, default_period, load_datasets
from spendgate.dashboard.document import dashboard_document
from spendgate.dashboard.lint import problems
from spendgate.domain.table_list import ALL_TABLES
from tests.dashboard_tables import fill_tables, realistic_rows

pytestmark = pytest.mark.spark
Rows = list[tuple[object, ...]]
_NUMBER = re.compile(r"-?\d+\.\d+")


def _queries(today: date) -> dict[str, str]:
    first, last = default_period(today)
    return {name: bound_sql(one.sql, first, last) for name, one in load_datasets().items()}


def _by_spark(
    spark: SparkSession, folder: Path, queries: Mapping[str, str]
) -> dict[str, tuple[list[str], Rows]]:
    for table in ALL_TABLES:
        path = str(folder / table.name)
        spark.read.format("delta").load(path).createOrReplaceTempView(table.name)
    frames = {name: spark.sql(sql) for name, sql in queries.items()}
    return {
        name: (frame.columns, [tuple(row) for row in frame.collect()])
        for name, frame in frames.items()
    }


def _plain(value: object) -> str:
    """Return a value so that both engines' answers compare: numbers to six places, times in UTC."""
    match value:
        case Decimal() | float() | int():
            return f"{value:.6f}"
        case datetime():
            # Spark gives naive times of the session's zone, which is UTC.
            return value.replace(tzinfo=None).isoformat()
        case str():
            return f"{Decimal(value):.6f}" if _NUMBER.fullmatch(value) else value.removesuffix("Z")
        case _:
            return str(value)


def _sorted(rows: Rows) -> list[list[str]]:
    return sorted([_plain(value) for value in row] for row in rows)


def test_both_engines_answer_every_dataset_alike_with_what_each_widget_needs(
    spark: SparkSession, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    queries = _queries(now.date())
    fill_tables(tmp_path, realistic_rows(now))

    drawn = query_each(tmp_path, queries, ALL_TABLES)
    found = _by_spark(spark, tmp_path, queries)

    for name, (columns, rows) in found.items():
        answer = drawn[name]
        assert answer.error is None
        assert rows, f"{name} is empty"
        assert tuple(columns) == answer.columns
        assert _sorted(rows) == _sorted([tuple(row.values()) for row in answer.rows]), name
    assert problems(dashboard_document(), {name: one[0] for name, one in found.items()}) == []
