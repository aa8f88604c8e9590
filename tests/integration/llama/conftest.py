"""A llama.cpp server over a tiny random model: an upstream that isn't ours."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "serve_tiny.py"


@pytest.fixture(scope="session")
def llama_model() -> str:
    """Name the model as the server lists it."""
    return "tiny-llama"


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the server and give its base URL, which has no `/v1`."""
    directory = tmp_path_factory.mktemp("llama")
    log = directory / "server.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), log.read_text(errors="replace")
            yield address
        finally:
            server.stdin.close()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
