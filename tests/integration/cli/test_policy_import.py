"""Another policy file on the same ledger: which budgets went and which changed is said."""

import logging
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run

from spendgate import Budgets


def written(file: Path, *budgets: tuple[str, int]) -> str:
    rows = [
        f"  - {{id: {name}, scope: {{agent: {name}}}, limit_usd: {limit}, window: day}}\n"
        for name, limit in budgets
    ]
    file.write_text("budgets:\n" + "".join(rows), encoding="utf-8")
    return str(file)


@pytest.fixture
def first(run: Run, tmp_path: Path) -> str:
    file = written(tmp_path / "first.yml", ("gone", 1), ("same", 2), ("other", 3))
    run("budget", "import", file)
    run("budget", "set", "mine", "--scope", "agent:mine", "--limit", "9", "--window", "day")
    return file


@pytest.fixture
def second(tmp_path: Path) -> str:
    return written(tmp_path / "second.yml", ("same", 2), ("other", 4), ("new", 5))


def test_an_import_says_which_budgets_it_removed_and_changed(
    run: Run, first: str, second: str
) -> None:
    told = run("budget", "import", second).err

    assert "budgets removed, which second.yml does not have: 'gone'\n" in told
    assert "budgets changed to what second.yml says: 'other'\n" in told


@pytest.mark.parametrize("host", ["serve", "app"])
def test_a_start_says_which_budgets_its_file_removed_and_changed(
    run: Run, first: str, second: str, host: str
) -> None:
    told = run(host, "--budgets", second, code=1).err

    assert "budgets removed, which second.yml does not have: 'gone'\n" in told
    assert "budgets changed to what second.yml says: 'other'\n" in told


def test_the_same_file_again_changes_nothing_to_tell(run: Run, first: str) -> None:
    told = run("budget", "import", first).err

    assert "removed" not in told
    assert "changed" not in told


def test_a_budget_that_people_took_over_is_kept_and_not_called_changed(
    run: Run, first: str, second: str
) -> None:
    run("budget", "set", "other", "--limit", "7")

    told = run("budget", "import", second).err

    assert "budget 'other' is kept" in told
    assert "changed" not in told


def test_of_many_removed_budgets_the_first_ten_are_named(run: Run, tmp_path: Path) -> None:
    many = written(tmp_path / "many.yml", *((f"b{number:02}", 1) for number in range(13)))
    run("budget", "import", many)

    told = run("budget", "import", written(tmp_path / "one.yml", ("b00", 1))).err

    assert "not have: 'b01', 'b02', " in told
    assert "'b10' and 2 more\n" in told


def test_the_library_warns_of_budgets_that_its_file_removed(
    home: Path, first: str, second: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="spendgate"):
        Budgets(second, home=home).close()
        Budgets(second, home=home).close()

    told = [one.getMessage() for one in caplog.records if "removed" in one.getMessage()]
    assert told == ["budgets removed, which second.yml does not have: 'gone'"]
