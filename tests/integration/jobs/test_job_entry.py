"""`spendgate-job`, the wheel's entry point: arguments, report, and how it ends."""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import write_deltalake

from spendgate.adapters.event_rows import event_table
from spendgate.bootstrap import open_ledger
from spendgate.cli import main as command_line
from spendgate.config import Settings
from spendgate.domain.retention import FILES_MIN
from spendgate.errors import HostError, JobFailedError
from spendgate.jobs import job_list
from spendgate.jobs.entry import main
from spendgate.jobs.job_list import Job
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.setup import no_ledger_note


@pytest.fixture
def home(tmp_path: Path) -> Path:
    open_ledger(Settings(home=tmp_path)).close()
    return tmp_path


def test_a_job_prints_its_report_and_returns(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["maintain", "--home", str(home), "--as-of", "2026-03-10"])

    report = json.loads(capsys.readouterr().out)
    assert report["job"] == "maintain"
    assert report["older_than"] == "2026-03-03T00:00:00+00:00"


def test_a_setting_may_be_given_as_an_argument(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--home", str(home), "--as-of", "2026-03-10"]
    main(["maintain", *given, "--set", "ledger_retention_seconds=86400"])

    assert json.loads(capsys.readouterr().out)["older_than"] == "2026-03-09T00:00:00+00:00"
    with pytest.raises(HostError, match="ledger_retention_seconds"):
        main(["maintain", *given, "--set", "ledger_retention_seconds=soon"])


def test_files_cant_be_kept_for_less_than_delta_keeps_them(home: Path) -> None:
    with pytest.raises(HostError, match=r"vacuum_hours: .*greater than or equal to 168"):
        main(["maintain", "--home", str(home), "--set", "vacuum_hours=24"])


def test_without_java_maintain_does_the_rest_and_fails_only_if_rows_were_to_go(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deltalake(home / "delta" / "spend_events", event_table([]))
    for number in range(FILES_MIN):
        (home / "delta" / "spend_events" / f"{number}.parquet").touch()
    monkeypatch.setenv("JAVA_HOME", str(home))
    given = ["maintain", "--home", str(home), "--as-of", "2026-03-10"]

    main(given)

    report = json.loads(capsys.readouterr().out)
    assert (report["holds_removed"], report["problems"]) == (0, [])
    assert report["notes"][0].startswith("tables: Spark needs Java and found none; install Java")
    with pytest.raises(JobFailedError, match="Spark needs Java and found none"):
        main([*given, "--set", "events_retention_days=400"])


def test_a_report_with_problems_ends_the_job_as_failed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def troubled(run: JobRun) -> Report:
        return {"job": "troubled", "problems": ["an event of the future"]}

    monkeypatch.setitem(job_list.JOBS, "troubled", Job("finds problems", troubled))  # type: ignore[arg-type] - a dict at run time

    with pytest.raises(JobFailedError, match="an event of the future"):
        main(["troubled", "--home", str(home)])
    assert "an event of the future" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["drain", "--as-of", "soon"], "'soon' is no time"),
        (["drain", "--as-of", "0001-01-01T00:00:00+14:00"], "is no time"),
        (["maintain", "--rebuild"], "maintain takes no --rebuild"),
        (["drain", "--set", "nothing=1"], "'nothing' is no setting"),
        (["drain", "--set", "geo"], "'geo' is no setting"),
        (["drain", "--until", "2026-01-01"], "drain takes no --until"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_a_home_without_a_ledger_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="there is no ledger at sqlite:///") as told:
        main(["drain", "--home", str(tmp_path)])
    assert str(told.value).endswith("or start with `spendgate budget import` or `spendgate serve`")


def test_the_way_out_of_a_setup_without_a_ledger_makes_one(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a home")
    found = re.search("`(.*)`", no_ledger_note(settings))
    assert found is not None
    policy = Path(__file__).parents[3] / "budgets.yml"

    with pytest.raises(SystemExit) as ended:
        command_line(shlex.split(found[1].replace("FILE", shlex.quote(str(policy))))[1:])

    assert ended.value.code == 0
    with JobRun(settings, datetime(2026, 3, 10, tzinfo=UTC)).opened_ledger() as ledger:
        assert ledger.policies.policy().budgets


def test_a_catalog_without_a_volume_has_no_place_for_checkpoints(tmp_path: Path) -> None:
    run = JobRun(Settings(home=tmp_path), datetime(2026, 3, 10, tzinfo=UTC), catalog="main")

    with pytest.raises(HostError, match="need --volume"):
        _ = run.folder
    assert run.space.catalog == "main"
