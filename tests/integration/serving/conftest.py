"""MLflow's scoring server twice: in this process over a fake gateway, and as `serve` runs it."""

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient
from tests.started_server import START_SECONDS, free_port, wait_for

from spendgate.config import Settings
from spendgate.gateway.reply import Reply
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.wire import Host

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own classes when it is imported
    from mlflow.pyfunc import PyFuncModel, load_model, scoring_server

    from spendgate.serving.filter import InvocationFilter
    from spendgate.serving.register import log_served_model
    from spendgate.serving.served_model import ServedModel

MEETING_SECONDS = 30
BUDGETS = """
models:
  databricks-claude-haiku-4-5: {image_tokens: 1600}
budgets:
  - {id: rich, scope: {user: rich}, limit_usd: 1000}
  - {id: closer, scope: {user: closer}, limit_usd: 1000, on_client_abort: close}
  - {id: poor, scope: {user: poor}, limit_usd: 0.000001}
"""


@dataclass
class FakeGateway:
    """Remembers what it was asked and answers what it was told."""

    calls: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    reply: Reply | Exception = field(default_factory=lambda: Reply(200, {"choices": []}))
    before: Callable[[], None] = lambda: None
    chunks: list[StreamChunk] | None = None
    is_closed: bool = False
    vouched: object = None

    def handle(
        self, route: str, body: dict[str, object], *, host: Host, vouched: object = None
    ) -> Reply:
        assert host is Host.ENDPOINT
        self.vouched = vouched
        self.calls.append((route, body))
        self.before()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def stream(
        self, route: str, body: dict[str, object], *, host: Host, vouched: object = None
    ) -> Reply | Generator[StreamChunk]:
        if self.chunks is None:
            return self.handle(route, body, host=host, vouched=vouched)
        self.calls.append((route, body))
        return self._pieces(self.chunks)

    def _pieces(self, chunks: list[StreamChunk]) -> Generator[StreamChunk]:
        try:
            yield from chunks
        finally:
            self.is_closed = True


@pytest.fixture(scope="session")
def logged_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log_served_model(tmp_path_factory.mktemp("home") / "model")


@pytest.fixture(scope="session")
def pyfunc_model(logged_model: Path) -> PyFuncModel:
    return load_model(str(logged_model))


@pytest.fixture
def gateway(pyfunc_model: PyFuncModel) -> FakeGateway:
    fake = FakeGateway()
    python_model = pyfunc_model.unwrap_python_model()
    assert isinstance(python_model, ServedModel)
    python_model._handler = lambda: fake
    return fake


@pytest.fixture
def endpoint(pyfunc_model: PyFuncModel, gateway: FakeGateway) -> TestClient:
    app = scoring_server.init(pyfunc_model)
    return TestClient(InvocationFilter(app, body_bytes_max=Settings().body_bytes_max))


@pytest.fixture
def hasty_endpoint(
    pyfunc_model: PyFuncModel, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "1")
    app = scoring_server.init(pyfunc_model)
    return TestClient(InvocationFilter(app, body_bytes_max=Settings().body_bytes_max))


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


@dataclass
class Recorder:
    """A model server that remembers what reached it; answers for itself, or as the simulator."""

    url: str = ""
    bodies: list[dict[str, object]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    meeting: threading.Barrier | None = None
    """Where calls wait for each other, or for the test."""


@pytest.fixture(scope="session")
def recorder_process(simulator: str) -> Iterator[Recorder]:
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            recorder.bodies.append(json.loads(body))
            if recorder.meeting is not None:
                recorder.meeting.wait(MEETING_SECONDS)
            if recorder.answers:
                status, answer = recorder.answers.pop(0)
                content = json.dumps(answer).encode()
            else:
                response = httpx.post(simulator + self.path, content=body)
                status, content = response.status_code, response.content
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        recorder.url = f"http://127.0.0.1:{server.server_port}"
        yield recorder
        server.shutdown()
        thread.join()


@pytest.fixture
def upstream(recorder_process: Recorder) -> Recorder:
    recorder_process.bodies.clear()
    recorder_process.answers.clear()
    recorder_process.meeting = None
    return recorder_process


@pytest.fixture(scope="session")
def start_simulated(
    tmp_path_factory: pytest.TempPathFactory, simulator: str
) -> Callable[..., "HostProcess"]:
    """Start hosts straight in front of the simulator."""

    def start(kind: str, **options: object) -> "HostProcess":
        home = tmp_path_factory.mktemp(kind)
        return start_host(kind, home, simulator, **{"workers": 1, **options})  # type: ignore[arg-type]

    return start


@dataclass(frozen=True)
class Running:
    """A host process."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, body: object, path: str = "/invocations", **options: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60, **options)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="session")
def running_endpoint(
    tmp_path_factory: pytest.TempPathFactory, recorder_process: Recorder
) -> Iterator[Running]:
    """The real thing: `serve` in its own process, shared by all tests."""
    home = tmp_path_factory.mktemp("serve")
    with start_host("serve", home, recorder_process.url, workers=1) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, upstream: Recorder) -> Callable[..., "HostProcess"]:
    """Start further hosts, with a home of their own."""
    return lambda kind, **options: start_host(kind, tmp_path / "home", upstream.url, **options)


class HostProcess:
    """Starts a host, waits until it answers, and ends it by its pid."""

    def __init__(self, command: list[str], environment: dict[str, str], home: Path, url: str):
        self._command = command
        self._environment = environment
        self._home = home
        self._url = url

    def failure(self) -> str:
        """Run a host that can't start and return what it says."""
        ended = subprocess.run(
            self._command,
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=START_SECONDS,
            text=True,
        )
        assert ended.returncode == 1
        return ended.stdout + ended.stderr

    def __enter__(self) -> Running:
        log = self._home / "host.log"
        self._log_file = log.open("wb")
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=self._log_file, stderr=self._log_file
        )
        try:
            ready = "/ping" if "serve" in self._command else "/health"
            wait_for(self._url + ready, self._process, log)
        except BaseException:
            self.__exit__()
            raise
        return Running(self._url, self._home, self._process, log)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log_file.close()


def start_host(
    kind: str,
    home: Path,
    upstream_url: str,
    *,
    workers: int,
    port: int | None = None,
    **variables: str,
) -> HostProcess:
    home.mkdir(parents=True, exist_ok=True)
    (home / "budgets.yml").write_text(BUDGETS)
    port = port or free_port()
    environment = {
        **os.environ,
        "SPENDGATE_HOME": str(home),
        "SPENDGATE_UPSTREAM_URL": upstream_url,
        "SPENDGATE_BUDGETS_FILE": str(home / "budgets.yml"),
        "SPENDGATE_SQLITE_BUSY_SECONDS": "1",
        **variables,
    }
    flags = ["--port", str(port), "--workers", str(workers)]
    command = [str(Path(sys.executable).with_name("spendgate")), kind, *flags]
    return HostProcess(command, environment, home, f"http://127.0.0.1:{port}")
