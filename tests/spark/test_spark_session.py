"""The local session: what it needs, and that Connect does the same work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.errors import HostError
from spendgate.jobs.spark_session import (
    COMPILED_ROWS_MIN,
    INTERPRETED,
    JARS,
    compiled_queries,
    delta_settings,
    local_session,
)

CONNECT_RUN = Path(__file__).with_name("connect_run.py")


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)


def java_that_says(folder: Path, version: str) -> str:
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
    java.chmod(0o755)
    return str(folder)


@pytest.mark.usefixtures("no_session")
def test_a_machine_without_java_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    with pytest.raises(HostError, match=r"found none; install Java 17.*apt-get install"):
        local_session(tmp_path)


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize(
    ("shown", "named"),
    [('openjdk version "11.0.2"', "is 11"), ('java version "1.8.0_1"', "is 1"), ("?", "unknown")],
)
def test_an_old_java_is_refused_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, named: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", java_that_says(tmp_path, shown))

    with pytest.raises(HostError, match=named):
        local_session(tmp_path)


def test_cached_jars_are_named_so_that_no_network_is_needed(tmp_path: Path) -> None:
    assert "spark.jars" not in delta_settings(tmp_path)
    assert delta_settings(tmp_path)["spark.jars.packages"] == ",".join(JARS)

    (tmp_path / "jars").mkdir()
    for jar in JARS:
        group, artifact, version = jar.split(":")
        (tmp_path / "jars" / f"{group}_{artifact}-{version}.jar").touch()

    assert delta_settings(tmp_path)["spark.jars"].count(".jar") == len(JARS)
    assert "spark.jars.packages" not in delta_settings(tmp_path)


@pytest.mark.spark
def test_queries_are_compiled_while_they_read_many_rows(spark: SparkSession) -> None:
    def found() -> dict[str, str | None]:
        return {name: spark.conf.get(name) for name in INTERPRETED}

    def read_and_die() -> None:
        with compiled_queries(spark, is_ours=True, rows=COMPILED_ROWS_MIN):
            many.update(found())
            raise RuntimeError("killed")

    many: dict[str, str | None] = {}
    with compiled_queries(spark, is_ours=True, rows=COMPILED_ROWS_MIN - 1):
        few = found()
    with compiled_queries(spark, is_ours=False, rows=COMPILED_ROWS_MIN):
        platform = found()
    with pytest.raises(RuntimeError, match="killed"):
        read_and_die()

    assert few == platform == found() == INTERPRETED
    assert many == {
        "spark.sql.codegen.factoryMode": "FALLBACK",
        "spark.sql.codegen.wholeStage": "true",
    }


@pytest.mark.spark
def test_the_jobs_run_on_spark_connect_too(tmp_path: Path) -> None:
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}

    run = subprocess.run(
        [sys.executable, str(CONNECT_RUN), str(tmp_path)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr[-3000:]
    state = json.loads((tmp_path / "state.json").read_text())
    assert state == [{"scope_value": "*", "spent_usd": "0.000000006"}]
    crossed = json.loads((tmp_path / "told.json").read_text())
    assert crossed == ["hard_stop", "overrun", "threshold"]
    first, second = json.loads((tmp_path / "synced.json").read_text())
    assert [one["row"] for one in first["changes"]] == ["budget life"]
    assert (second["changes"], second["kept"], second["price_rows_to_table"]) == ([], 1, 0)
    reports, found = json.loads((tmp_path / "drained.json").read_text())
    nothing = {"job": "drain", "batches": 0, "events": 0, "decisions": 0}
    assert reports == [
        {"job": "drain", "batches": 1, "events": 1, "decisions": 1},
        {**nothing, "landed_batches": 1},
        {**nothing, "landed_batches": 0},
    ]
    assert sorted(row["event_id"] for row in found["spend_events"]) == ["a1:1", "ahead:1"]
    assert {tuple(row["tags"].items()) for row in found["spend_events"]} == {(("a", "b"),)}
    assert [row["decision_id"] for row in found["decisions"]] == ["d1"]
    told, billed, rows = json.loads((tmp_path / "billed.json").read_text())
    assert (told["alerts_new"], "problems" in told) == (1, False)
    assert (billed["total_usd"], billed["problems"]) == ("0.000000010", [])
    assert [Path(one).exists() for one in billed["files"]] == [True, True]
    assert rows == [{"ChargeClass": "Correction", "BilledCost": "1.0E-8"}]
    report = json.loads((tmp_path / "reconciled.json").read_text())
    assert report["bypass"]["payers"] == {"user:bob": {"requests": 1, "usd": "0.001000000"}}
    assert (report["bypass"]["charged"], report["hours"]) == (1, {"open": 1})
    assert "problems" not in report
    kept = json.loads((tmp_path / "maintained.json").read_text())
    assert kept["problems"] == []
    assert {name: one["rows_removed"] for name, one in kept["tables"].items()} == {
        "spend_events": 2, "spend_landing": 3, "spend_hourly": 0, "window_spend": 0,
    }  # fmt: skip
