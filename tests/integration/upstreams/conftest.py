"""Simulators behind real sockets, one of them inside a Databricks workspace with OAuth."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spendgate.adapters.openai_upstream import OpenAIUpstream
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.upstream_pools import UpstreamPools
from spendgate.bootstrap import (
    apply_policy,
    build_gateway,
    open_async_pools,
    open_async_upstream,
    open_ledger,
    open_pools,
    open_upstream,
)
from spendgate.config import Settings
from spendgate.domain.event import SpendEvent
from spendgate.gateway.admission import Incoming
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.reply import Reply
from spendgate.gateway.wire import CHAT, Host
from spendgate.simulator.app import create_app
from spendgate.simulator.settings import SimulatorSettings

Json = dict[str, Any]
CLIENT_ID, CLIENT_SECRET = "0000-service-principal", "sp-secret"


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Run an app in this process, behind a real socket; gives its URL."""
    config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


class Simulated:
    """One simulator: its URL, what it was sent, and its bill."""

    def __init__(self, url: str) -> None:
        self.url = url

    def bill(self) -> Json:
        return httpx.get(f"{self.url}/bill").raise_for_status().json()


class Workspace(Simulated):
    """A workspace: a token server, and a simulator that answers to its tokens alone."""

    def __init__(self) -> None:
        super().__init__("")
        self.tokens: list[str] = []
        self.expires_in = 3600
        self.refuses_first = False
        self.refuses_all = False
        self.answers = threading.Event()
        self.answers.set()
        self.requests: list[tuple[str, dict[str, str], Json]] = []
        self._simulator = create_app(SimulatorSettings())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/.well-known/databricks-config":
            await _answer(send, 200, {"oidc_endpoint": f"{self.url}/oidc"})
        elif path == "/oidc/.well-known/oauth-authorization-server":
            endpoints = {
                "authorization_endpoint": f"{self.url}/oidc/v1/authorize",
                "token_endpoint": f"{self.url}/oidc/v1/token",
            }
            await _answer(send, 200, endpoints)
        elif path == "/oidc/v1/token":
            await self._token(send)
        elif path in {"/bill", "/health"}:
            await self._simulator(scope, receive, send)
        else:
            await self._model_call(scope, receive, send)

    async def _token(self, send: Send) -> None:
        if not self.answers.is_set():
            # Never answers, as far as a client can tell; the connection stays open.
            while not self.answers.is_set():
                await asyncio.sleep(0.02)
        token = f"token-{len(self.tokens) + 1}-{os.urandom(4).hex()}"
        self.tokens.append(token)
        grant = {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in}
        await _answer(send, 200, grant)

    async def _model_call(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if body:
            self.requests.append((scope["path"], headers, json.loads(body)))
        token = headers.get("authorization", "").removeprefix("Bearer ")
        is_refused = self.refuses_all or (self.refuses_first and token == self.tokens[0])
        if is_refused or token not in self.tokens:
            await _answer(send, 401, {"error_code": 401, "message": "invalid access token"})
            return

        async def again() -> Message:
            return {"type": "http.request", "body": sent, "more_body": False}

        sent, path = body, scope["path"]
        if path.startswith("/ai-gateway/mlflow"):
            # The gateway reports by its tags, so the bill is told apart by them.
            tags = json.loads(headers.get("databricks-ai-gateway-request-tags", "{}"))
            named = {"client_request_id": tags.get("client_request_id", "")}
            sent = json.dumps({**json.loads(body), **named}).encode()
            path = path.removeprefix("/ai-gateway/mlflow")
        lengths = (b"content-length", str(len(sent)).encode())
        kept = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
        inner = {**scope, "path": path, "raw_path": path.encode(), "headers": [*kept, lengths]}
        await self._simulator(inner, again, send)


async def _answer(send: Send, status: int, body: Json) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace that the environment names with a service principal's credentials."""
    made = Workspace()
    with served(made) as url:
        made.url = url
        monkeypatch.setenv("DATABRICKS_HOST", url)
        monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
        monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", CLIENT_SECRET)
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)
        yield made
        made.answers.set()


@pytest.fixture
def simulator() -> Callable[..., AbstractContextManager[Simulated]]:
    """Run a simulator with settings of the test's own."""

    @contextmanager
    def run(**settings: Any) -> Iterator[Simulated]:
        with served(create_app(SimulatorSettings(**settings))) as url:
            yield Simulated(url)

    return run


@dataclass
class OpenedHost:
    """A host's gate over its policy's servers, asked from a thread or from an event loop."""

    settings: Settings
    ledger: StoredLedger
    gateway: Gateway
    pools: UpstreamPools

    def ask(self, way: str, bodies: list[Json], route: str = CHAT) -> list[Reply]:
        """Answer all at once, each in a thread of its own or as a task."""
        if way == "threads":
            with ThreadPoolExecutor(len(bodies)) as pool:
                return list(
                    pool.map(lambda body: self.gateway.handle(route, body, host=Host.ASGI), bodies)
                )
        return asyncio.run(self._asked(bodies, route))

    async def _asked(self, bodies: list[Json], route: str) -> list[Reply]:
        with ThreadPoolExecutor(4) as threads:
            gate = self.gateway.on_event_loop(
                open_async_upstream(self.settings), threads, open_async_pools(self.settings)
            )
            calls = (gate.handle(Incoming(route, body, Host.ASGI)) for body in bodies)
            replies = await asyncio.gather(*calls)
            assert await gate.close(10) == 0
        return list(replies)

    def events(self) -> list[SpendEvent]:
        found: list[SpendEvent] = []
        while (batch := self.ledger.outbox.claim_batch(1000)) is not None:
            found += batch.events
            self.ledger.outbox.confirm_batch(batch.number)
        return found

    @property
    def spent_nano(self) -> int:
        return sum(row.spent_nano for row in self.ledger.balances())

    @property
    def held_nano(self) -> int:
        return sum(row.held_nano for row in self.ledger.balances())


@pytest.fixture
def open_host(tmp_path: Path) -> Iterator[Callable[..., OpenedHost]]:
    """Open a host with a policy file, as `app` and `serve` do."""
    opened: list[OpenedHost] = []
    servers: list[OpenAIUpstream] = []

    def run(policy: Json, **settings: Any) -> OpenedHost:
        file = tmp_path / "budgets.yml"
        file.write_text(json.dumps(policy))  # JSON is YAML
        settings = {"home": tmp_path, "budgets_file": file, "held_wait_seconds": 0, **settings}
        read = Settings.model_validate(settings)
        ledger = open_ledger(read)
        apply_policy(read, ledger)
        pools, own = open_pools(read), open_upstream(read)
        if own is not None:
            servers.append(own)
        opened.append(OpenedHost(read, ledger, build_gateway(read, ledger, pools, own), pools))
        return opened[-1]

    yield run
    for server in servers:
        server.close()
    for host in opened:
        host.pools.close()
        host.ledger.close()
