"""An agent's process: a budget file, an embedded ledger, and the simulator behind a socket."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from spendgate import Budgets
from spendgate.config import Settings
from spendgate.simulator.app import create_app
from spendgate.simulator.settings import SimulatorSettings

SONNET, HAIKU = "databricks-claude-sonnet-4-5", "databricks-claude-haiku-4-5"
POLICY = """
defaults: {held_wait_seconds: 0}
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 1, window: day, alerts: [0.1, 0.5], fit: false}
  - {id: tiny, scope: {agent: tiny}, limit_usd: 0.002, window: day, fit: false}
  - {id: looping, scope: {agent: looping}, limit_usd: 0.02, window: day, fit: false}
  - id: careful
    scope: {agent: careful}
    limit_usd: 1
    window: day
    soft_cap: 0.000001
    auto_downgrade: [{from: [databricks-claude-sonnet-4-5], to: databricks-claude-haiku-4-5}]
    disable_tools: [web_search]
"""
MESSAGES = [{"role": "user", "content": "what is a ledger?"}]
Provider = Callable[..., dict[str, Any]]


@pytest.fixture
def simulator() -> Iterator[str]:
    app = create_app(SimulatorSettings())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture
def ask(simulator: str) -> Provider:
    """Call the model as an agent does, around the gate."""

    def post(body: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{simulator}/v1/chat/completions", json=body)
        answer.raise_for_status()
        return answer.json()

    return post


@pytest.fixture
def billed_usd(simulator: str) -> Callable[[], Decimal]:
    def ask_provider() -> Decimal:
        return Decimal(httpx.get(f"{simulator}/bill").json()["total_nano_usd"]) / 10**9

    return ask_provider


@pytest.fixture
def budgets(tmp_path: Path) -> Iterator[Budgets]:
    with open_budgets(tmp_path) as opened:
        yield opened


def open_budgets(home: Path, **settings: Any) -> Budgets:
    policy = home / "budgets.yml"
    policy.write_text(POLICY)
    return Budgets(policy, home=home, settings=Settings(**settings))


def spent_usd(budgets: Budgets, budget_id: str = "agents") -> Decimal:
    """Sum what the ledger says was spent, in USD; nothing may still be held."""
    rows = [one for one in budgets._host.ledger.balances() if one.budget_id == budget_id]
    assert [one.held_nano for one in rows] == [0] * len(rows)
    return Decimal(sum(one.spent_nano for one in rows)) / 10**9
