"""The aggregate job on real Delta tables: new events once, whatever crashes or is repeated."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from spendgate.domain.budget import BalanceRow, Policy
from spendgate.domain.event import AdjustmentNote, Charge
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Scope
from spendgate.domain.table import BUDGET_STATE, SPEND_HOURLY, WINDOW_SPEND
from spendgate.domain.window import window_at
from tests.spark.aggregate_home import AT, LIFE, NOW, USERS, Home

pytestmark = pytest.mark.spark


@pytest.fixture
def home(spark: SparkSession, tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path)
    assert not spark.streams.active


def test_without_a_call_the_tables_are_made_and_empty(home: Home) -> None:
    report = home.aggregate()

    assert report["tables_created"] == [
        "spend_hourly", "budget_hourly", "window_spend", "budget_state", "spend_quarantine",
    ]  # fmt: skip
    assert "no spend_events table" in str(report["note"])
    assert home.tables() == [[], [], []]
    for table in (SPEND_HOURLY, WINDOW_SPEND, BUDGET_STATE):
        made = DeltaTable(home.settings.delta_folder / table.name)
        assert made.metadata().description == table.comment
        assert [(f.name, f.metadata["comment"], not f.nullable) for f in made.schema().fields] == [
            (column.name, column.comment, column.is_required) for column in table.columns
        ]


def test_new_events_are_added_once_however_often_the_job_runs(home: Home) -> None:
    home.charge("ann", 1_000_000_001)
    home.charge("bob", 2)
    period = window_at(USERS.window, "UTC", NOW).key
    balances = [BalanceRow("users", "ann", period, 0, 5)]

    report = home.aggregate(balances=balances)

    assert (report["batches"], report["events"]) == (1, 2)
    assert report["budget_state"] == {"ok": 3, "soft": 0, "hard": 1}
    state = (
        "SELECT budget_id, scope_value, spent_usd, held_usd, requests FROM budget_state "
        "ORDER BY budget_id, scope_value"
    )
    assert home.rows(state) == [
        ("life", "*", "1.000000003", "0.000000000", 2),
        ("roll", "acme", "1.000000003", "0.000000000", 2),
        ("users", "ann", "1.000000001", "0.000000005", 1),
        ("users", "bob", "0.000000002", "0.000000000", 1),
    ]
    made = home.tables()

    repeated = home.aggregate(balances=balances)

    assert (repeated["batches"], repeated["events"]) == (0, 2)
    assert home.tables() == made

    # An hour later: more spend for ann, and the rolling window has moved on.
    home.charge("ann", 3, at=NOW)
    later = home.aggregate(as_of=NOW + timedelta(hours=1))

    assert (later["batches"], later["events"]) == (1, 3)
    assert home.rows(state) == [
        ("life", "*", "1.000000006", None, 3),
        ("roll", "acme", "0.000000000", None, 0),
        ("users", "ann", "1.000000004", None, 2),
        ("users", "bob", "0.000000002", None, 1),
    ]
    hourly = "SELECT user_id, requests, input_tokens, cost_usd FROM spend_hourly ORDER BY hour, 1"
    assert home.rows(hourly) == [
        ("ann", 1, 10, "1.000000001"), ("bob", 1, 10, "0.000000002"), ("ann", 1, 10, "0.000000003"),
    ]  # fmt: skip


def test_a_batch_that_is_repeated_after_a_crash_counts_once(home: Home) -> None:
    for cost_nano in (1, 10):
        home.charge("ann", cost_nano)
        home.aggregate()
    made = home.tables()
    spent = "SELECT spent_usd, requests FROM window_spend WHERE budget_id = 'life'"
    assert home.rows(spent) == [("0.000000011", 2)]

    # The last batch was merged, but the checkpoint didn't hear of it.
    commits = home.folder / "checkpoints" / "aggregate" / "commits"
    for entry in (commits / "1", commits / ".1.crc"):
        entry.unlink()

    assert home.aggregate()["batches"] == 1
    assert home.tables() == made


def test_a_lost_checkpoint_starts_the_sums_anew(home: Home) -> None:
    for number, cost_nano in enumerate((7, 999_999_999, 123_456_789), start=1):
        home.charge(f"u{number}", cost_nano, AT - timedelta(hours=number * 5))
    home.aggregate()
    made = home.tables()
    shutil.rmtree(home.folder / "checkpoints")

    assert home.aggregate()["batches"] == 1

    assert home.tables() == made
    total = [(str(Decimal(sum(event.cost_nano for event in home.events)).scaleb(-9)),)]
    assert home.rows("SELECT SUM(cost_usd) AS usd FROM spend_events") == total
    assert home.rows("SELECT SUM(cost_usd) AS usd FROM spend_hourly") == total
    for budget_id in ("life", "users"):
        sql = f"SELECT SUM(spent_usd) AS usd FROM window_spend WHERE budget_id = '{budget_id}'"
        assert home.rows(sql) == total


def test_former_windows_close_and_former_budgets_leave(home: Home) -> None:
    home.charge("ann", 10 * 10**9)
    home.aggregate()
    tomorrow = NOW + timedelta(days=1)

    moved = replace(LIFE, scope=Scope.of({"org": "acme"}))
    report = home.aggregate(Policy((USERS, moved)), as_of=tomorrow)

    assert report["budget_state_removed"] == 2
    rows = home.rows(
        "SELECT budget_id, scope, window_end, status, forecast_usd, updated_at FROM budget_state "
        "ORDER BY budget_id"
    )
    assert rows == [
        ("life", "org", None, "ok", None, "2026-03-11T13:00:00Z"),
        ("users", "user", "2026-03-11T00:00:00Z", "hard", "10.000000000", "2026-03-11T13:00:00Z"),
    ]


def test_adjustments_move_money_between_rows_and_add_no_call(home: Home) -> None:
    home.charge("ann", 10)
    home.charge("bob", 4)
    home.aggregate()
    first, _ = home.events
    note = AdjustmentNote("a1", "olga", "wrong user")
    to_bob = replace(first.facts, scopes={"org": "acme", "user": "bob"})
    taken, given = (
        replace(
            first,
            event_id=f"{first.hold_id}:{number}",
            kind=EventKind.CORRECTED,
            facts=facts,
            charge=Charge(usage_source="external", note=note),
            cost_nano=cost_nano,
            recorded_at=NOW,
        )
        for number, facts, cost_nano in ((2, first.facts, -10), (3, to_bob, 10))
    )
    home.flush(taken, given)

    home.aggregate()

    sql = "SELECT user_id, requests, cost_usd FROM spend_hourly ORDER BY user_id"
    assert home.rows(sql) == [("ann", 1, "0.000000000"), ("bob", 1, "0.000000014")]
    for table in ("window_spend", "budget_state"):
        sql = f"SELECT budget_id, scope_value, spent_usd FROM {table} ORDER BY 1, 2"
        rows = [row for row in home.rows(sql) if row[0] != "roll"]
        assert rows == [
            ("life", "*", "0.000000014"),
            ("users", "ann", "0.000000000"),
            ("users", "bob", "0.000000014"),
        ]


def test_the_stream_goes_on_when_the_table_gets_new_columns(home: Home) -> None:
    added = {"adjustment_id", "adjusted_by", "reason"}
    home.charge("ann", 10)
    path = home.settings.delta_folder / "spend_events"
    rows = DeltaTable(path).to_pyarrow_table().drop_columns(sorted(added))
    shutil.rmtree(path)
    write_deltalake(path, rows, name="spend_events")  # as the first version left it
    home.aggregate()

    home.charge("ann", 5)  # the sink adds the columns
    report = home.aggregate()

    assert report["batches"] == 1
    sql = "SELECT spent_usd, requests FROM window_spend WHERE budget_id = 'life'"
    assert home.rows(sql) == [("0.000000015", 2)]
