"""What a run makes again of `budget_state`: all that has changed, and no lifetime besides."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.domain.budget import BalanceRow, Budget, Policy, Raise
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window, window_at
from spendgate.jobs.round_log import read_log, write_log
from spendgate.transforms.budget_frame import state_basis
from tests.spark.aggregate_home import NOW, USERS, Home
from tests.spark.test_aggregate_rounds import dying_space

pytestmark = pytest.mark.spark

MINUTE = timedelta(minutes=1)
LIFE = Budget("life", Scope.of({"user": "*"}), 100 * 10**9, parse_window("lifetime"))
ACME = Budget("roll", Scope.of({"org": "acme"}), 10**9, parse_window("lifetime"))
POLICY = Policy((USERS, LIFE, ACME))
WRITES_OF_A_ROUND = 3


@pytest.fixture
def home(spark: SparkSession, tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path / "home")
    assert not spark.streams.active


def held(user: str, nano: int) -> BalanceRow:
    return BalanceRow("life", user, "*", 0, nano)


def state(home: Home) -> list[tuple[object, ...]]:
    """All of the state but for when its rows were made."""
    rows = home.rows("SELECT * FROM budget_state ORDER BY budget_id, scope_value, window_start")
    return [row[:-1] for row in rows]


def made_anew(home: Home, policy: Policy, balances: list[BalanceRow], at: int) -> object:
    """What a home with the same events and nothing else has for its state."""
    other = Home(home.folder.with_name("other"))
    shutil.rmtree(other.folder, ignore_errors=True)
    events = "spend_events"
    shutil.copytree(home.settings.delta_folder / events, other.settings.delta_folder / events)
    other.aggregate(policy, balances, NOW + at * MINUTE)
    return state(other)


def lives(home: Home) -> dict[object, tuple[object, ...]]:
    rows = home.rows(
        "SELECT scope_value, spent_usd, held_usd, remaining_usd, updated_at FROM budget_state "
        "WHERE budget_id = 'life'"
    )
    return {row[0]: row[1:] for row in rows}


def test_runs_one_after_another_make_the_state_that_one_run_makes(home: Home) -> None:
    home.charge("dan", 4)
    home.aggregate(POLICY, [held("dan", 0)])
    home.charge("ann", 1)
    home.charge("bob", 2)
    home.aggregate(POLICY, [held("bob", 5), held("cy", 6), held("dan", 0)], NOW + MINUTE)
    first = lives(home)

    # A hold ends with a call that no event tells of yet, one ends, one is new, one lasts.
    balances = [held("bob", 0), held("cy", 0), held("ann", 7), held("dan", 0), held("eve", 8)]
    report = home.aggregate(POLICY, balances, NOW + 2 * MINUTE)
    second = lives(home)

    quiet = ("0.000000004", "0.000000000", "99.999999996", "2026-03-10T13:01:00Z")
    assert (first["dan"], second["dan"]) == (quiet, quiet)
    assert first["bob"][1:3] == ("0.000000005", "99.999999993")
    assert first["cy"][:3] == ("0.000000000", "0.000000006", "99.999999994")
    assert second["bob"][:3] == ("0.000000002", "0.000000000", "99.999999998")
    assert second["ann"][:3] == ("0.000000001", "0.000000007", "99.999999992")
    assert "cy" not in second
    assert report["budget_state_removed"] == 1
    assert report["budget_state"] == {"ok": 8, "soft": 0, "hard": 0}

    # A run for an earlier time is killed before it comes to the state; a raise is killed with it.
    home.charge("bob", 30)
    raised = replace(POLICY, raises=(Raise("r", "life", 10**9, "launch", NOW + 9 * MINUTE),))
    space = dying_space(home, WRITES_OF_A_ROUND)
    with pytest.raises(RuntimeError, match="killed"):
        home.aggregate(raised, balances, NOW + MINUTE, space=space)
    home.aggregate(raised, balances, NOW + 3 * MINUTE)

    assert (lives(home)["bob"][0], lives(home)["dan"][2]) == ("0.000000032", "100.999999996")

    # The ledger can't be asked: nobody knows what is held; then it can, and the raise is over.
    home.aggregate(raised, None, NOW + 4 * MINUTE)
    blind = lives(home)
    home.aggregate(raised, [held("dan", 1)], NOW + 9 * MINUTE)

    assert {row[1] for row in blind.values()} == {None}
    assert lives(home)["dan"][:3] == ("0.000000004", "0.000000001", "99.999999995")
    assert state(home) == made_anew(home, raised, [held("dan", 1)], 9)


def test_lifetimes_of_a_removed_budget_go_and_those_of_a_new_scope_come(home: Home) -> None:
    home.charge("ann", 1)
    home.aggregate(POLICY, [held("cy", 1)])
    both = home.rows("SELECT budget_id, scope_value FROM budget_state ORDER BY 1, 2")

    report = home.aggregate(Policy((USERS, ACME)), [held("cy", 1)], NOW + MINUTE)

    assert both == [("life", "ann"), ("life", "cy"), ("roll", "acme"), ("users", "ann")]
    assert report["budget_state_removed"] == 2
    assert lives(home) == {}

    # A log of an older version notes nothing of the state: all is made again.
    log = read_log(home.folder / "checkpoints" / "aggregate")
    assert log is not None
    older = replace(log, state_round=None, state_at=None, state_basis="")
    write_log(home.folder / "checkpoints" / "aggregate", older)
    moved = Policy((USERS, ACME, replace(LIFE, scope=Scope.of({"org": "*"}))))
    home.aggregate(moved, [], NOW + 2 * MINUTE)

    assert list(lives(home)) == ["acme"]


def test_a_window_that_is_over_keeps_its_sums_while_its_last_holds_end(home: Home) -> None:
    policy = Policy((USERS,))
    period = window_at(USERS.window, "UTC", NOW).key
    day = "SELECT spent_usd, held_usd, remaining_usd FROM budget_state WHERE scope_value = 'ann'"
    home.charge("ann", 7)

    # Events of the next day come in between, so that the day before is no news any more.
    for hours, nano in ((0, 5), (12, 5), (13, 0)):
        if hours:
            home.charge("bob", 1, NOW + hours * 60 * MINUTE)
        balances = [BalanceRow("users", "ann", period, 7, nano)]
        home.aggregate(policy, balances, NOW + hours * 60 * MINUTE)

        left = f"9.{10**9 - 7 - nano:09}"
        assert home.rows(day) == [("0.000000007", f"0.00000000{nano}", left)]


def test_the_basis_of_the_state_is_what_lifetimes_depend_on() -> None:
    def basis(policy: Policy, minutes: int = 0, *, is_ledger_known: bool = True) -> str:
        return state_basis(policy, NOW + minutes * MINUTE, is_ledger_known=is_ledger_known)

    ending = replace(ACME, expires_at=NOW + 5 * MINUTE)
    raised = replace(POLICY, raises=(Raise("r", "life", 1, "launch", NOW + 5 * MINUTE),))

    assert basis(POLICY) == basis(replace(POLICY, version=7), 9)
    others = [
        basis(POLICY, is_ledger_known=False),
        basis(raised),
        basis(Policy((USERS, LIFE))),
        basis(Policy((USERS, LIFE, replace(ACME, scope=Scope.of({"org": "other"}))))),
        basis(Policy((USERS, LIFE, ending)), 5),
    ]
    assert len({basis(POLICY), *others}) == 6
    assert basis(raised, 5) == basis(Policy((USERS, LIFE, ending))) == basis(POLICY)
