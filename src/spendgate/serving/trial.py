"""MLflow's own pre-deployment prediction of a logged model, without spending money.

`mlflow models predict` loads the model as Model Serving would, in an environment of the model's own
requirements where uv is at hand, and asks it one question. Behind the gate stands the simulator
instead of a paid model, and its ledger is a file that goes with the trial.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from spendgate.adapters.budget_codec import parse_budget
from spendgate.bootstrap import open_ledger
from spendgate.config import SQLITE_SCHEME, Settings
from spendgate.domain.budget import Policy
from spendgate.errors import HostError
from spendgate.gateway.json_object import json_object
from spendgate.serving.signature import INPUT_EXAMPLE
from spendgate.web.environment import without_settings

TRIAL_SECONDS = 1200
"""Installing the requirements takes minutes where nothing is cached."""
_START_SECONDS = 60.0
_SHOWN_CHARS = 600
_BUDGET: Mapping[str, object] = {"id": "trial", "scope": {}, "limit_usd": 1}


def environment_manager() -> str:
    """Return how MLflow makes the model's environment here: by uv, else this process's own."""
    return "uv" if shutil.which("uv") else "local"


def try_model(model: Path, manager: str) -> None:
    """Ask a logged model one question through MLflow.

    Raises:
        HostError: if it can't be loaded, or its answer isn't a completion with `spend`.
    """
    with tempfile.TemporaryDirectory(prefix="spendgate-trial-") as folder:
        home = Path(folder)
        settings = Settings(home=home, ledger_url=f"{SQLITE_SCHEME}{home / 'ledger.db'}")
        with closing(open_ledger(settings)) as ledger:
            ledger.policies.import_policy(
                Policy(budgets=(parse_budget(_BUDGET, where="the trial"),))
            )
        question, answer = home / "question.json", home / "answer.json"
        question.write_text(json.dumps(INPUT_EXAMPLE), "utf-8")
        command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(model)]
        command += ["-i", str(question), "-o", str(answer), "-t", "json"]
        command += ["--env-manager", manager]
        with model_server(home) as url:
            told = [f"SPENDGATE_HOME={folder}", f"SPENDGATE_UPSTREAM_URL={url}"]
            done = _run([*without_settings(), *told, *command])
        if done.returncode or not answer.is_file():
            said = (done.stderr or done.stdout).strip()[-_SHOWN_CHARS:]
            raise HostError(f"the logged model doesn't answer, so it isn't registered: {said}")
        _check(answer.read_text("utf-8"))


def _check(text: str) -> None:
    try:
        answer: object = json.loads(text)
    except ValueError:
        answer = None
    body = json_object(answer)
    # MLflow wraps some answers in `predictions`.
    body = json_object(body.get("predictions")) or body
    if not body.get("choices") or not json_object(body.get("spend")):
        raise HostError("the logged model answers without choices or spend; it isn't registered")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - this Python, and names made here
            command,
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(
            f"the logged model didn't answer within {TRIAL_SECONDS} s; it isn't registered"
        ) from None


@contextmanager
def model_server(home: Path) -> Generator[str]:
    """Run the simulator; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "spendgate.simulator", "--port", port]
    with (home / "simulator.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - as above
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    last = time.monotonic() + _START_SECONDS
    while time.monotonic() < last and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=1).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise HostError("the simulator for the trial of the model doesn't start")
