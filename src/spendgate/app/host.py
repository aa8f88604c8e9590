"""Serve `/v1/chat/completions` and `/v1/embeddings`; status, headers and body are the gateway's."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from spendgate.config import Settings
from spendgate.errors import SpendgateError
from spendgate.gateway.reply import Reply, spend_headers
from spendgate.gateway.wire import CHAT, EMBEDDINGS, Host
from spendgate.web.answer import INTERNAL_MESSAGE, encode_body, failure
from spendgate.web.body import BodyError, check_body, check_headers, parse_object, read_body
from spendgate.web.environment import settings_environment
from spendgate.web.lifespan import Lifespan
from spendgate.web.server import ServerPlan, bind, call_seconds, check_settings, run_server
from spendgate.web.worker import WORKER

_logger = logging.getLogger(__name__)

_MESSAGES = {
    404: "there is no such path; POST /v1/chat/completions or /v1/embeddings, GET /health",
    405: "this path takes another method",
}


class Handler(Protocol):
    """The part of the gateway that this host calls."""

    def handle(
        self, route: str, body: dict[str, object], *, host: Host, headers: dict[str, str]
    ) -> Reply:
        """Answer one request."""
        ...


def run(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM.

    Raises:
        HostError: before anything starts, if a setting, the folder or the port can't be used.
    """
    check_settings(settings)
    with bind(host, port) as bound:
        plan = ServerPlan(
            name="spendgate app",
            factory="spendgate.app.host:create_app",
            ready_path="/health",
            environment=settings_environment(settings),
            workers=workers,
            call_seconds=call_seconds(settings),
        )
        run_server(plan, bound)


def create_app() -> ASGIApp:
    """Make one worker's app from the environment."""
    settings = Settings()
    return Lifespan(
        routes(WORKER.gateway, body_bytes_max=settings.body_bytes_max),
        threads=settings.serving_threads,
        start=WORKER.gateway,
        close=WORKER.close,
    )


def routes(handler: Callable[[], Handler], *, body_bytes_max: int) -> ASGIApp:
    """Return the app over a gateway, without its start and end."""

    def gate(route: str) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            return await _answer(request, route, handler, body_bytes_max)

        return answer

    return Starlette(
        routes=[
            Route("/v1/chat/completions", gate(CHAT), methods=["POST"]),
            Route("/v1/embeddings", gate(EMBEDDINGS), methods=["POST"]),
            Route("/health", _health, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _http_failure},
    )


async def _answer(
    request: Request, route: str, handler: Callable[[], Handler], body_bytes_max: int
) -> Response:
    try:
        check_headers(request.scope, body_bytes_max)
        body = await read_body(request.receive, body_bytes_max)
        if body is None:
            return Response(status_code=499)  # the client left: nobody reads this
        # The default pool is as large as `serving_threads`; each call holds a thread until it ends.
        reply = await asyncio.to_thread(_reply, body, route, handler, dict(request.headers))
    except BodyError as error:
        reply = failure(error.status, str(error), error.field)
    return _response(reply)


def _reply(
    body: bytes, route: str, handler: Callable[[], Handler], headers: dict[str, str]
) -> Reply:
    check_body(body)
    document = parse_object(body)
    try:
        return handler().handle(route, document, host=Host.ASGI, headers=headers)
    except SpendgateError as error:
        _logger.error("the gate can't start: %s", error)
        return failure(503, "the gate can't start; see its log")
    except Exception as error:  # noqa: BLE001 - the server would log it with whatever text it has
        # The text of an unknown error may quote the request, so only its type is logged.
        _logger.error("a call failed: %s", type(error).__qualname__)
        return failure(500, INTERNAL_MESSAGE)


def _response(reply: Reply) -> Response:
    return Response(
        encode_body(reply.body),
        status_code=reply.status,
        headers=spend_headers(reply),
        media_type="application/json",
    )


async def _health(_request: Request) -> Response:
    return Response(encode_body({"status": "ok"}), media_type="application/json")


async def _http_failure(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _response(failure(status, _MESSAGES.get(status, INTERNAL_MESSAGE)))
