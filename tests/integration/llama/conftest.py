"""A llama.cpp server over a tiny random model: an upstream that isn't ours."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    with server(tmp_path_factory.mktemp("llama")) as address:
        yield address


@pytest.fixture(scope="session")
def llama_embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server of embeddings over the same model."""
    with server(tmp_path_factory.mktemp("llama-embeddings"), "embeddings") as address:
        yield address


@contextmanager
def server(directory: Path, *words: str) -> Iterator[str]:
    log = directory / "server.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), log.read_text(errors="replace")
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
