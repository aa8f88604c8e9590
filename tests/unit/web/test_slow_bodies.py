"""Who doesn't send a body is told and let go of, by every route that reads one."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spendgate.app.admin_endpoint import Asked, Endpoint, Told
from spendgate.app.token_route import PATH, narrow_route
from spendgate.serving.filter import InvocationFilter

SECONDS = 0.05


def nothing_told(asked: Asked) -> Told:
    pytest.fail(f"a body came: {asked.raw!r}")


def nobody() -> Any:
    pytest.fail("nothing is asked")


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    pytest.fail("MLflow is asked")


def endpoint() -> ASGIApp:
    answer = Endpoint(nothing_told, seconds=SECONDS)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await answer(Request(scope, receive)))(scope, receive, send)

    return app


READERS: Mapping[str, Callable[[], ASGIApp]] = {
    "/api/budgets": endpoint,
    PATH: lambda: narrow_route(nobody, SECONDS),
    "/invocations": lambda: InvocationFilter(no_app, body_bytes_max=99, client_seconds=SECONDS),
}


@pytest.mark.parametrize("path", READERS)
def test_a_body_that_stops_coming_is_told_and_its_connection_closed(path: str) -> None:
    sent: list[Message] = []
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Message:
        if pieces:
            return pieces.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(READERS[path]()(scope, receive, send), 30))

    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"within 0.05 s" in sent[1]["body"]
