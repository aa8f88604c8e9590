"""The demo in a short form: real servers, real Delta, real Spark."""

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from spendgate.demo.books import read_bill
from spendgate.demo.proof import prove
from spendgate.demo.stage import start_served_model
from spendgate.demo.traffic import CallRecord
from spendgate.errors import HostError

pytestmark = [pytest.mark.server, pytest.mark.spark]

Json = dict[str, Any]
Done = subprocess.CompletedProcess[str]


def record(line: str) -> CallRecord:
    fields: Json = json.loads(line)
    for name in ("sent_at", "answered_at"):
        fields[name] = datetime.fromisoformat(fields[name])
    return CallRecord(**fields)


def test_every_check_of_the_demo_holds(demo: Done, proof: Json) -> None:
    assert [check for check in proof["checks"] if not check["holds"]] == []
    assert proof["holds"] is True
    assert demo.returncode == 0
    assert re.search(r"All \d+ checks hold", demo.stdout)
    assert demo.stderr == ""


def test_the_demo_shows_what_it_is_about(proof: Json) -> None:
    assert {"allow", "fit", "downgrade", "budget_exhausted", "no_budget"} <= set(proof["calls"])
    assert [burst["callers"] for burst in proof["bursts"]] == [64, 64]


def test_every_budget_is_proven_in_four_books(proof: Json) -> None:
    rows = proof["budgets"]

    assert len({row["budget_id"] for row in rows}) == 11
    for row in rows:
        books = {row[f"{book}_usd"] for book in ("bill", "ledger", "delta", "budget_state")}
        assert len(books) == 1


def test_queries_are_shown_with_their_answers(demo: Done) -> None:
    assert len(re.findall(r"^\$ uv run spendgate sql --home", demo.stdout, re.MULTILINE)) == 5
    assert re.search(r"databricks-claude-haiku-4-5 +\d+ +0\.\d{9}", demo.stdout)


@pytest.mark.usefixtures("proof")
def test_the_kept_evidence_proves_it_again_and_one_nano_less_does_not(demo_home: Path) -> None:
    statement: Json = json.loads((demo_home / "bill.json").read_text("utf-8"))
    lines = (demo_home / "calls.jsonl").read_text("utf-8").splitlines()
    calls = [record(line) for line in lines]
    assert prove(demo_home, read_bill(statement), calls).holds

    statement["total_nano_usd"] -= 1

    assert not prove(demo_home, read_bill(statement), calls).holds


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    budgets = tmp_path / "budgets.yml"
    budgets.write_text("budgets:\n  - {id: one, scope: {}, limit_usd: -1}\n", "utf-8")

    with pytest.raises(HostError, match=r"didn't start:\n(.|\n)*limit_usd"):
        start_served_model(tmp_path, "http://127.0.0.1:9", budgets)
