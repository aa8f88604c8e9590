"""A head that is endless, slow or no HTTP is refused, and its connection freed; real sockets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from spendgate.web.bounded_head import HEAD_BYTES_MAX
from spendgate.web.joined_write import JoiningProtocol
from spendgate.web.server import ServerPlan, server_config

START = b"POST / HTTP/1.1\r\nhost: h\r\n"
CALL = START + b"content-length: 2\r\n\r\n{}"
LONG_SECONDS = 30.0
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def answered(scope: Any, receive: Any, send: Any) -> None:
    """Answer when the body is there, or at once on /early."""
    if scope["path"] != "/early":
        while (await receive()).get("more_body"):
            pass
    head: list[tuple[bytes, bytes]] = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})


def talk(client: Client, head_seconds: float = LONG_SECONDS) -> bytes:
    """Serve one client as the hosts do; return what it read."""

    async def served() -> bytes:
        plan = ServerPlan(
            "t", "json:loads", "/health", {}, workers=1, call_seconds=1, client_seconds=head_seconds
        )
        protocol: Any = server_config(plan).http
        config = uvicorn.Config(answered, ws="none", lifespan="off", date_header=False)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
        async with server, asyncio.timeout(LONG_SECONDS):
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await client(reader, writer)
            finally:
                writer.close()

    return asyncio.run(served())


def sent(*parts: bytes) -> Client:
    """Send parts, each when the loop comes round; read until the server closes."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        return await reader.read()

    return client


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def test_a_head_that_never_ends_is_408_and_closed() -> None:
    status, message = refusal(talk(sent(START, b"x-a: "), head_seconds=0.2))

    assert (status, "in time" in message) == (408, True)


def test_a_client_that_sends_nothing_is_closed_without_a_word() -> None:
    assert talk(sent(), head_seconds=0.2) == b""


def test_a_slow_second_head_is_408_after_the_first_answer() -> None:
    answer = talk(sent(CALL, START), head_seconds=0.3)

    first, _, second = answer.partition(b"\r\n\r\nok")
    assert first.startswith(b"HTTP/1.1 200")
    assert refusal(second)[0] == 408


def test_blank_lines_between_calls_keep_no_connection() -> None:
    answer = talk(sent(CALL, b"\r\n"), head_seconds=0.3)

    assert refusal(answer.partition(b"\r\n\r\nok")[2])[0] == 408


def test_a_body_that_is_no_longer_read_keeps_no_connection() -> None:
    early = START.replace(b" / ", b" /early ") + b"content-length: 500000\r\n\r\n"

    answer = talk(sent(early, b"x" * 100_000, b"x"), head_seconds=0.3)

    assert answer.endswith(b"\r\n\r\nok")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_header_without_end_is_431_long_before_it_is_kept() -> None:
    part = b"x" * (HEAD_BYTES_MAX // 4)

    status, message = refusal(talk(sent(START, b"x-a: ", *[part] * 5)))

    assert (status, str(HEAD_BYTES_MAX) in message) == (431, True)


def test_a_large_head_that_comes_whole_is_431_too() -> None:
    large = START + b"x-a: " + b"x" * (HEAD_BYTES_MAX + 1) + b"\r\n\r\n"

    assert refusal(talk(sent(large)))[0] == 431


def test_what_is_no_http_is_400_in_json() -> None:
    status, message = refusal(talk(sent(START + b"content-length: 1\r\ncontent-length: 2\r\n\r\n")))

    assert (status, "Content-Length" in message) == (400, True)


def test_a_large_body_after_a_small_head_is_no_large_head() -> None:
    body = b"x" * (HEAD_BYTES_MAX * 3)
    call = START + b"connection: close\r\ncontent-length: " + str(len(body)).encode()

    answer = talk(sent(call + b"\r\n\r\n" + body))

    assert answer.startswith(b"HTTP/1.1 200")


def test_the_rest_of_a_large_body_that_was_answered_early_is_no_head() -> None:
    rest = HEAD_BYTES_MAX * 2
    early = START.replace(b" / ", b" /early ") + f"content-length: {rest}\r\n\r\n".encode()
    last = CALL.replace(b"host: h", b"host: h\r\nconnection: close")

    answer = talk(sent(early, b"x" * rest, last))

    assert answer.count(b"HTTP/1.1 200") == 2


def test_a_head_behind_a_large_body_is_not_measured_with_it() -> None:
    body = b"x" * (HEAD_BYTES_MAX * 2)
    large = START + f"content-length: {len(body)}\r\n\r\n".encode() + body
    last = CALL.replace(b"host: h", b"host: h\r\nconnection: close")

    answer = talk(sent(large + last[:30], last[30:]))

    assert answer.count(b"HTTP/1.1 200") == 2


def test_a_head_in_pieces_and_calls_one_after_another_are_answered() -> None:
    last = CALL.replace(b"host: h", b"host: h\r\nconnection: close")
    pieces = [CALL[index : index + 7] for index in range(0, len(CALL), 7)]

    answer = talk(sent(*pieces, CALL + CALL, last))

    assert answer.count(b"HTTP/1.1 200") == 4


def test_a_connection_that_has_called_may_rest_for_longer_than_a_head_may_take() -> None:
    last = CALL.replace(b"host: h", b"host: h\r\nconnection: close")

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(CALL)
        await asyncio.sleep(0.6)
        writer.write(last)
        return await reader.read()

    assert talk(client, head_seconds=0.3).count(b"HTTP/1.1 200") == 2


def test_hosts_bound_heads_and_join_their_writes() -> None:
    plan = ServerPlan(
        "t", "json:loads", "/health", {}, workers=1, call_seconds=1, client_seconds=7.0
    )
    protocol: Any = server_config(plan).http

    assert protocol.keywords == {"head_seconds": 7.0}
    assert issubclass(protocol.func, JoiningProtocol)
