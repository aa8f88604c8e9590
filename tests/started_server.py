"""A server in a process of its own: a free port for it, and the wait until it answers."""

import socket
import subprocess
import time
from pathlib import Path

import httpx

START_SECONDS = 180


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Wait until a server answers 200, or fail with what it has logged."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text() if log else f"{url} ended"
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} didn't answer in {START_SECONDS} s")
