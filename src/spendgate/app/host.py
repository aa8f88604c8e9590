"""The ASGI host's routes; status, headers and bodies are the gate's."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from spendgate.adapters.json_bytes import json_bytes
from spendgate.app.admin import AdminGuard
from spendgate.app.administration import Administration
from spendgate.app.budget_routes import BudgetRoutes
from spendgate.app.hold_form import PATH as HOLDS
from spendgate.app.hold_form import hold_reading
from spendgate.app.live_page import LivePage
from spendgate.app.model_calls import Form, Gate, ModelCalls, as_it_is
from spendgate.app.model_list import model_list, model_object
from spendgate.app.openapi import openapi_document
from spendgate.app.own_requests import OwnRequests, TokenReader
from spendgate.app.readiness import Readiness
from spendgate.app.recipe_form import recipe_reply
from spendgate.app.request_routes import REQUESTS, RequestRoutes
from spendgate.app.token_route import PATH as NARROW_PATH
from spendgate.app.token_route import Narrower, narrow_route
from spendgate.app.webhook_routes import WebhookKeys, WebhookRoutes
from spendgate.bootstrap import utc_now
from spendgate.config import Settings
from spendgate.domain.budget import Policy
from spendgate.gateway.reply import Reply, error_reply, spend_headers
from spendgate.gateway.wire import CHAT, EMBEDDINGS, RESPONSES
from spendgate.web.answer import INTERNAL_MESSAGE, failure
from spendgate.web.environment import settings_environment
from spendgate.web.lifespan import Lifespan
from spendgate.web.metrics_page import MetricsPage
from spendgate.web.server import ServerPlan, bind, call_seconds, check_settings, run_server
from spendgate.web.worker import WORKER

MODEL_CALLS: dict[str, tuple[str, Form]] = {
    "/v1/chat/completions": (CHAT, as_it_is),
    "/v1/responses": (RESPONSES, as_it_is),
    "/v1/embeddings": (EMBEDDINGS, as_it_is),
    "/agent/chat": (CHAT, recipe_reply),
    "/api/chat": (CHAT, recipe_reply),
}
"""Paths that call a model, with the gate's route and the form of their answers."""

API_HEALTH = "/api/health"
"""The recipes' form of `/health`."""

_MESSAGES = {
    404: f"there is no such path; POST {', '.join(MODEL_CALLS)}, {HOLDS}, "
    "GET /v1/models, /health, /ready",
    405: "this path takes another method",
}


class SpendTokens(Narrower, TokenReader, Protocol):
    """What is done with spend tokens besides calls."""


class AppGate(Gate, Protocol):
    """The gate as this host needs it."""

    async def models(self) -> tuple[tuple[str, int], ...]:
        """Return the models that clients may name."""
        ...


def run(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM.

    Raises:
        HostError: before anything starts, if a setting, the folder or the port can't be used.
    """
    policy = check_settings(settings)
    WebhookKeys.of(settings)
    with bind(host, port) as bound:
        plan = ServerPlan(
            name="spendgate app",
            factory="spendgate.app.host:create_app",
            ready_path="/health",
            environment=settings_environment(settings),
            workers=workers,
            call_seconds=call_seconds(settings, policy),
            client_seconds=settings.client_seconds,
        )
        run_server(plan, bound)


def create_app() -> ASGIApp:
    """Make one worker's app from the environment."""
    settings = Settings()

    def ask_ledger() -> int:
        return WORKER.running().ledger.policies.version()

    app = routes(
        WORKER.on_event_loop,
        body_bytes_max=settings.body_bytes_max,
        client_seconds=settings.client_seconds,
        beat_seconds=settings.stream_keepalive_seconds,
        admin_token=settings.admin_token,
        platform_header=settings.platform_header,
        narrower=WORKER.narrowing,
        ready=Readiness(ask_ledger),
        live=LivePage(lambda: WORKER.running().ledger, utc_now),
        webhooks=WebhookRoutes(WebhookKeys.of(settings), lambda: WORKER.running().ledger, utc_now),
        administration=lambda: Administration.of(settings, WORKER.running()),
    )

    async def finish() -> int:
        policy = WORKER.gateway().policy or Policy()
        return await WORKER.on_event_loop().close(call_seconds(settings, policy))

    return Lifespan(
        MetricsPage(app, WORKER.metrics, settings.metrics_token),
        threads=settings.serving_threads,
        start=WORKER.on_event_loop,
        finish=finish,
        close=WORKER.close,
    )


def routes(
    gate: Callable[[], AppGate],
    *,
    body_bytes_max: int,
    client_seconds: float,
    beat_seconds: float,
    admin_token: SecretStr | None,
    platform_header: str | None,
    narrower: Callable[[], SpendTokens],
    ready: Readiness | None = None,
    live: LivePage | None = None,
    webhooks: WebhookRoutes | None = None,
    administration: Callable[[], Administration],
) -> ASGIApp:
    """Return the app over a gate, without its start and end."""
    calls = ModelCalls(
        gate,
        body_bytes_max=body_bytes_max,
        client_seconds=client_seconds,
        beat_seconds=beat_seconds,
        platform_header=platform_header,
    )
    document = openapi_document()

    async def list_models(_request: Request) -> Response:
        return answer(Reply(200, model_list(await gate().models())))

    async def show_model(request: Request) -> Response:
        wanted = request.path_params["model"]
        for name, since in await gate().models():
            if name == wanted:
                return answer(Reply(200, model_object(name, since)))
        message = "there is no such model, or it has no price; GET /v1/models lists them"
        return answer(error_reply(404, "model_not_found", message, param="model"))

    async def openapi(_request: Request) -> Response:
        return answer(Reply(200, document))

    others = _app(
        [
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/v1/models/{model:path}", show_model, methods=["GET"]),
            narrow_route(narrower),
            *BudgetRoutes(administration).routes(),
            *RequestRoutes(administration).routes(),
            Route("/health", _health, methods=["GET"]),
            Route(API_HEALTH, _api_health, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            *(one for own in (ready, live, webhooks) if own is not None for one in own.routes()),
        ]
    )
    guarded = AdminGuard(
        others,
        admin_token,
        open_paths={*MODEL_CALLS, NARROW_PATH, API_HEALTH},
        by_spend_token={REQUESTS: _app(OwnRequests(narrower, administration).routes())},
    )
    return _Doors(calls, guarded)


def answer(reply: Reply) -> Response:
    """Return a reply as a response."""
    headers = spend_headers(reply)
    body = json_bytes(reply.body)
    return Response(body, reply.status, headers, media_type="application/json")


class _Doors:
    """Model calls go straight to the gate: to match them among all routes costs as much as auth."""

    def __init__(self, calls: ModelCalls, others: ASGIApp) -> None:
        self._calls = calls
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"] if scope["type"] == "http" else ""
        found = MODEL_CALLS.get(path)
        reading = hold_reading(path) if path.startswith(HOLDS) else None
        if found is None and reading is None:
            # A hold's path that is misspelt is no administration.
            is_hold = path.startswith(f"{HOLDS}/")
            missing = answer(failure(404, _MESSAGES[404])) if is_hold else self._others
            await missing(scope, receive, send)
        elif scope["method"] == "POST":
            route, form = found or (CHAT, as_it_is)
            await self._calls.answer(route, scope, receive, send, form, reading)
        else:
            await answer(failure(405, _MESSAGES[405]))(scope, receive, send)


def _app(routes: list[Route]) -> Starlette:
    handlers = {HTTPException: _http_failure, Exception: _server_failure}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _health(_request: Request) -> Response:
    return answer(Reply(200, {"status": "ok"}))


async def _api_health(_request: Request) -> Response:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return answer(Reply(200, {"status": "ok", "timestamp": now}))


async def _http_failure(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    told = answer(failure(status, _MESSAGES.get(status, INTERNAL_MESSAGE)))
    if isinstance(error, HTTPException) and error.headers:
        told.headers.update(error.headers)  # a 405 names the methods that there are
    return told


async def _server_failure(_request: Request, _error: Exception) -> Response:
    return answer(failure(500, INTERNAL_MESSAGE))
