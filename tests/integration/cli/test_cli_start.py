"""The command itself: help, wrong usage, and hosts that refuse to start."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""

COMMANDS = (
    *("serve", "app", "simulate", "job", "sql", "budget", "pause", "resume"),
    *("token", "price", "spend", "audit", "doctor"),
)
SLOW = ("mlflow", "pyspark", "pandas")


def test_help_names_every_command(run: Run) -> None:
    told = run("--help")

    assert [name for name in COMMANDS if name not in told.out] == []


def test_an_unknown_command_is_wrong_usage(run: Run) -> None:
    assert "No such command 'spent'" in run("spent", code=2).err


def test_budget_commands_load_nothing_that_is_slow(home: Path) -> None:
    script = (
        "import sys; from spendgate.cli.program import make_program; make_program();"
        f"print([name for name in {SLOW!r} if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("host", ["serve", "app"])
def test_a_host_with_a_wrong_policy_file_stops_at_once(run: Run, tmp_path: Path, host: str) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("budgets: [{id: b, scope: {}, limit_usd: 1, soft_cap: 1.2}]")

    told = run(host, "--upstream", "http://127.0.0.1:9", "--budgets", str(file), code=1)

    assert told.err == (
        "error: wrong.yml: budget 'b': soft_cap: 1.2 is above hard_cap 1.0; set it to 1.0 or less\n"
    )


@pytest.mark.parametrize("host", ["serve", "app"])
def test_a_host_without_a_model_server_says_how_to_name_one(run: Run, host: str) -> None:
    assert "--upstream" in run(host, code=1).err


@pytest.mark.parametrize("host", ["serve", "app"])
def test_a_host_needs_a_policy_file_that_exists(run: Run, tmp_path: Path, host: str) -> None:
    told = run(host, "--budgets", str(tmp_path / "none.yml"), code=2)

    assert "does not exist" in told.err


@pytest.mark.server
def test_the_simulator_serves_its_bill_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "spendgate", "simulate", "--port", str(port)]
    bill = tmp_path / "bill.json"
    server = subprocess.Popen([*command, "--bill", str(bill)], env=os.environ.copy())
    try:
        answered = _bill(port)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)

    assert answered["total_nano_usd"] == 0
    assert bill.exists()


def _bill(port: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/bill", timeout=5).json()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_credentials_in_the_upstream_url_are_refused_and_not_printed(run: Run) -> None:
    told = run("doctor", "--upstream", "http://me:hunter2@127.0.0.1:1/v1", code=1)

    assert told.out + told.err == (
        "error: SPENDGATE_UPSTREAM_URL: holds a user or password before the @; take them out and "
        "set SPENDGATE_UPSTREAM_API_KEY\n"
    )


def test_a_setting_is_named_by_the_variable_that_fills_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPENDGATE_UPSTREAM_URL", raising=False)
    monkeypatch.setenv("DATABRICKS_BASE_URL", "http://me:hunter2@127.0.0.1:1/v1")

    assert run("doctor", code=1).err.startswith("error: DATABRICKS_BASE_URL: holds a user or")

    monkeypatch.setenv("DATABRICKS_BASE_URL", "http://127.0.0.1:1")
    assert "check --upstream or DATABRICKS_BASE_URL, and" in run("doctor", code=1).out

    monkeypatch.setenv("SPENDGATE_UPSTREAM_URL", "http://127.0.0.1:1")
    assert (
        "check --upstream or SPENDGATE_UPSTREAM_URL, and the network" in run("doctor", code=1).out
    )
