"""A home reconciled with the bill of its simulated models, with real hosts and the real job."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.bootstrap import open_ledger, utc_now
from spendgate.config import Settings
from spendgate.demo.stage import start_gate, start_model_server
from spendgate.errors import HostError
from spendgate.jobs.job_list import run_named
from spendgate.jobs.job_run import JobRun

pytestmark = pytest.mark.spark

HAIKU = "databricks-claude-haiku-4-5"  # 1 and 5 USD per million tokens of input and output


def chat(url: str, output_tokens: int, simulate: Mapping[str, object], **own: object) -> int:
    lengths = {"prompt_tokens": 1000, "output_tokens": output_tokens}
    asked = {"model": HAIKU, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
    answer = httpx.post(
        f"{url}/v1/chat/completions",
        json=asked | {"simulate": {**lengths, **simulate}} | own,
        timeout=60,
    )
    return answer.status_code


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kinds(home: Path) -> list[str]:
    try:
        rows = query_rows(home / "delta", "SELECT kind FROM spend_events ORDER BY kind")
    except Exception:  # noqa: BLE001 - the table isn't there yet
        return []
    return [str(row["kind"]) for row in rows]


def test_one_command_reconciles_a_home_with_its_simulators_bill(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"HOME": str(tmp_path), "UPSTREAM_TIMEOUT_SECONDS": "1"}
    bill = tmp_path / "bill.json"

    def reconciled() -> dict[str, Any]:  # a report is plain JSON
        run = JobRun(Settings(home=tmp_path), utc_now(), bill=bill)
        return json.loads(json.dumps(run_named("reconcile", run)))

    with start_model_server(tmp_path, 0) as model:
        settings["UPSTREAM_URL"] = f"{model.url}/v1"
        for name, value in settings.items():
            monkeypatch.setenv(f"SPENDGATE_{name}", value)
        with start_gate(tmp_path, "gate", [f"SPENDGATE_{name}" for name in settings]) as gate:
            ann = {"custom_inputs": {"user": "ann"}}
            assert chat(gate.url, 100, {}, **ann) == 200
            lost = {"hang": True, "bill_on_error": True}
            assert chat(gate.url, 200, lost, **ann) >= 500
            assert chat(gate.url, 0, {"status": 429}, **ann) == 429
            assert chat(model.url, 300, {}, user="bob@acme.com") == 200
            wait_until(lambda: "expired" in kinds(tmp_path))
    for name in settings:
        monkeypatch.delenv(f"SPENDGATE_{name}")

    first = reconciled()

    assert first["evidence"]["settled"] == 1
    assert first["bypass"]["payers"] == {"user:bob@acme.com": {"requests": 1, "usd": "0.002500000"}}
    assert first["hours"] == {"agreed": 1}
    assert first["compared"] == {
        "our_usd": "0.003500000",
        "billed_usd": "0.006000000",
        "bypass_usd": "0.002500000",
        "ratio": 1.0,
        "residual_usd": "0.000000000",
    }
    assert "problems" not in first
    assert kinds(tmp_path) == ["corrected", "expired", "external", "settled", "voided"]
    assert json.loads(bill.read_text())["total_nano_usd"] == 6_000_000
    ledger = open_ledger(Settings(home=tmp_path))
    spent = {one.scope_value: one.spent_nano for one in ledger.balances()}
    ledger.close()
    assert spent == {"ann": 3_500_000, "bob@acme.com": 2_500_000}

    # A line that was cut off is named, and a second run books nothing twice.
    with bill.with_suffix(".calls.jsonl").open("a") as record:
        record.write('{"request_id": "cut o')
    again = reconciled()
    assert (again["evidence"]["settled"], again["bypass"]["charged"]) == (0, 0)
    assert again["compared"] == first["compared"]
    assert again["problems"] == [
        f"1 lines of {tmp_path}/bill.calls.jsonl can't be read and are left out"
    ]


def test_a_bill_without_its_calls_is_named(spark: SparkSession, tmp_path: Path) -> None:
    open_ledger(Settings(home=tmp_path)).close()
    run = JobRun(Settings(home=tmp_path), utc_now(), bill=tmp_path / "other.json")

    with pytest.raises(HostError, match=r"--bill .*there is no other\.calls\.jsonl beside it"):
        run_named("reconcile", run)
