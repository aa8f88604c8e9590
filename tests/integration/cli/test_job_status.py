"""`spendgate job` tells its scheduler how it went."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.cli import job_command

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["a place that is down"], 1)])
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["table", "json"])
def test_a_job_with_problems_ends_with_status_1(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    problems: list[str],
    code: int,
    flags: list[str],
) -> None:
    report = {"job": "drain", "problems": problems}
    monkeypatch.setattr(job_command, "run_named", lambda _name, _run: report)

    told = run("job", "drain", *flags, code=code)

    assert all(problem in told.out for problem in problems)
