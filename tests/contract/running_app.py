"""`spendgate app` or `serve` as it runs, the command line beside it, requests down to the byte."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.contract.conftest import PROGRAMS
from tests.started_server import free_port, wait_for

MODEL = "databricks-claude-haiku-4-5"
BUDGETS = """
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 10}
  - {id: users, scope: {user: "*"}, limit_usd: 10}
"""


class App:
    """A running host, the command line beside it, and requests down to the byte."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.home = Path(environment["SPENDGATE_HOME"])
        self._environment = environment

    def cli(self, *arguments: str) -> str:
        command = [str(PROGRAMS / "spendgate"), *arguments]
        return subprocess.run(
            command, env=self._environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def chat(self, own: dict[str, object] | None = None, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            json=body(own),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout=30,
        )

    def narrow(self, token: str, **wish: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.post(f"{self.url}/api/tokens/narrow", json=wish, headers=headers, timeout=30)

    def raw(self, *headers: bytes) -> tuple[int, dict[str, Any]]:
        """Send a chat with header lines as they are; returns the status and the answer."""
        content = json.dumps(body(None)).encode()
        lines = [
            b"POST /v1/chat/completions HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(content),
            *headers,
        ]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + content)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        head, _, text = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        return status, json.loads(text) if text.startswith(b"{") else {}


def body(own: dict[str, object] | None) -> dict[str, object]:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    return asked if own is None else {**asked, "custom_inputs": own}


@contextmanager
def running(
    home: Path,
    simulator: str,
    *,
    budgets: str = BUDGETS,
    workers: int = 2,
    kind: str = "app",
    **settings: str,
) -> Iterator[App]:
    (home / "budgets.yml").write_text(budgets)
    port = free_port()
    environment = {**os.environ, "SPENDGATE_HOME": str(home), **settings}
    command = [str(PROGRAMS / "spendgate"), kind, "--port", str(port), "--upstream", simulator]
    command += ["--budgets", str(home / "budgets.yml"), "--workers", str(workers)]
    log = home / f"{kind}.log"
    ready = "/ping" if kind == "serve" else "/health"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}{ready}", process, log)
            yield App(port, environment)
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert "Traceback" not in log.read_text()
    assert "eyJ" not in log.read_text(), "a token is in the log"
