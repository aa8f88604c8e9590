"""Rounds of aggregate: any order and batching, duplicates, deaths, quarantine, late policies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession

from spendgate.config import Settings
from spendgate.domain.budget import Policy
from spendgate.domain.policy_tables import BUDGETS
from spendgate.domain.table import Table
from spendgate.domain.window import parse_window
from spendgate.errors import HostError
from spendgate.jobs.aggregate import run_job
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.table_space import TableSpace
from tests.spark.aggregate_home import AT, LIFE, NOW, USERS, Home

pytestmark = pytest.mark.spark

HOUR = timedelta(hours=1)
DYING_WRITES = 4
"""A batch writes three tables, and the state is the fourth."""


@dataclass(frozen=True)
class HookedSpace(TableSpace):
    """Tables before each of whose writes something is called with the statement's name."""

    hooks: tuple[Callable[[str], None], ...] = ()

    def write(
        self,
        statement: str,
        table: Table,
        source: DataFrame,
        script: str = "aggregate",
        **parts: str,
    ) -> list[Row]:
        for hook in self.hooks:
            hook(statement)
        return super().write(statement, table, source, script, **parts)


def dying_space(home: Home, writes: int) -> HookedSpace:
    """Return tables under which the process dies before a write, once so many were made."""
    left = [None] * writes

    def die(_statement: str) -> None:
        if not left:
            raise RuntimeError("killed")
        left.pop()

    return HookedSpace(home.settings.delta_folder.absolute(), hooks=(die,))


@pytest.fixture
def home(spark: SparkSession, tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path / "home")
    assert not spark.streams.active


@pytest.fixture
def other(tmp_path: Path) -> Home:
    return Home(tmp_path / "other")


def test_any_batching_with_deaths_and_duplicates_gives_one_state(home: Home, other: Home) -> None:
    calls = [
        home.call(user, cost_nano, AT - hours * HOUR)
        for user, cost_nano, hours in (
            ("ann", 10**9, 0), ("bob", 20, 0), ("ann", 3, 2), ("ann", 400, 0), ("cy", 5, 9),
        )
    ]  # fmt: skip
    # An idempotency key that came before, and whose hold was collected: the same id.
    earlier = replace(calls[0].facts, occurred_at=AT - 8 * 24 * HOUR)
    calls.append(replace(calls[0], facts=earlier))
    home.flush(calls[0])
    home.aggregate(as_of=NOW - HOUR / 4)
    # Every next batch brings the first event once more, and finds the process killed earlier.
    for writes, call in enumerate(calls[1:]):
        home.flush(call, calls[0])
        space = dying_space(home, writes % DYING_WRITES)
        with pytest.raises((RuntimeError, PySparkException), match="killed"):
            home.aggregate(space=space)
    home.aggregate()

    other.flush(*reversed(calls))
    other.aggregate()

    assert home.sums() == other.sums()
    assert home.rows("SELECT SUM(requests) AS calls FROM spend_hourly") == [(len(calls),)]
    by_hour = (
        "SELECT budget_id, scope_value, SUM(spent_usd) AS usd, SUM(requests) AS calls "
        "FROM {} GROUP BY budget_id, scope_value ORDER BY 1, 2"
    )
    assert home.rows(by_hour.format("budget_hourly")) == home.rows(by_hour.format("window_spend"))
    by_user = (
        "SELECT org_id, user_id, SUM(requests) AS requests, SUM(cost_usd) AS usd "
        "FROM {} GROUP BY 1, 2 ORDER BY 2"
    )
    assert home.rows(by_user.format("spend_daily")) == home.rows(by_user.format("spend_hourly"))
    made = home.sums()

    report = home.aggregate(is_rebuild=True)

    assert report["batches"] == 1
    assert home.sums() == made


def test_what_cannot_be_counted_waits_in_quarantine_until_it_can(home: Home) -> None:
    good = home.call("ann", 5)
    early = home.call("ann", 70, NOW + HOUR)
    negative = replace(home.call("ann", -1), cost_nano=-1)
    home.flush(good, early, negative)
    spent = "SELECT spent_usd, requests FROM window_spend WHERE budget_id = 'users'"

    report = home.aggregate()
    again = home.aggregate()

    assert report["quarantined"] == again["quarantined"] == {"future_clock": 1, "negative_cost": 1}
    assert len(report["problems"]) == 2  # type: ignore[arg-type]  # plain JSON
    assert "spend_quarantine" in str(report["problems"])
    assert home.rows(spent) == [("0.000000005", 1)]
    assert home.rows("SELECT event_id, released_at FROM spend_quarantine ORDER BY 1") == [
        (early.event_id, None), (negative.event_id, None),
    ]  # fmt: skip

    # Time mends the one, a person the other.
    table = DeltaTable(home.settings.delta_folder / "spend_quarantine")
    table.update({"accepted_by": "'olga'"}, predicate=f"event_id = '{negative.event_id}'")
    mended = home.aggregate(as_of=NOW + HOUR)

    assert (mended["quarantined"], mended["problems"], mended["batches"]) == ({}, [], 0)
    assert home.rows(spent) == [("0.000000074", 3)]
    sums = home.sums()
    home.aggregate(as_of=NOW + HOUR, is_rebuild=True)
    assert home.sums() == sums


def test_what_is_accepted_while_a_run_goes_on_is_counted_once(home: Home) -> None:
    negative = replace(home.call("ann", -1), cost_nano=-1)
    home.flush(negative)
    home.aggregate()
    spent = "SELECT spent_usd, requests FROM window_spend WHERE budget_id = 'users'"
    home.charge("ann", 5, AT - 2 * HOUR)

    def accept(statement: str) -> None:
        if statement == "merge_hourly":
            quarantine = DeltaTable(home.settings.delta_folder / "spend_quarantine")
            quarantine.update({"accepted_by": "'olga'"})

    space = HookedSpace(home.settings.delta_folder.absolute(), hooks=(accept,))
    report = home.aggregate(space=space)

    assert report["quarantined"] == {}
    assert home.rows(spent) == [("0.000000004", 2)]


def test_a_batch_killed_before_its_quarantine_is_written_is_reported_by_the_next_run(
    home: Home,
) -> None:
    home.charge("ann", 5)
    home.aggregate()
    home.flush(home.call("ann", 70, NOW + HOUR))
    space = dying_space(home, 0)
    with pytest.raises((RuntimeError, PySparkException), match="killed"):
        home.aggregate(space=space)

    report = home.aggregate()

    assert report["quarantined"] == {"future_clock": 1}
    assert "1 events aren't counted (future_clock)" in str(report["problems"])


def test_events_of_budgets_that_no_policy_had_are_summed_once_it_has(
    home: Home, other: Home
) -> None:
    home.charge("ann", 5)
    report = home.aggregate(Policy((LIFE,)))
    assert report["budgets_unknown"] == ["roll", "users"]
    home.charge("bob", 7, AT - 3 * HOUR)

    assert home.aggregate()["budgets_unknown"] == []

    other.flush(*home.events)
    other.aggregate()
    assert home.sums() == other.sums()

    # A budget that gets another window, or is gone and comes back, has the sums of its new form.
    monthly = Policy((replace(USERS, window=parse_window("month")), LIFE))
    home.aggregate(monthly)
    other.aggregate(monthly, is_rebuild=True)
    assert home.sums() == other.sums()


def test_without_the_ledger_the_sums_go_on_under_the_tables_budgets(
    spark: SparkSession, home: Home
) -> None:
    home.charge("ann", 5)
    space = TableSpace(home.settings.delta_folder.absolute())
    settings = Settings(home=home.folder, ledger_url="postgresql://127.0.0.1:1/none")
    run = JobRun(settings, NOW)

    blind = run_job(run)
    space.create(spark, BUDGETS)
    spark.sql(
        f"INSERT INTO {space.name(BUDGETS)} (budget_id, scope, limit_usd, window, owner) "
        "VALUES ('users', 'user:*', 10, 'day', 'people'), ('broken', 'nobody', -1, 'day', NULL)"
    )
    seeing = run_job(run)

    assert "held is unknown" in str(blind["ledger"])
    assert (blind["held_known"], blind["budgets_unknown"]) == (False, ["life", "roll", "users"])
    assert seeing["budgets_unknown"] == ["life", "roll"]
    with pytest.raises(HostError, match=r"budget_state is of 2026-03-10.* already"):
        run_job(replace(run, as_of=NOW - 2 * HOUR))
    state = "SELECT budget_id, scope_value, spent_usd, held_usd FROM budget_state"
    assert home.rows(state) == [("users", "ann", "0.000000005", None)]
