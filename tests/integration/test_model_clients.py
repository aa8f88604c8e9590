"""Both model clients over real sockets: what was certainly not sent, what may have been billed."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from tests.integration.raw_server import (
    Script,
    answering,
    drip,
    hang_up,
    hang_up_inside_the_answer,
    http_answer,
    in_pieces,
    say_nothing,
    serving,
    talk_nonsense,
)

from spendgate.adapters import async_openai_upstream, openai_upstream
from spendgate.adapters.async_openai_upstream import AsyncOpenAIUpstream
from spendgate.adapters.model_server import ModelServer, ServerLimits, own_server
from spendgate.adapters.openai_upstream import OpenAIUpstream
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent, UpstreamOutcome
from spendgate.gateway.wire import CHAT, EMBEDDINGS

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
Client = Callable[..., Any]


class OnALoop:
    """The client of the event loop, called from a thread."""

    def __init__(self, server: ModelServer) -> None:
        self._runner = asyncio.Runner()
        self._upstream = AsyncOpenAIUpstream(server)

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self._runner.run(self._upstream.call(route, body))

    def close(self) -> None:
        self._runner.run(self._upstream.close())
        self._runner.close()


@pytest.fixture(params=[OpenAIUpstream, OnALoop], ids=["in threads", "on a loop"])
def client(request: pytest.FixtureRequest) -> Client:
    """Open a client of one server for a while."""

    @contextmanager
    def opened(url: str, **options: Any) -> Iterator[Any]:
        key = options.pop("api_key", None)
        limits = ServerLimits(**{"timeout_seconds": 10.0, **options})
        with closing(
            request.param(own_server(url, SecretStr(key) if key else None, limits))
        ) as upstream:
            yield upstream

    return opened


@pytest.fixture
def call(client: Client) -> Callable[[Script], Any]:
    """Make one call of a server that answers as a script says."""

    def called(script: Script) -> Any:
        with serving(script) as server, client(server.url) as upstream:
            return upstream.call(CHAT, BODY)

    return called


def test_an_answer_is_read_whole_with_its_status(call: Callable[[Script], Any]) -> None:
    assert call(answering({"id": "x"})) == UpstreamAnswer(200, {"id": "x"})
    assert call(answering({"error": {"code": "no"}}, "429 Slow")) == UpstreamAnswer(
        429, {"error": {"code": "no"}}
    )


@pytest.mark.parametrize(("size", "letters"), [(40, 100), (65_536, 300_000)])
def test_an_answer_that_comes_in_pieces_is_read_whole(
    call: Callable[[Script], Any], size: int, letters: int
) -> None:
    document = {"id": "x" * letters, "usage": {"prompt_tokens": 3}}

    answer = call(in_pieces(json.dumps(document).encode(), size))

    assert answer == UpstreamAnswer(200, document)


def test_the_request_is_the_body_with_our_key_and_nothing_of_the_callers(client: Client) -> None:
    with serving(answering({})) as server:
        with client(f"{server.url}/serving-endpoints/", api_key="k-1") as upstream:
            upstream.call(EMBEDDINGS, {"input": "half a pair \ud800, é"})
        (request,) = server.requests

    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /serving-endpoints/embeddings HTTP/1.1\r\n")
    assert b"authorization: bearer k-1" in head.lower()
    assert json.loads(body) == {"input": "half a pair \ud800, é"}


def test_without_a_key_no_authorization_is_sent(client: Client) -> None:
    with serving(answering({})) as server:
        with client(server.url) as upstream:
            upstream.call(CHAT, BODY)
        assert b"authorization" not in server.requests[0].lower()


def test_calls_share_a_connection(client: Client) -> None:
    with serving(answering({})) as server:
        with client(server.url) as upstream:
            for _ in range(3):
                upstream.call(CHAT, BODY)
        assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.filterwarnings("ignore:Sending a large body")  # aiohttp's advice from 1 MiB on
def test_a_long_request_reaches_a_server_that_reads_it_slowly(client: Client) -> None:
    long = {**BODY, "padding": "x" * 8_000_000}

    with serving(answering({})) as server:
        with client(server.url) as upstream:
            assert upstream.call(CHAT, long) == UpstreamAnswer(200, {})
        (request,) = server.requests

    assert json.loads(request.partition(b"\r\n\r\n")[2]) == long


def test_on_a_loop_a_request_is_written_in_the_turn_that_sends_it() -> None:
    async def sent_in_one_turn() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            upstream = AsyncOpenAIUpstream(own_server(url, None, ServerLimits(10.0)))
            first = asyncio.create_task(upstream.call(CHAT, BODY))
            connection, _ = await asyncio.to_thread(listener.accept)
            with connection:
                connection.settimeout(10)
                await asyncio.to_thread(connection.recv, 65_536)
                connection.sendall(http_answer(b"{}"))
                await first
                second = asyncio.create_task(upstream.call(CHAT, BODY))
                await asyncio.sleep(0)
                request = connection.recv(65_536)  # the loop stands still meanwhile
                connection.sendall(http_answer(b"{}"))
                await second
            await upstream.close()
            return request

    assert asyncio.run(sent_in_one_turn()).startswith(b"POST /v1/chat/completions")


def test_a_proxy_of_the_environment_is_not_used(
    call: Callable[[Script], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    assert call(answering({})) == UpstreamAnswer(200, {})


def test_a_server_that_isnt_there_was_not_reached(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with client(f"http://127.0.0.1:{port}") as upstream:
        assert isinstance(upstream.call(CHAT, BODY), UpstreamNotSent)


def test_a_name_that_doesnt_resolve_was_not_reached(client: Client) -> None:
    with client("http://nowhere.invalid") as upstream:
        assert isinstance(upstream.call(CHAT, BODY), UpstreamNotSent)


def test_a_handshake_that_never_ends_sent_nothing(client: Client) -> None:
    with serving(hang_up) as server:
        secure = server.url.replace("http", "https", 1)
        with client(secure, connect_seconds=0.2) as upstream:
            assert isinstance(upstream.call(CHAT, BODY), UpstreamNotSent)
        assert server.requests == []


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
def test_a_failure_after_the_request_was_written_is_lost_and_not_repeated(
    client: Client, script: Script
) -> None:
    with serving(script) as server:
        with client(server.url, timeout_seconds=0.3) as upstream:
            outcome = upstream.call(CHAT, BODY)
        assert isinstance(outcome, UpstreamLost)
        assert len(server.requests) == 1


def test_an_answer_without_end_is_lost(
    call: Callable[[Script], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (openai_upstream, async_openai_upstream):
        monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 1000)

    assert isinstance(call(answering(b"[" + b" " * 1000 + b"]")), UpstreamLost)
    assert call(answering(b"{" + b" " * 998 + b"}")) == UpstreamAnswer(200, {})


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"[1]", b"7", b"null", b"\xff\xfe\xfa", b"[" * 100_000, b"9" * 5000],
)
def test_what_is_no_json_object_has_no_body(call: Callable[[Script], Any], content: bytes) -> None:
    assert call(answering(content)) == UpstreamAnswer(200, None)


def test_nan_is_no_json_and_becomes_null(call: Callable[[Script], Any]) -> None:
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
    call: Callable[[Script], Any], header: str, seconds: float | None
) -> None:
    answer = call(answering({}, "429 Slow", retry_after=header))

    assert answer.retry_after_seconds == seconds


def test_a_redirect_is_not_followed(call: Callable[[Script], Any]) -> None:
    answer = call(answering({}, "307 Temporary Redirect", location="http://127.0.0.1:9/"))

    assert answer.status == 307
