"""Who calls a Model Serving endpoint, through the unmodified SDK and databricks-ai-bridge.

The workspace is a stand-in on loopback; the platform's way of passing a user's token on is
databricks-ai-bridge's own fallback, and its scoring server's module where threads matter.
"""

import json
import logging
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from spendgate.adapters.databricks_caller import API_SCOPES, DatabricksCaller
from spendgate.bootstrap import build_caller
from spendgate.config import Settings
from spendgate.errors import CallerError, CallerUnavailableError, HostError
from spendgate.gateway.reply import Reply
from spendgate.gateway.wire import Host

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own classes when it is imported
    from spendgate.serving.served_model import Answering

ANN, BOB = "dapi-token-of-ann", "dapi-token-of-bob"
USERS = {ANN: "ann@acme.com", BOB: "bob@acme.com"}


class Workspace:
    """Answers who a token belongs to, as SCIM's Me does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.me: dict[str, Any] | None = None
        self.delay_seconds = 0.0
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, answer = workspace.answer(self.path, token)
                data = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # who asked didn't wait

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        if path != "/api/2.0/preview/scim/v2/Me":
            return 404, {"error_code": "NOT_FOUND", "message": "there is no such path"}
        self.asked.append(token)
        time.sleep(self.delay_seconds)
        if self.status != 200:
            return self.status, {"error_code": "X", "message": f"refused {token}"}
        if token not in USERS:
            return 401, {"error_code": "UNAUTHENTICATED", "message": f"unknown {token}"}
        return 200, {"userName": USERS[token]} if self.me is None else self.me

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    stand_in = Workspace()
    monkeypatch.setenv("IS_IN_DB_MODEL_SERVING_ENV", "true")
    monkeypatch.setenv("DATABRICKS_MODEL_SERVING_HOST_URL", stand_in.url)
    yield stand_in
    stand_in.close()


@pytest.fixture
def pass_on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Pass a user's token on to the model, as the platform does for each request."""

    def pass_token(token: str | None) -> None:
        monkeypatch.setitem(threading.main_thread().__dict__, "invokers_token", token)

    return pass_token


@pytest.fixture
def caller() -> DatabricksCaller:
    return DatabricksCaller(timeout_seconds=5)


def test_each_request_s_user_is_told_and_each_token_asked_about_once(
    workspace: Workspace, pass_on: Callable[..., None], caller: DatabricksCaller
) -> None:
    for token in (ANN, BOB, ANN, BOB):
        pass_on(token)
        assert caller() == {"user": USERS[token]}

    assert workspace.asked == [ANN, BOB]


def test_requests_at_once_are_told_apart(
    workspace: Workspace, caller: DatabricksCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: ContextVar[str] = ContextVar("current")
    module = types.ModuleType("mlflowserving.scoring_server.agent_utils")
    module.fetch_obo_token = current.get  # type: ignore[attr-defined]  # as the platform's has
    for name in ("mlflowserving", "mlflowserving.scoring_server"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def request(number: int) -> bool:
        token = (ANN, BOB)[number % 2]
        current.set(token)
        return caller() == {"user": USERS[token]}

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(request, range(200)))


def test_a_token_is_asked_about_again_after_an_hour_and_old_ones_make_room(
    workspace: Workspace, pass_on: Callable[..., None]
) -> None:
    now = [0.0]
    caller = DatabricksCaller(timeout_seconds=5, known_max=1, clock=lambda: now[0])
    pass_on(ANN)
    caller()
    now[0] = 3599.0
    caller()
    now[0] = 3600.0
    caller()
    assert len(workspace.asked) == 2

    for token in (BOB, ANN):
        pass_on(token)
        caller()
    assert len(workspace.asked) == 4


def test_credentials_of_our_own_are_never_taken_for_the_caller_s(
    workspace: Workspace,
    pass_on: Callable[..., None],
    caller: DatabricksCaller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "DATABRICKS_HOST": workspace.url,
        "DATABRICKS_TOKEN": "dapi-of-the-host",
        "DATABRICKS_CLIENT_ID": "id",
        "DATABRICKS_CLIENT_SECRET": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    pass_on(ANN)

    assert caller() == {"user": "ann@acme.com"}
    assert workspace.asked == [ANN]


def test_no_token_from_the_platform_is_told_with_the_way_out(
    workspace: Workspace, pass_on: Callable[..., None], caller: DatabricksCaller
) -> None:
    for _ in range(2):
        pass_on(None)
        with pytest.raises(CallerError, match="UserAuthPolicy"):
            caller()

    pass_on(ANN)
    assert caller() == {"user": "ann@acme.com"}
    pass_on(None)
    with pytest.raises(CallerError, match="passed no user token on"):
        caller()


@pytest.mark.parametrize(
    ("status", "me", "kind"),
    [
        (401, None, CallerError),
        (403, None, CallerError),
        (500, None, CallerUnavailableError),
        (200, {}, CallerError),
        (200, {"userName": ""}, CallerError),
        (200, {"userName": "*"}, CallerError),
        (200, {"userName": "a\nb"}, CallerError),
    ],
)
def test_a_workspace_that_names_nobody_is_told_and_asked_again(
    workspace: Workspace,
    pass_on: Callable[..., None],
    caller: DatabricksCaller,
    caplog: pytest.LogCaptureFixture,
    status: int,
    me: dict[str, Any] | None,
    kind: type[Exception],
) -> None:
    caplog.set_level(logging.INFO)
    workspace.status, workspace.me = status, me
    pass_on(ANN)

    with pytest.raises(kind) as caught:
        caller()

    assert ANN not in str(caught.value)
    assert ANN not in caplog.text
    workspace.status, workspace.me = 200, None
    assert caller() == {"user": "ann@acme.com"}


def test_a_workspace_that_doesnt_answer_in_time_is_told(
    workspace: Workspace, pass_on: Callable[..., None]
) -> None:
    workspace.delay_seconds = 3
    pass_on(ANN)

    with pytest.raises(CallerUnavailableError):
        DatabricksCaller(timeout_seconds=0.2)()


def test_a_workspace_that_isnt_there_is_told(
    workspace: Workspace, pass_on: Callable[..., None]
) -> None:
    workspace.close()
    pass_on(ANN)

    with pytest.raises(CallerUnavailableError):
        DatabricksCaller(timeout_seconds=0.5)()


def test_it_is_asked_only_where_it_is_switched_on_and_possible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("IS_IN_DB_MODEL_SERVING_ENV", raising=False)
    assert build_caller(Settings()) is None
    with pytest.raises(HostError, match="inside Databricks Model Serving only"):
        build_caller(Settings(on_behalf_of_user=True))

    monkeypatch.setenv("IS_IN_DB_MODEL_SERVING_ENV", "true")
    assert isinstance(build_caller(Settings(on_behalf_of_user=True)), DatabricksCaller)
    monkeypatch.setitem(sys.modules, "spendgate.adapters.databricks_caller", None)
    with pytest.raises(HostError, match=r"spendgate\[databricks\]"):
        build_caller(Settings(on_behalf_of_user=True))


class Gate:
    """Remembers who the platform vouched for."""

    def __init__(self) -> None:
        self.vouched: list[object] = []

    def handle(
        self,
        route: str,
        body: dict[str, object],
        *,
        host: Host,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply:
        self.vouched.append(vouched)
        return Reply(200, {})

    stream = handle


def test_the_served_model_passes_its_caller_on(
    workspace: Workspace, pass_on: Callable[..., None], caller: DatabricksCaller
) -> None:
    gate = Gate()
    model = Answering(lambda: gate)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    model.predict(None, body)
    model._caller = caller
    pass_on(ANN)
    model.predict(None, body)
    list(model.predict_stream(None, body))

    assert gate.vouched == [None, {"user": "ann@acme.com"}, {"user": "ann@acme.com"}]
    workspace.status = 403
    pass_on(BOB)
    refused: Any = model._answered(model._whole, body)
    piece: Any
    (piece,) = model.predict_stream(None, body)
    workspace.status = 500
    unavailable: Any = model._answered(model._whole, body)
    assert (refused.status, refused.body["error"]["code"]) == (401, "caller_unknown")
    assert (piece["choices"], piece["error"]["code"]) == ([], "caller_unknown")
    assert (unavailable.status, unavailable.body["error"]["code"]) == (503, "caller_unavailable")
    assert unavailable.body["retryable"] is True
    assert len(gate.vouched) == 3


def test_the_scope_is_the_one_that_model_serving_offers() -> None:
    assert API_SCOPES == ("iam.current-user:read",)
