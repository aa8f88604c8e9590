"""Servers of a benchmark: started on loopback, waited for, ended by their pid."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import httpx

READY_SECONDS = 120.0


@contextmanager
def running(
    arguments: Sequence[str],
    ready_url: str,
    environment: Mapping[str, str] | None = None,
    program: str = sys.executable,
) -> Generator[int]:
    """Run `python …`, or another program, until the block ends; yields its pid."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPENDGATE_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [program, *arguments],
            env={**kept, **(environment or {})},
            stdout=log,
            stderr=log,
        )
        try:
            _wait(process, ready_url)
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"a server ended with {process.returncode} before it answered {url}")
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit(f"no answer from {url}")
