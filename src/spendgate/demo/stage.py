"""The processes of a run: model server, served model, jobs; each started as a user would."""

import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

import httpx

from spendgate.errors import HostError
from spendgate.web.environment import without_settings

_PYTHON = sys.executable
CLI = (_PYTHON, "-m", "spendgate")
_SIMULATOR = (_PYTHON, "-m", "spendgate.simulator")
READY_SECONDS = 180.0
"""MLflow loads for 5 s on an idle machine; this only ends a start that hangs."""
STOP_SECONDS = 60.0
JOB_SECONDS = 600.0
"""Spark starts for 15 s; its first start ever downloads the Delta jars."""
_POLL_SECONDS = 0.1
_LOG_LINES = 8


@dataclass(slots=True)
class Server:
    """A server of this run."""

    name: str
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def stop(self) -> int:
        """Send SIGTERM, wait until calls in flight are answered, return the exit status.

        Raises:
            HostError: if it doesn't end; it is killed then.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise HostError(f"{self.name} did not stop within {STOP_SECONDS:.0f} s") from None


def start_model_server(home: Path, latency_ms: float) -> Server:
    """Start the billing simulator; its bill is also kept in `bill.json`."""
    port = _free_port()
    bill = str(home / "bill.json")
    flags = ["--port", str(port), "--latency-ms", str(latency_ms), "--bill", bill]
    return _start("the model server", [*_SIMULATOR, *flags], home, port, "/health")


def start_served_model(home: Path, upstream: str, budgets: Path | None, workers: int = 1) -> Server:
    """Start `spendgate serve`: MLflow's own scoring server with the gate inside."""
    port = _free_port()
    flags = ["serve", "--home", str(home), "--port", str(port), "--upstream", upstream]
    flags += ["--workers", str(workers)]
    if budgets is not None:
        flags += ["--budgets", str(budgets)]
    return _start("the served model", [*CLI, *flags], home, port, "/ping")


def start_gate(
    home: Path, name: str, settings: Collection[str], command: Sequence[str] = CLI
) -> Server:
    """Start `spendgate app`: the gate as an ASGI host, on a port of its own.

    Args:
        home: where its log goes.
        name: what it is called there.
        settings: the variables of this process that it shall see; it sees no other setting.
        command: what starts spendgate.
    """
    port = _free_port()
    return _start(name, [*command, "app", "--port", str(port)], home, port, "/health", settings)


def run_job(home: Path, name: str) -> str:
    """Run `spendgate job NAME`; return what it prints."""
    return run_command(home, ["job", name, "--home", str(home)])


def run_command(home: Path, arguments: Sequence[str]) -> str:
    """Run `spendgate …` and return its output.

    Raises:
        HostError: if it fails, with the last lines of what it said.
    """
    log = home / "jobs.log"
    with log.open("ab") as errors:
        try:
            done = subprocess.run(  # noqa: S603 - our own command, arguments of this run
                [*without_settings(), *CLI, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=JOB_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"spendgate {arguments[0]} did not end; see {log}") from None
    if done.returncode != 0:
        name = " ".join(arguments[:2])
        raise HostError(f"spendgate {name} ended with {done.returncode}:\n{_tail(log)}")
    return done.stdout.decode(errors="replace")


def _start(
    name: str,
    command: Sequence[str],
    home: Path,
    port: int,
    ready_path: str,
    settings: Collection[str] = (),
) -> Server:
    log = home / f"{name.removeprefix('the ').replace(' ', '-')}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command, arguments of this run
            [*without_settings(settings), *command], stdout=output, stderr=output
        )
    server = Server(name, f"http://127.0.0.1:{port}", log, process)
    try:
        _wait_until_ready(server, ready_path)
    except BaseException:
        server.__exit__()
        raise
    return server


def _wait_until_ready(server: Server, path: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(base_url=server.url, timeout=5, trust_env=False) as http:
        while time.monotonic() < deadline:
            if server.process.poll() is not None:
                raise HostError(f"{server.name} didn't start:\n{_tail(server.log)}")
            try:
                if http.get(path).status_code == HTTPStatus.OK:
                    return
            except httpx.TransportError:
                pass  # it isn't listening yet
            time.sleep(_POLL_SECONDS)
    raise HostError(
        f"{server.name} didn't answer {path} in {READY_SECONDS:.0f} s; see {server.log}"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tail(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, maxlen=_LOG_LINES)).rstrip()
