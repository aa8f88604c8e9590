"""A start without a policy file: the default budget, and the ledgers that don't get it."""

from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run

from spendgate import Budgets
from spendgate.adapters.stored_ledger import StoredLedger


def start(run: Run) -> str:
    """Start a host as far as it comes without a model server; return what it noted."""
    return run("app", code=1).err


def budget_ids(run: Run) -> list[str]:
    return [one["id"] for one in run("budget", "list", "--json").json]


def test_a_ledger_that_never_had_a_policy_gets_the_default_budget(run: Run) -> None:
    start(run)

    assert budget_ids(run) == ["default"]


@pytest.mark.parametrize("host", ["serve", "app"])
def test_a_ledger_whose_last_budget_was_removed_is_not_opened_again(run: Run, host: str) -> None:
    run("budget", "set", "only", "--scope", "agent:x", "--limit", "1", "--window", "day")
    run("budget", "remove", "only")

    told = run(host, code=1).err

    assert budget_ids(run) == []
    assert "the ledger's own budgets were removed: no budget covers a call" in told


def test_a_policy_file_without_budgets_holds_at_later_starts(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "none.yml"
    file.write_text("budgets: []", encoding="utf-8")
    run("budget", "import", str(file))

    start(run)

    assert budget_ids(run) == []


def test_the_library_leaves_an_emptied_ledger_empty(run: Run, home: Path) -> None:
    start(run)
    run("budget", "remove", "default")

    Budgets(home=home).close()

    assert budget_ids(run) == []


def test_prices_and_pauses_alone_are_no_policy(run: Run, ledger: StoredLedger) -> None:
    run("price", "set", "own", "--input", "1", "--output", "2")
    run("pause", "user:eve")

    start(run)

    assert budget_ids(run) == ["default"]


def default_of(run: Run) -> tuple[str, str]:
    (budget,) = run("budget", "list", "--json").json
    return budget["limit_usd"], budget["window"]


def test_the_first_start_says_which_budget_it_made_and_how_to_change_it(run: Run) -> None:
    told = start(run)

    assert "no policy file: made budget 'default', 10 USD per month for each user" in told
    assert "`spendgate budget set default --limit USD`" in told
    assert "own budgets hold" not in told
    assert "the ledger's own budgets hold (1)" in start(run)


def test_other_settings_bring_the_default_budget_up_to_date(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(run)
    monkeypatch.setenv("BUDGET_DEFAULT_LIMIT", "25")
    monkeypatch.setenv("BUDGET_DEFAULT_WINDOW", "day")

    told = start(run)

    assert "budget 'default' is now 25 USD per day for each user" in told
    assert default_of(run) == ("25", "day")
    assert "the ledger's own budgets hold (1)" in start(run)
    monkeypatch.setenv("BUDGET_DEFAULT_LIMIT", "2")
    start(run)
    assert default_of(run) == ("2", "day")


def test_a_start_that_sets_none_of_them_leaves_the_default_budget(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGET_DEFAULT_LIMIT", "1")
    start(run)
    monkeypatch.delenv("BUDGET_DEFAULT_LIMIT")

    Budgets(home=home).close()

    assert default_of(run) == ("1", "month")


@pytest.mark.parametrize(
    "change",
    [
        ("budget", "set", "default", "--limit", "5"),
        ("budget", "set", "bot", "--scope", "agent:bot", "--limit", "1", "--window", "day"),
        ("budget", "raise", "default", "--amount", "1", "--reason", "launch"),
    ],
)
def test_what_people_changed_is_left_and_the_settings_are_told_as_not_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, change: tuple[str, ...]
) -> None:
    start(run)
    run(*change)
    before = run("budget", "list", "--json").json
    monkeypatch.setenv("BUDGET_DEFAULT_LIMIT", "25")

    told = start(run)

    assert run("budget", "list", "--json").json == before
    assert "the settings BUDGET_* are not used" in told


def test_a_file_s_budget_is_no_default_budget(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(run)
    file = tmp_path / "same.yml"
    file.write_text(
        'budgets: [{id: default, scope: {user: "*"}, limit_usd: 10, window: month}]',
        encoding="utf-8",
    )
    run("budget", "import", str(file))
    monkeypatch.setenv("BUDGET_DEFAULT_LIMIT", "25")

    start(run)

    assert default_of(run) == ("10", "month")
