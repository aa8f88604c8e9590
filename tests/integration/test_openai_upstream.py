"""Upstream URLs, and the whole gate over the billing simulator behind a real socket."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.model_server import own_server
from spendgate.adapters.openai_upstream import OpenAIUpstream
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.upstream_request import base_url
from spendgate.bootstrap import new_request_id
from spendgate.domain.budget import Policy
from spendgate.errors import HostError
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.wire import CHAT, Host
from spendgate.simulator.app import create_app
from spendgate.simulator.settings import SimulatorSettings


@pytest.mark.parametrize(
    ("url", "base", "name"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("https://host/serving-endpoints", "https://host/serving-endpoints", "host"),
    ],
)
def test_a_url_is_taken_with_or_without_its_version(url: str, base: str, name: str) -> None:
    assert base_url(url) == base
    with closing(OpenAIUpstream(own_server(url))) as upstream:
        assert upstream.name == name


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "host/v1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(HostError):
        base_url(url)


def test_a_url_with_credentials_is_refused_without_quoting_them() -> None:
    with pytest.raises(HostError, match="SPENDGATE_UPSTREAM_API_KEY") as told:
        own_server("https://me:hunter2@host/v1")

    assert "hunter2" not in str(told.value)


DIRECTIVES: list[dict[str, object]] = [
    {},
    {"output_tokens": 300},
    {"cached_tokens": 3},
    {"reasoning_tokens": 5, "output_tokens": 40},
    {"status": 429},
    {"status": 500},
    {"no_usage": True},
    {"garbage_usage": True},
    {"close_connection": True},
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """Run the billing simulator in this process, behind a real socket."""
    config = uvicorn.Config(
        create_app(SimulatorSettings()), port=0, log_level="error", ws="none", lifespan="off"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield url
        server.should_exit = True
        thread.join(timeout=10)


@pytest.mark.parametrize("threads", [1, 8])
def test_the_providers_bill_the_ledger_and_the_replies_agree(
    simulator: str, tmp_path: Path, threads: int
) -> None:
    httpx.post(f"{simulator}/bill/reset").raise_for_status()
    ledger = SqliteLedger(SqliteStore(tmp_path / "ledger.db", busy_seconds=30))
    budget = parse_budget({"id": "all", "scope": {}, "limit_usd": "0.2"}, where="test")
    ledger.policies.import_policy(Policy(budgets=(budget,)))
    book = load_price_book()
    model = "databricks-meta-llama-3-3-70b-instruct"

    with closing(OpenAIUpstream(own_server(simulator))) as upstream:
        gateway = Gateway(
            ledger,
            upstream,
            lambda: book,
            clock=lambda: datetime.now(UTC),
            new_id=new_request_id,
        )

        def ask(index: int) -> Any:
            body = {
                "messages": [{"role": "user", "content": "hello there"}],
                "max_tokens": 200,
                "simulate": DIRECTIVES[index % len(DIRECTIVES)],
                "custom_inputs": {"model": model, "user": "u"},
            }
            return gateway.handle(CHAT, body, host=Host.ENDPOINT)

        with ThreadPoolExecutor(threads) as pool:
            replies = list(pool.map(ask, range(45)))

    bill = httpx.get(f"{simulator}/bill").raise_for_status().json()
    events = {}
    while (batch := ledger.outbox.claim_batch(1000)) is not None:
        events |= {event.hold_id: event for event in batch.events}
        ledger.outbox.confirm_batch(batch.number)
    billed_nano = bill["by_client_request_id"]
    spent = sum(row.spent_nano for row in ledger.balances())
    problems = ledger.audit().problems
    ledger.close()

    assert problems == ()
    assert bill["total_nano_usd"] <= spent <= 200_000_000
    assert len(events) == 45
    for hold_id, event in events.items():
        if event.charge.usage_source == "reported":
            assert event.cost_nano == billed_nano[hold_id]
        else:
            assert event.cost_nano >= billed_nano.get(hold_id, 0)
    shown = [reply.body["spend"]["cost_usd"] for reply in replies]
    assert sum(round(float(one) * 10**9) for one in shown) == spent
