"""`spendgate sql`: read-only SQL over real Delta tables."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from spendgate.adapters.delta_query import query_rows, query_tables, rows_as_json, table_names
from spendgate.errors import InvalidRequestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {"model": ["a", "b"], "cost_usd": [Decimal("0.100000000"), Decimal("-0.000000001")]}
    write_deltalake(tmp_path / "spend_events", pa.table(rows))
    write_deltalake(tmp_path / "decisions", pa.table({"decision_id": ["d"]}))
    (tmp_path / "flush.lock").touch()
    (tmp_path / "no-table").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT SUM(cost_usd) AS total FROM spend_events",
        "select sum(cost_usd) as total from spendgate.spend_events;",
        "WITH e AS (SELECT * FROM spend_events) SELECT SUM(cost_usd) AS total FROM e -- done;",
        "/* insert into; */ SELECT SUM(cost_usd) AS total FROM spend_events WHERE model <> ';into'",
        'SELECT SUM("cost_usd") AS total FROM spend_events CROSS JOIN decisions',
    ],
)
def test_a_select_is_answered_exactly(folder: Path, sql: str) -> None:
    assert query_rows(folder, sql) == [{"total": "0.099999999"}]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "DELETE FROM spend_events",
        "INSERT INTO spend_events SELECT * FROM spend_events",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "DROP TABLE spend_events",
        "SET a = 1",
        "SELECT 1 AS a INTO other",
        "WITH e AS (SELECT 1) INSERT INTO spend_events SELECT * FROM e",
        "WITH e AS (SELECT 1) DELETE FROM spend_events",
        "CREATE TABLE t AS SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_what_is_no_select_is_refused(folder: Path, sql: str) -> None:
    with pytest.raises(InvalidRequestError, match="only a SELECT"):
        query_tables(folder, sql)


def test_a_second_statement_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="one statement"):
        query_tables(folder, "SELECT 1; SELECT 2")


@pytest.mark.parametrize("name", ["spend_event", "spendgate.spend_event"])
def test_an_unknown_table_is_named_beside_the_known_ones(folder: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"no table {name}; .*decisions, spend_events"):
        query_tables(folder, f"SELECT * FROM {name}")


def test_an_empty_home_says_that_there_is_nothing_yet(tmp_path: Path) -> None:
    assert table_names(tmp_path / "delta") == []
    with pytest.raises(InvalidRequestError, match="none yet"):
        query_tables(tmp_path / "delta", "SELECT * FROM spend_events")


def test_an_unknown_column_is_refused_with_the_columns(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cost_usd"):
        query_tables(folder, "SELECT cost FROM spend_events")


def test_an_error_of_the_data_is_no_crash(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"(?i)divide by zero"):
        query_tables(folder, "SELECT 1 / (COUNT(*) - 2) FROM spend_events")


def test_rows_travel_as_json() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "amount": pa.array([Decimal("1E-9"), None], pa.decimal128(18, 9)),
            "at": pa.array([at, None], pa.timestamp("us", "UTC")),
            "day": pa.array([date(2026, 3, 1), None]),
            "tags": pa.array([[("a", "b")], []], pa.map_(pa.string(), pa.string())),
            "ids": pa.array([["x"], []], pa.list_(pa.string())),
            "ratio": pa.array([0.5, float("nan")]),
            "raw": pa.array([b"\x00\xff", None]),
        }
    )

    assert rows_as_json(table) == [
        {
            "amount": "0.000000001", "at": "2026-03-01T12:00:00Z", "day": "2026-03-01",
            "tags": {"a": "b"}, "ids": ["x"], "ratio": 0.5, "raw": "00ff",
        },
        {
            "amount": None, "at": None, "day": None, "tags": {}, "ids": [], "ratio": None,
            "raw": None,
        },
    ]  # fmt: skip
