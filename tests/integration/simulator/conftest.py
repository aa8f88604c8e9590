"""Simulators on loopback, and short ways to call one."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import openai
import pytest

# Any JSON: what a test reads from it is what it asserts on.
Json = dict[str, Any]
MODEL = "databricks-meta-llama-3-3-70b-instruct"
PATH = "/v1/chat/completions"


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def started(*flags: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "spendgate.simulator", "--port", str(port), *flags]
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as process,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        try:
            wait_until(lambda: process.poll() is not None or is_up(url))
            assert process.poll() is None
            yield http, process
        finally:
            process.kill()


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for what another process does; the limit only ends a broken run."""
    return wait_until


@pytest.fixture(scope="session")
def start() -> Callable[..., AbstractContextManager[tuple[httpx.Client, subprocess.Popen[bytes]]]]:
    """Run `python -m spendgate.simulator` with flags of the test's own."""
    return started


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Share one simulator without flags."""
    with started() as (http, _):
        yield str(http.base_url)


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    """Talk to a simulator whose bill is empty."""
    with httpx.Client(base_url=server, timeout=30) as client:
        # A call that the test before gave up may still be ending.
        wait_until(lambda: client.post("/bill/reset").json()["max_concurrency"] == 0)
        yield client


@pytest.fixture
def client(http: httpx.Client, server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def ask(http: httpx.Client) -> Callable[..., httpx.Response]:
    """Post a chat call; keyword arguments are fields of its body."""

    def post(content: object = "hello there", **fields: object) -> httpx.Response:
        messages = [{"role": "user", "content": content}]
        return http.post(PATH, json={"model": MODEL, "messages": messages, **fields})

    return post


@pytest.fixture
def chat(ask: Callable[..., httpx.Response]) -> Callable[..., Json]:
    """Post a chat call that succeeds, and give its answer."""
    return lambda *content, **fields: ask(*content, **fields).raise_for_status().json()


@pytest.fixture
def events(ask: Callable[..., httpx.Response]) -> Callable[..., list[Json]]:
    """Post a streamed chat call, and give its events but for [DONE]."""

    def stream(*content: object, **fields: object) -> list[Json]:
        answer = ask(*content, **fields, stream=True).raise_for_status()
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    return stream


@pytest.fixture
def bill(http: httpx.Client) -> Callable[[], Json]:
    """Give the simulator's bill as it is now."""
    return lambda: http.get("/bill").raise_for_status().json()
