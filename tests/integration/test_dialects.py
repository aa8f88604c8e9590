"""Answers in the dialects of Databricks' models and of vLLM, replayed over HTTP through the gate.

The shapes are written by hand after the providers' documentation; the cost beside each is a sum of
tokens times nano-USD per token, worked out without our code.
"""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.model_server import ServerLimits, own_server
from spendgate.adapters.openai_upstream import OpenAIUpstream
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.bootstrap import new_request_id
from spendgate.domain.budget import Policy
from spendgate.domain.money import format_usd
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.wire import CHAT, Host

BOOK = load_price_book()
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANSWERS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "dialects" / "answers.json").read_text(encoding="utf-8")
)
# Whatever clients of these dialects send, it is not the gate's to change.
ASKED: dict[str, Any] = {
    "temperature": 1.5e-7,
    "seed": 2**70,
    "logprobs": True,
    "top_logprobs": 5,
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"é": [1.0]}}}],
    "reasoning_effort": "low",
    "an_unknown_field": {"a": [None, 1e300, "\u2028\U0001f999"]},
}
OURS = {"model", "max_tokens", "max_output_tokens", "usage_context", "client_request_id"}


class Replay(ThreadingHTTPServer):
    """Answers every request with one body, and keeps what it was asked."""

    answer: Any = None
    asked: Any = None


class Handler(BaseHTTPRequestHandler):
    server: Replay  # type: ignore[assignment]  # the base class names a wider one

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.asked = json.loads(self.rfile.read(length))
        body = json.dumps(self.server.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base names it
        """Say nothing."""


@pytest.fixture
def replay() -> Iterator[Replay]:
    server = Replay(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(SqliteStore(tmp_path / "ledger.db"))
    row = {"id": "all", "scope": {}, "limit_usd": 1000, "window": "lifetime"}
    ledger.policies.import_policy(Policy(budgets=(parse_budget(row, where="test"),)))
    yield ledger
    ledger.close()


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case["name"])
def test_a_dialect_survives_and_costs_what_it_should(
    case: dict[str, Any], replay: Replay, ledger: SqliteLedger
) -> None:
    replay.answer = case["response"]
    limits = ServerLimits(timeout_seconds=10.0)
    upstream = OpenAIUpstream(
        own_server(f"http://127.0.0.1:{replay.server_address[1]}", None, limits)
    )
    gateway = Gateway(ledger, upstream, lambda: BOOK, clock=lambda: NOON, new_id=new_request_id)
    text = {"messages": [{"role": "user", "content": "hi"}]} if case["route"] == CHAT else {}
    asked = {**ASKED, **(text or {"input": "hi"})}

    reply = gateway.handle(case["route"], {**asked, "model": case["model"]}, host=Host.ASGI)
    upstream.close()

    body: Any = dict(reply.body)
    spend = body.pop("spend")
    assert body == case["response"]
    assert spend["cost_usd"] == format_usd(case["cost_nano"])
    assert spend["usage_source"] == "reported"
    assert {name: value for name, value in replay.asked.items() if name not in OURS} == asked
    assert replay.asked["model"] == case["model"]
    batch = ledger.outbox.claim_batch(10)
    assert batch is not None
    usage = batch.events[0].charge.usage
    assert usage is not None
    parts = usage.disjoint()
    counted = {
        "input": parts.input_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    assert {name: count for name, count in counted.items() if count} == case["classes"]
