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
