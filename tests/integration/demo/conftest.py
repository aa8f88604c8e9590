"""One short demo, shared by the tests that look at what it made."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

Json = dict[str, Any]  # what a test reads from it is what it asserts on


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="session")
def demo(demo_home: Path) -> subprocess.CompletedProcess[str]:
    """Run the smallest crowd as a user would; it goes home by itself after about ten seconds."""
    command = [sys.executable, "-m", "spendgate", "demo", "--home", str(demo_home)]
    flags = ["--agents", "8", "--seconds-max", "60"]
    return subprocess.run([*command, *flags], capture_output=True, text=True, check=False)


@pytest.fixture
def proof(demo: subprocess.CompletedProcess[str], demo_home: Path) -> Json:
    """Give the figures that the demo wrote."""
    assert (demo_home / "proof.json").exists(), demo.stdout + demo.stderr
    return json.loads((demo_home / "proof.json").read_text("utf-8"))


@pytest.fixture
def write_trace(tmp_path: Path) -> Callable[[int], Path]:
    """Write a trace of some calls, ten a second."""

    def write(calls: int) -> Path:
        start = datetime.fromisoformat("2023-11-16 18:15:46.680+00:00")
        rows = [
            f"{start + timedelta(milliseconds=100 * number)},{50 + 7 * number},{number % 90}"
            for number in range(calls)
        ]
        file = tmp_path / "trace.csv"
        file.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]), "utf-8")
        return file

    return write
