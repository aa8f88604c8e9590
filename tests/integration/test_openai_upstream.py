"""The model client over real sockets: what was certainly not sent, what may have been billed."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from spendgate.adapters import openai_upstream
from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.model_server import ServerLimits, own_server
from spendgate.adapters.openai_upstream import OpenAIUpstream
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.upstream_request import base_url
from spendgate.bootstrap import new_request_id
from spendgate.domain.budget import Policy
from spendgate.errors import HostError
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent
from spendgate.gateway.wire import CHAT, EMBEDDINGS, Host
from spendgate.simulator.app import create_app
from spendgate.simulator.settings import SimulatorSettings

Script = Callable[[socket.socket], None]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class RawServer:
    """Reads each request whole, keeps it, and lets a script write whatever it likes."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(10)
                while (request := _read_request(connection)) is not None:
                    self.requests.append(request)
                    try:
                        self.script(connection)
                    except OSError:
                        break

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)


def _read_request(connection: socket.socket) -> bytes | None:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            received = connection.recv(65536)
            if not received:
                return None
            data += received
        head, _, body = data.partition(b"\r\n\r\n")
        (length,) = (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            body += connection.recv(65536)
    except OSError:
        return None
    return head + b"\r\n\r\n" + body


def http_answer(content: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def answering(content: object, status: str = "200 OK", **headers: str) -> Script:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda connection: connection.sendall(http_answer(raw, status, **headers))


@contextmanager
def serving(script: Script) -> Iterator[RawServer]:
    server = RawServer(script)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def client(url: str, **options: Any) -> Iterator[OpenAIUpstream]:
    key = options.pop("api_key", None)
    limits = ServerLimits(**{"timeout_seconds": 10.0, **options})
    upstream = OpenAIUpstream(own_server(url, SecretStr(key) if key else None, limits))
    try:
        yield upstream
    finally:
        upstream.close()


def call(script: Script, **options: Any) -> Any:
    with serving(script) as server, client(server.url, **options) as upstream:
        return upstream.call(CHAT, BODY)


def test_an_answer_is_read_whole_with_its_status() -> None:
    assert call(answering({"id": "x"})) == UpstreamAnswer(200, {"id": "x"})
    assert call(answering({"error": {"code": "no"}}, "429 Slow")) == UpstreamAnswer(
        429, {"error": {"code": "no"}}
    )


def test_the_request_is_the_body_with_our_key_and_nothing_of_the_callers() -> None:
    with serving(answering({})) as server:
        with client(f"{server.url}/serving-endpoints/", api_key="k-1") as upstream:
            upstream.call(EMBEDDINGS, {"input": "half a pair \ud800, é"})
        (request,) = server.requests

    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /serving-endpoints/embeddings HTTP/1.1\r\n")
    assert b"authorization: bearer k-1" in head.lower()
    assert json.loads(body) == {"input": "half a pair \ud800, é"}


def test_without_a_key_no_authorization_is_sent() -> None:
    with serving(answering({})) as server:
        with client(server.url) as upstream:
            upstream.call(CHAT, BODY)
        assert b"authorization" not in server.requests[0].lower()


def test_calls_share_a_connection() -> None:
    with serving(answering({})) as server:
        with client(server.url) as upstream:
            for _ in range(3):
                upstream.call(CHAT, BODY)
        assert (len(server.requests), server.connections) == (3, 1)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    assert call(answering({})) == UpstreamAnswer(200, {})


def test_a_server_that_isnt_there_was_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with client(f"http://127.0.0.1:{port}") as upstream:
        assert isinstance(upstream.call(CHAT, BODY), UpstreamNotSent)


def test_a_name_that_doesnt_resolve_was_not_reached() -> None:
    with client("http://nowhere.invalid") as upstream:
        assert isinstance(upstream.call(CHAT, BODY), UpstreamNotSent)


def test_a_handshake_that_never_ends_sent_nothing() -> None:
    with serving(hang_up) as server:
        secure = server.url.replace("http", "https", 1)
        with client(secure, connect_seconds=0.2) as upstream:
            assert isinstance(upstream.call(CHAT, BODY), UpstreamNotSent)
        assert server.requests == []


def hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def hang_up_inside_the_answer(connection: socket.socket) -> None:
    connection.sendall(http_answer(b'{"id": "x"}')[:-5])
    hang_up(connection)


def say_nothing(connection: socket.socket) -> None:
    time.sleep(0.5)


def drip(connection: socket.socket) -> None:
    # A whole answer, and never a pause that a limit on each read would notice.
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 102\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.01)
    connection.sendall(b"{}")


def talk_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"\x00\x01\x02 this is no HTTP\r\n\r\n")


@pytest.mark.parametrize(
    "script",
    [
        hang_up,
        hang_up_inside_the_answer,
        say_nothing,
        drip,
        talk_nonsense,
        answering(b"not gzip", content_encoding="gzip"),
    ],
)
def test_a_failure_after_the_request_was_written_is_lost_and_not_repeated(script: Script) -> None:
    with serving(script) as server:
        with client(server.url, timeout_seconds=0.3) as upstream:
            outcome = upstream.call(CHAT, BODY)
        assert isinstance(outcome, UpstreamLost)
        assert len(server.requests) == 1


def test_an_answer_without_end_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_upstream, "ANSWER_BYTES_MAX", 1000)

    assert isinstance(call(answering(b"[" + b" " * 1000 + b"]")), UpstreamLost)
    assert call(answering(b"{" + b" " * 998 + b"}")) == UpstreamAnswer(200, {})


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"[1]", b"7", b"null", b"\xff\xfe\xfa", b"[" * 100_000, b"9" * 5000],
)
def test_what_is_no_json_object_has_no_body(content: bytes) -> None:
    assert call(answering(content)) == UpstreamAnswer(200, None)


def test_nan_is_no_json_and_becomes_null() -> None:
    content = b'{"usage": {"prompt_tokens": NaN, "completion_tokens": -Infinity}}'

    assert call(answering(content)) == UpstreamAnswer(
        200, {"usage": {"prompt_tokens": None, "completion_tokens": None}}
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-1", None),
        ("nan", None),
        ("1e9", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("soon", None),
    ],
)
def test_a_retry_after_is_passed_on_if_it_is_a_sane_number(
    header: str, seconds: float | None
) -> None:
    answer = call(answering({}, "429 Slow", retry_after=header))

    assert answer.retry_after_seconds == seconds


def test_a_redirect_is_not_followed() -> None:
    answer = call(answering({}, "307 Temporary Redirect", location="http://127.0.0.1:9/"))

    assert answer.status == 307


@pytest.mark.parametrize(
    ("url", "base", "name"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("https://host/serving-endpoints", "https://host/serving-endpoints", "host"),
        ("https://me:secret@host/v1", "https://me:secret@host/v1", "host"),
    ],
)
def test_a_url_is_taken_with_or_without_its_version(url: str, base: str, name: str) -> None:
    assert base_url(url) == base
    with client(url) as upstream:
        assert upstream.name == name


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "host/v1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(HostError):
        base_url(url)


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

    with client(simulator) as upstream:
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
