"""Both hosts as their commands run them, in front of the simulator."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.started_server import free_port, wait_for

PROGRAMS = Path(sys.executable).parent
BUDGETS = """
budgets:
  - {id: rich, scope: {user: rich}, limit_usd: 1000}
  - {id: poor, scope: {user: poor}, limit_usd: 0.000001}
  - {id: quiet, scope: {user: quiet}, limit_usd: 0.000001, refusal: in_band}
  - {id: busy, scope: {user: busy}, limit_usd: 0.002, fit: false}
"""


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "spendgate.simulator", "--port", str(port)]
    with subprocess.Popen(command) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/bill", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[str]:
    """Give the base URL of an OpenAI client."""
    with host("app", tmp_path_factory.mktemp("app"), simulator) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="session")
def endpoint_url(tmp_path_factory: pytest.TempPathFactory, simulator: str) -> Iterator[str]:
    """Give the URL of MLflow's scoring server with the model."""
    with host("serve", tmp_path_factory.mktemp("serve"), simulator) as url:
        yield url


@contextmanager
def host(kind: str, home: Path, simulator: str) -> Iterator[str]:
    (home / "budgets.yml").write_text(BUDGETS)
    port = free_port()
    environment = {**os.environ, "SPENDGATE_HOME": str(home), "SPENDGATE_HELD_WAIT_SECONDS": "0.2"}
    command = [str(PROGRAMS / "spendgate"), kind, "--port", str(port), "--upstream", simulator]
    command += ["--budgets", str(home / "budgets.yml")]
    log = home / "host.log"
    ready = "/ping" if kind == "serve" else "/health"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}{ready}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            exit_code = process.wait(timeout=30)
    assert exit_code == 0
    assert "the canary sings" not in log.read_text()
    assert "Traceback" not in log.read_text()
