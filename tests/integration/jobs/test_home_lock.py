"""One job at a time on a home's tables."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from spendgate.config import Settings
from spendgate.errors import HostError
from spendgate.jobs.home_lock import home_lock
from spendgate.jobs.job_list import JOBS, run_named
from spendgate.jobs.job_run import JobRun

NOW = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize("name", sorted(set(JOBS) - {"drain"}))
def test_a_job_waits_for_no_other_and_says_so(tmp_path: Path, name: str) -> None:
    run = JobRun(Settings(home=tmp_path), NOW)

    with (
        home_lock(tmp_path),
        pytest.raises(HostError, match=f"another job works on the tables of {tmp_path}"),
    ):
        run_named(name, run)

    assert [path.name for path in tmp_path.iterdir()] == ["jobs.lock"]


def test_a_job_of_the_future_is_refused(tmp_path: Path) -> None:
    run = JobRun(Settings(home=tmp_path), datetime(9999, 1, 1, tzinfo=UTC))

    with pytest.raises(HostError, match=r"--as-of 9999-01-01T00:00:00[+]00:00 is in the future"):
        run_named("drain", run)


def test_a_drain_may_run_beside_other_jobs(tmp_path: Path) -> None:
    with home_lock(tmp_path), pytest.raises(HostError, match="there is no ledger"):
        run_named("drain", JobRun(Settings(home=tmp_path), NOW))


def test_a_job_that_failed_keeps_nobody_off(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), home_lock(tmp_path):
        raise RuntimeError

    with home_lock(tmp_path):
        pass


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with home_lock(tmp_path / "typo"):
        pass

    assert not (tmp_path / "typo").exists()


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.lock").mkdir()

    with (
        pytest.raises(HostError, match=f"the home {tmp_path} can't be written"),
        home_lock(tmp_path),
    ):
        pass
