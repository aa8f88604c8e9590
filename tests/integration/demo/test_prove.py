"""`spendgate prove` in a short form, with everything real; and on a gate that is broken."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.budget import Budget
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[3]
PROVE = [sys.executable, "-m", "spendgate", "prove"]
SHORT = ("--seconds", "5", "--processes", "2", "--clients", "4")
BROKEN_GATE = shlex.join([sys.executable, "-m", "tests.ledgers.broken_gate"])
Json = dict[str, Any]  # what a test reads from it is what it asserts on


class Runs:
    """Short proofs, side by side: each of them mostly waits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes = {
            name: self._started(name, *flags)
            for name, flags in {
                "sqlite": ("--store", "sqlite"),
                "postgres": ("--store", "postgres"),
                "broken": ("--store", "sqlite", "--gate", BROKEN_GATE),
            }.items()
        }

    def outcome(self, name: str, store: str) -> tuple[int, str, Json]:
        """Wait for one, and give its status, what it said and its figures."""
        process = self._processes[name]
        process.wait()
        said = (self._folder / f"{name}.log").read_text("utf-8")
        file = self._folder / name / store / "prove.json"
        return (
            process.returncode,
            said,
            json.loads(file.read_text("utf-8")) if file.exists() else {},
        )

    def end(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGINT)  # so that it ends its gates too
            process.wait()

    def _started(self, name: str, *flags: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{name}.log").open("wb") as log:
            home = str(self._folder / name)
            return subprocess.Popen(
                [*PROVE, "--home", home, *flags, *SHORT], cwd=ROOT, stdout=log, stderr=log
            )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("prove"))
    yield made
    made.end()


def failed(document: Json) -> list[str]:
    return [check["name"] for check in document["checks"] if not check["holds"]]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_gates_that_are_killed_and_stopped_overspend_nothing(runs: Runs, store: str) -> None:
    status, said, document = runs.outcome(store, store)

    assert status == 0, said
    assert document["holds"] is True
    assert failed(document) == []
    assert document["faults"].pop("SIGKILL of a gate") == 3
    assert sum(document["faults"].values()) == (1 if store == "sqlite" else 2)
    assert document["corrected_calls"] > 0
    for row in document["budgets"]:
        assert row["bill_usd"] == row["ledger_usd"] == row["delta_usd"]
        assert not row["is_enforced"] or row["bill_usd"] <= row["limit_usd"]
    assert "\nProven;" in said


def test_a_gate_that_ignores_holds_is_convicted(runs: Runs) -> None:
    status, said, document = runs.outcome("broken", "sqlite")

    assert status == 1
    assert [name for name in failed(document) if name.startswith("bill within limit")]
    assert any(
        row["bill_usd"] > row["limit_usd"] for row in document["budgets"] if row["is_enforced"]
    )
    assert "\nNOT PROVEN;" in said


def test_a_ledger_that_somebody_uses_is_left_alone(
    postgres: "PostgresServer", tmp_path: Path
) -> None:
    database = postgres.new_database()
    ledger = open_ledger(Settings(ledger_url=database))
    ledger.policies.put_budgets([Budget("theirs", Scope.parse("org:acme"), 1, parse_window("day"))])
    ledger.close()

    command = [*PROVE, "--home", str(tmp_path / "home"), "--ledger", database]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "this ledger is in use" in done.stderr
