"""The command line run in this process, on a home of its own."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import open_ledger
from spendgate.cli import main
from spendgate.config import Settings

SEED_NAMES = ("PORT", "DATABRICKS_BASE_URL", "DATABRICKS_API_KEY")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Run(Protocol):
    """Runs one command and checks its exit code."""

    def __call__(self, *arguments: str, code: int = 0) -> Ran: ...


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("SPENDGATE_", "BUDGET_")) or name in SEED_NAMES:
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("SPENDGATE_HOME", str(folder))
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str, code: int = 0) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        ran = Ran(int(ended.value.code or 0), printed.out, printed.err)
        assert ran.code == code, f"exit {ran.code}: {ran.out}{ran.err}"
        return ran

    return run_command


@pytest.fixture
def ledger(home: Path) -> Iterator[StoredLedger]:
    opened = open_ledger(Settings(home=home))
    yield opened
    opened.close()
