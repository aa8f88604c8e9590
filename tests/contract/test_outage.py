"""A PostgreSQL that crashes under `spendgate app`: who may go on does, and is booked afterwards."""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from tests.contract.running_app import App, running

from spendgate.app.readiness import REMEMBERED_SECONDS
from spendgate.prove.postgres_server import PostgresServer

pytestmark = pytest.mark.server
BUDGETS = """
budgets:
  - {id: going-on, scope: {user: "*"}, limit_usd: 10, bound: counted, on_store_error: allow}
  - {id: closed, scope: {agent: "*"}, limit_usd: 10, bound: counted}
"""
BOOKED_SECONDS = 60


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.fixture
def app(server: PostgresServer, tmp_path: Path, simulator: str) -> Iterator[App]:
    settings = {"SPENDGATE_LEDGER_URL": server.url(), "SPENDGATE_SWEEP_SECONDS": "0.2"}
    with running(tmp_path, simulator, budgets=BUDGETS, workers=1, **settings) as app:
        yield app


def cost_nano(answer: httpx.Response) -> int:
    return int(Decimal(answer.json()["spend"]["cost_usd"]) * 10**9)


def spent_nano(server: PostgresServer) -> dict[str, int]:
    rows = server.run(
        "SELECT budget_id, SUM(spent)::bigint FROM spendgate.balance GROUP BY budget_id"
    )
    return {str(name): int(spent) for name, spent in rows}


def test_calls_of_an_outage_are_answered_or_refused_as_their_budgets_say_and_all_are_booked(
    app: App, server: PostgresServer
) -> None:
    before = app.chat({"user": "u", "agent": "a"})
    assert before.status_code == 200
    server.stop_immediately()

    answers = [app.chat({"user": f"u-{number}"}) for number in range(5)]
    refused = app.chat({"user": "u", "agent": "a"})
    probes = [httpx.get(f"{app.url}{path}") for path in ("/health", "/ready")]

    assert [one.status_code for one in answers] == [200] * 5
    assert {one.json()["spend"]["ledger"] for one in answers} == {"unavailable"}
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert [one.status_code for one in probes] == [200, 503]
    assert "spendgate_unheld_calls_total 5.0" in httpx.get(f"{app.url}/metrics").text
    assert probes[1].json() == {"status": "unavailable", "error": "ledger_unavailable"}

    server.start()
    expected = {
        "going-on": sum(map(cost_nano, [before, *answers])),
        "closed": cost_nano(before),
    }
    deadline = time.monotonic() + BOOKED_SECONDS
    while spent_nano(server) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert spent_nano(server) == expected
    assert '"ledger"' not in app.chat({"user": "u"}).text
    time.sleep(REMEMBERED_SECONDS)
    assert httpx.get(f"{app.url}/ready").json() == {"status": "ready"}
    app.cli("audit")
