"""Large files of the tables that are merged into are divided by time, and no row changes."""

import json
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from spendgate.adapters.delta_files import file_spans, row_count
from spendgate.adapters.delta_query import query_rows
from spendgate.domain.table import BUDGET_STATE, SPEND_HOURLY
from spendgate.jobs.file_order import put_in_order
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.schemas import schema_text
from tests.spark.aggregate_home import NOW

pytestmark = pytest.mark.spark

COLUMN = "last_event_at"
EVERY = "SELECT * FROM budget_state ORDER BY scope_value"
MINUTE = timedelta(minutes=1)


def state_row(number: int) -> tuple[object, ...]:
    """Make the row of a lifetime; every tenth has only a hold."""
    row: dict[str, object] = {
        "budget_id": "life", "scope": "user", "scope_value": f"u{number}", "window": "lifetime",
        "limit_usd": Decimal(1), "spent_usd": Decimal(0), "remaining_usd": Decimal(1),
        "used_ratio": 0.0, "status": "ok", "requests": 1, "updated_at": NOW,
        COLUMN: NOW + number * 7 % 40 * MINUTE if number % 10 else None,
    }  # fmt: skip
    return tuple(row.get(name) for name in BUDGET_STATE.column_names)


def test_rows_are_divided_by_time_from_the_first_large_file_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    space = TableSpace(tmp_path)
    path = tmp_path / BUDGET_STATE.name
    assert space.create(spark, BUDGET_STATE)
    frame = spark.createDataFrame([state_row(n) for n in range(40)], schema_text(BUDGET_STATE))
    space.write("merge_budget_state", BUDGET_STATE, frame.coalesce(1), are_lifetimes_kept="FALSE")
    before = query_rows(tmp_path, EVERY)

    assert put_in_order(spark, space, BUDGET_STATE, rows_per_file=10) == 0
    assert put_in_order(spark, space, BUDGET_STATE, rows_per_file=9) == 5

    spans = sorted(file_spans(path, COLUMN), key=lambda one: one.first)
    assert len(spans) == 5
    assert all(one.last < other.first for one, other in pairwise(spans))
    assert sum(one.rows for one in spans) == 36
    assert query_rows(tmp_path, EVERY) == before
    assert put_in_order(spark, space, BUDGET_STATE, rows_per_file=10) == 0


def test_other_tables_and_a_platforms_stay_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    assert put_in_order(spark, TableSpace(tmp_path), SPEND_HOURLY, rows_per_file=0) == 0
    assert put_in_order(spark, TableSpace(catalog="main"), BUDGET_STATE, rows_per_file=0) == 0


def test_the_log_says_how_many_rows_a_table_has_or_that_nobody_counted(tmp_path: Path) -> None:
    table = tmp_path / "counted"
    write_deltalake(table, pa.table({"n": [1, 2, 3]}))
    write_deltalake(table, pa.table({"n": [4]}), mode="append")
    assert row_count(table) == 4
    DeltaTable(table).delete()
    assert row_count(table) == 0

    uncounted = tmp_path / "uncounted"
    write_deltalake(uncounted, pa.table({"n": [1, 2]}))
    (entry,) = (uncounted / "_delta_log").glob("*.json")
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    for line in lines:
        line.get("add", {}).pop("stats", None)
    entry.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert row_count(uncounted) is None
