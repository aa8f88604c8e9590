"""A time that can't be read names the flag that it was given for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POLICY = str(Path(__file__).parents[3] / "budgets.yml")

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""


def test_a_time_before_the_first_year_of_utc_is_no_time(run: Run) -> None:
    told = run("job", "drain", "--as-of", "0001-01-01T00:00:00+14:00", code=2)

    assert "for --as-of: '0001-01-01T00:00:00+14:00' is no time" in told.err


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (("job", "chargeback"), "--as-of"),
        (("job", "chargeback"), "--since"),
        (("job", "chargeback"), "--until"),
        (("spend", "show", "--by", "user"), "--since"),
        (("price", "set", "m", "--input", "1", "--output", "1"), "--from"),
        (("replay", "--policy", POLICY), "--since"),
        (("replay", "--policy", POLICY), "--until"),
    ],
)
def test_a_wrong_time_names_its_flag(run: Run, command: tuple[str, ...], flag: str) -> None:
    told = run(*command, flag, "tomorrow", code=2)

    assert f"Invalid value for {flag}: 'tomorrow' is no time" in told.err
