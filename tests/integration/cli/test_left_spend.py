"""An edit that starts a budget at zero says so, how much was spent, and how to count it."""

import logging
import re
import shlex
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run

from spendgate import Budgets

SAID = "starts at zero"


def written(file: Path, rows: str) -> str:
    file.write_text(f"budgets:\n{rows}", encoding="utf-8")
    return str(file)


def row(name: str, scope: str = "org: acme", window: str = "lifetime", limit: str = "1") -> str:
    return f"  - {{id: {name}, scope: {{{scope}}}, limit_usd: {limit}, window: {window}}}\n"


def charge(run: Run, amount: str, scope: str) -> None:
    run("adjust", "--charge", amount, "--scope", scope, "--reason", "a call")


def remedy_of(told: str) -> list[str]:
    found = re.search(r"`spendgate (adjust [^`]*)`", told)
    assert found is not None, told
    return shlex.split(found[1])


def spent(run: Run, budget: str) -> dict[str, str]:
    standing = run("spend", "show", "--json").json
    return {one["scope"]: one["spent_usd"] for one in standing if one["budget_id"] == budget}


@pytest.fixture
def file(run: Run, tmp_path: Path) -> Path:
    """A policy file in force, all of whose only budget is spent."""
    policy = tmp_path / "budgets.yml"
    run("budget", "import", written(policy, row("org")))
    charge(run, "1", "org:acme,user:ann")
    return policy


def test_another_window_in_the_file_is_told_with_a_remedy_that_counts_what_was_spent(
    run: Run, file: Path
) -> None:
    told = run("budget", "import", written(file, row("org", window="'rolling:30d'"))).err

    assert (
        f"budget 'org' {SAID} from now: window lifetime -> rolling:30d; 1 USD were spent in its "
        "running window" in told
    )
    assert spent(run, "org") == {"org:acme": "0.000000000"}
    run(*remedy_of(told))
    assert spent(run, "org") == {"org:acme": "1.000000000"}


def test_another_id_is_told_with_a_remedy_that_counts_what_was_spent(run: Run, file: Path) -> None:
    told = run("budget", "import", written(file, row("acme"))).err

    assert f"budget 'acme' {SAID} from now: it was 'org' before; 1 USD" in told
    run(*remedy_of(told))
    assert spent(run, "acme") == {"org:acme": "1.000000000"}


def test_another_dimension_names_the_form_of_the_remedy(run: Run, file: Path) -> None:
    told = run("budget", "import", written(file, row("org", "org: acme, user: '*'"))).err

    assert f"{SAID} from now: scope org:acme -> org:acme,user:*; 1 USD" in told
    assert "for each value `spendgate adjust --charge USD --budget org" in told
    assert "--scope org:acme,user:NAME" in told


def test_a_removed_budget_with_spend_is_told(run: Run, file: Path) -> None:
    told = run("budget", "import", written(file, row("other", "org: other"))).err

    assert "budget 'org' was removed, and another id would start at zero; 1 USD were spent" in told


@pytest.fixture
def users(run: Run, tmp_path: Path) -> Path:
    """The file of a budget per user, of whom two have spent."""
    file = written(tmp_path / "users.yml", row("users", "user: '*'", limit="5"))
    run("budget", "import", file)
    charge(run, "1", "user:ann")
    charge(run, "2.5", "user:bob")
    return Path(file)


def test_the_values_of_a_wildcard_are_summed_and_the_dearest_is_named(
    run: Run, users: Path
) -> None:
    told = run("budget", "import", written(users, row("users", "user: '*'", "'rolling:9d'"))).err

    whole = "3.5 USD were spent in the running windows of its 2 values, at most 2.5 USD by user:bob"
    assert whole in told


@pytest.mark.parametrize(
    "edited",
    [
        row("org", limit="7"),
        row("org").replace("limit_usd", "mode: shadow, hard_cap: 0.9, soft_cap: 0.1, limit_usd"),
        row("org", "org: '*'"),
        row("org").replace("limit_usd", "tz: Europe/Berlin, limit_usd"),
    ],
)
def test_an_edit_that_keeps_the_spend_says_nothing(run: Run, file: Path, edited: str) -> None:
    told = run("budget", "import", written(file, edited)).err

    assert "budgets changed" in told
    assert "zero" not in told
    assert spent(run, "org") == {"org:acme": "1.000000000"}


def test_a_budget_for_somebody_else_says_nothing(run: Run, file: Path) -> None:
    assert "zero" not in run("budget", "import", written(file, row("org", "org: other"))).err


def test_a_budget_that_comes_back_under_its_id_finds_its_balance(run: Run, file: Path) -> None:
    run("budget", "import", written(file, row("other", "org: other")))
    run("budget", "import", written(file, row("org")))

    assert spent(run, "org") == {"org:acme": "1.000000000"}


def test_another_window_for_fewer_values_tells_of_those_that_are_left(
    run: Run, users: Path
) -> None:
    told = run("budget", "import", written(users, row("users", "user: ann", "'rolling:9d'"))).err

    assert "; 1 USD were spent in its running window" in told
    run(*remedy_of(told))
    assert spent(run, "users") == {"user:ann": "1.000000000"}


def test_of_many_budgets_that_start_at_zero_the_first_ten_are_told(
    run: Run, tmp_path: Path
) -> None:
    file, names = tmp_path / "many.yml", [f"b{number:02}" for number in range(12)]
    run("budget", "import", written(file, "".join(map(row, names))))
    charge(run, "1", "org:acme")

    edited = "".join(row(name, window="'rolling:9d'") for name in names)
    told = run("budget", "import", written(file, edited)).err

    assert told.count("from now: window") == 10
    assert "2 more budgets start at zero or were removed with spend" in told


def test_a_budget_that_spent_nothing_says_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "budgets.yml"
    run("budget", "import", written(file, row("org")))

    assert "zero" not in run("budget", "import", written(file, row("org", window="day"))).err


@pytest.mark.parametrize("host", ["serve", "app"])
def test_a_host_that_starts_with_a_changed_file_tells_it(run: Run, file: Path, host: str) -> None:
    changed = written(file, row("org", window="'rolling:30d'"))

    assert f"budget 'org' {SAID}" in run(host, "--budgets", changed, code=1).err


def test_the_library_warns_of_it(home: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    changed = written(file, row("org", window="'rolling:30d'"))

    with caplog.at_level(logging.WARNING, logger="spendgate"):
        Budgets(changed, home=home).close()

    assert [one for one in caplog.messages if f"budget 'org' {SAID}" in one]


def test_budget_set_and_remove_tell_it(run: Run) -> None:
    run("budget", "set", "bot", "--scope", "agent:*", "--limit", "5", "--window", "lifetime")
    charge(run, "2", "agent:it's me")

    told = run("budget", "set", "bot", "--window", "rolling:30d").err

    assert f"budget 'bot' {SAID} from now: window lifetime -> rolling:30d; 2 USD" in told
    run(*remedy_of(told))
    assert spent(run, "bot") == {"agent:it's me": "2.000000000"}
    assert "2 USD were spent in its running window" in run("budget", "remove", "bot").err
