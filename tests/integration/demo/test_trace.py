"""`spendgate trace` in a short form, on a small trace and on the real one where it is at hand."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.server, pytest.mark.spark]

ROOT = Path(__file__).resolve().parents[3]
AZURE = ROOT.parent / "shared" / "data" / "AzureLLMInferenceTrace_conv.csv"


def trace(file: Path, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spendgate", "trace", str(file), "--home", str(home), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check(done: subprocess.CompletedProcess[str], calls: int) -> None:
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert [one for one in report["checks"] if not one["holds"]] == []
    assert report["calls"] == calls == sum(report["outcomes"].values())
    assert set(report["sums_usd"]) == {"bill", "ledger", "Delta", "spend_hourly"}
    (total,) = set(report["sums_usd"].values())
    assert total > "0.000000000"


def test_a_replayed_trace_ends_in_sums_that_agree(
    write_trace: Callable[[int], Path], tmp_path: Path
) -> None:
    file = write_trace(240)

    done = trace(file, tmp_path / "home", "--limit", "200", "--concurrency", "16", "--json")

    check(done, calls=200)
    assert "200 of 200 calls" in done.stderr


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure trace is kept beside the repository")
def test_the_real_trace_ends_in_sums_that_agree(tmp_path: Path) -> None:
    check(trace(AZURE, tmp_path / "home", "--limit", "200", "--json"), calls=200)


def test_a_file_that_is_no_trace_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nnow,1,1\n", "utf-8")

    done = trace(file, tmp_path / "home")

    assert done.returncode == 1
    assert "line 2: TIMESTAMP 'now'" in done.stderr
    assert not (tmp_path / "home").exists()
