"""`spendgate sql` tells which tables and columns there are, and still only reads."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from tests.integration.cli.conftest import Run

from spendgate.adapters.table_description import described
from spendgate.domain.table import SPEND_HOURLY
from spendgate.errors import InvalidRequestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    delta = tmp_path / "home" / "delta"
    write_deltalake(delta / "spend_events", pa.table({"event_id": ["a"], "own_column": [1]}))
    return delta


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE TABLE spend_events",
        "describe spend_events;",
        "DESC spendgate.Spend_Events",
        'DESCRIBE "spend_events"',
        " DESCRIBE\n TABLE `spend_events` ; ",
    ],
)
def test_a_table_is_described_by_its_definition(folder: Path, sql: str) -> None:
    assert described(folder, sql) == [
        {"column": "event_id", "type": "string", "comment": "Key: hold_id:sequence"},
        {"column": "own_column", "type": "int64", "comment": None},
    ]


def test_the_tables_are_shown_with_their_comments(folder: Path) -> None:
    (events,) = described(folder, "show tables;") or []

    assert events["table"] == "spend_events"
    assert str(events["comment"]).startswith("One row per end or correction")


def test_the_view_of_the_days_is_shown_and_described(run: Run, home: Path) -> None:
    types = {"timestamp": pa.timestamp("us", "UTC"), "bigint": pa.int64()}
    fields = [
        (one.name, types.get(one.type, pa.decimal128(28, 9) if "(" in one.type else pa.string()))
        for one in SPEND_HOURLY.columns
    ]
    write_deltalake(home / "delta" / "spend_hourly", pa.schema(fields).empty_table())

    shown = run("sql", "SHOW TABLES", "--json").json
    columns = run("sql", "DESCRIBE spend_daily", "--json").json
    printed = run("sql", "DESCRIBE spend_daily").out

    assert [one["table"] for one in shown] == ["spend_daily", "spend_hourly"]
    assert columns[0] == {"column": "day", "type": "date32[day]", "comment": None}
    assert "date32[day]" in printed


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE HISTORY spend_events",
        "DESCRIBE spend_events; DROP TABLE spend_events",
        "DESCRIBE SELECT 1",
        "SHOW CREATE TABLE spend_events",
        "SELECT 1",
    ],
)
def test_another_statement_is_none_of_these(folder: Path, sql: str) -> None:
    assert described(folder, sql) is None


def test_an_unknown_table_is_named_beside_the_known_ones(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"no table spend_event; .*: spend_events"):
        described(folder, "DESCRIBE spend_event")


def test_what_may_be_asked_is_said(run: Run) -> None:
    assert "DESCRIBE TABLE name and SHOW TABLES" in run("sql", "DROP TABLE x", code=1).err
