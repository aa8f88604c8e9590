"""Streams in the dialects of Databricks' models and of vLLM, replayed through both front doors.

The shapes are written by hand after the providers' documentation and the clients' bug reports; the
cost beside each is a sum of tokens times nano-USD per token, worked out without our code.
"""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.pyfunc import PyFuncModel
from tests.integration.serving.front_doors import Door, opened_doors

from spendgate.adapters.async_openai_upstream import AsyncOpenAIUpstream
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
from spendgate.gateway.wire import CHAT

pytestmark = pytest.mark.server

BOOK = load_price_book()
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FOLDER = Path(__file__).parent.parent / "dialects"
STREAMS: list[dict[str, Any]] = json.loads((FOLDER / "streams.json").read_text(encoding="utf-8"))
PIECE_BYTES = 97
"""So small that events come in pieces, and letters of several bytes are cut."""


class Replay(ThreadingHTTPServer):
    """Answers every request with one stream, and keeps what it was asked."""

    chunks: list[dict[str, Any]]
    asked: Any = None


class Handler(BaseHTTPRequestHandler):
    server: Replay  # type: ignore[assignment]  # the base class names a wider one

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.asked = json.loads(self.rfile.read(length))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        text = b"".join(event(chunk) for chunk in self.server.chunks)
        if "choices" in self.server.chunks[0]:
            text += b"data: [DONE]\n\n"
        for start in range(0, len(text), PIECE_BYTES):
            self.wfile.write(text[start : start + PIECE_BYTES])
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base names it
        """Say nothing."""


def event(chunk: dict[str, Any]) -> bytes:
    """Write a chunk as a server does: unescaped, and with blanks that the gate never writes."""
    data = json.dumps(chunk, ensure_ascii=False, separators=(" , ", ":  ")).encode()
    name = b"event: %b\n" % chunk["type"].encode() if "type" in chunk else b""
    return b"%bdata: %b\n\n" % (name, data)


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    server = Replay(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(SqliteStore(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    row = {"id": "all", "scope": {}, "limit_usd": 1000, "window": "lifetime"}
    ledger.policies.import_policy(Policy(budgets=(parse_budget(row, where="test"),)))
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def doors(
    pyfunc_model: PyFuncModel, replay: Replay, ledger: SqliteLedger
) -> Iterator[dict[str, Door]]:
    limits = ServerLimits(timeout_seconds=10.0)
    server = own_server(f"http://127.0.0.1:{replay.server_address[1]}", None, limits)
    upstream = OpenAIUpstream(server)
    gateway = Gateway(ledger, upstream, lambda: BOOK, clock=lambda: NOON, new_id=new_request_id)
    with opened_doors(pyfunc_model, gateway, AsyncOpenAIUpstream(server)) as doors:
        yield {door.name: door for door in doors}
    upstream.close()


@pytest.fixture(autouse=True)
def delivered(ledger: SqliteLedger) -> None:
    """Take out what an earlier test may have left, so that each fails for itself."""
    while (batch := ledger.outbox.claim_batch(100)) is not None:
        ledger.outbox.confirm_batch(batch.number)


def data_of(text: bytes) -> list[bytes]:
    lines = [line for line in text.split(b"\n") if line.startswith(b"data:")]
    return [line.removeprefix(b"data:").strip() for line in lines]


def as_passed(chunks: list[dict[str, Any]], *, wants_usage: bool) -> list[dict[str, Any]]:
    """Return what a client gets of these chunks, but for the `spend` object."""
    if wants_usage or "choices" not in chunks[0]:
        return chunks
    kept = [chunk for chunk in chunks if chunk["choices"] or not chunk.get("usage")]
    return [{name: value for name, value in one.items() if name != "usage"} for one in kept]


def without_spend(chunk: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the `spend` object off the last chunk; the Responses API has it in its answer too."""
    spend = chunk.pop("spend")
    if "response" in chunk:
        assert chunk["response"].pop("spend") == spend
    return chunk, spend


def text_of(chunks: list[dict[str, Any]]) -> list[str]:
    """Write chunks so that 1, 1.0 and True differ, and the order of fields counts."""
    return [json.dumps(chunk) for chunk in chunks]


def everywhere(case: dict[str, Any]) -> Iterator[Any]:
    """A Responses stream always has its usage, and only the ASGI host has that route."""
    is_chat = case["route"] == CHAT
    for host in ("endpoint", "app") if is_chat else ("app",):
        for wants_usage in (True, False) if is_chat else (True,):
            named = f"{case['name']}, {host}, usage {'asked for' if wants_usage else 'hidden'}"
            yield pytest.param(case, host, wants_usage, id=named)


@pytest.mark.parametrize(
    ("case", "host", "wants_usage"), [one for case in STREAMS for one in everywhere(case)]
)
def test_a_streamed_dialect_passes_as_it_is_and_costs_what_it_should(
    case: dict[str, Any],
    host: str,
    wants_usage: bool,
    replay: Replay,
    doors: dict[str, Door],
    ledger: SqliteLedger,
) -> None:
    is_chat = case["route"] == CHAT
    replay.chunks = case["chunks"]
    text = {"messages": [{"role": "user", "content": "hi"}]} if is_chat else {"input": "hi"}
    options = {"chunk_size": 3, **({"include_usage": True} if wants_usage else {})}
    asked = {**text, "stream": True, **({"stream_options": options} if is_chat else {})}

    answer = doors[host].ask(case["route"], case["model"], asked)

    assert answer.headers["content-type"].startswith("text/event-stream")
    data = data_of(answer.content)
    if is_chat:
        assert data.pop() == b"[DONE]"
    *chunks, last = [json.loads(one) for one in data]
    last, spend = without_spend(last)
    expected = as_passed(case["chunks"], wants_usage=wants_usage)
    assert text_of([*chunks, last]) == text_of(expected)
    if host == "app" and expected == case["chunks"]:
        sent = [data_of(event(chunk))[0] for chunk in case["chunks"]]
        assert data[:-1] == sent[:-1]  # byte by byte: what isn't changed isn't even written anew
    assert spend["cost_usd"] == format_usd(case["cost_nano"])
    assert spend["usage_source"] == "reported"
    if is_chat:
        assert replay.asked["stream_options"] == {**options, "include_usage": True}
    assert counted(ledger) == case["classes"]


def counted(ledger: SqliteLedger) -> dict[str, int]:
    """Return the tokens of the one call that was settled, by class."""
    batch = ledger.outbox.claim_batch(10)
    assert batch is not None
    [settled] = batch.events
    usage = settled.charge.usage
    assert usage is not None
    found = {
        "input": usage.disjoint().input_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    return {name: count for name, count in found.items() if count}
