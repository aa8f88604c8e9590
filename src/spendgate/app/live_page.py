"""The live page: `GET /` and `/dashboard`, its files, and the figures that it asks for.

The page itself shows nothing and is open; its figures are under `/api/dashboard`, where the guard
of the administration asks for the token.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spendgate.adapters.json_bytes import json_bytes
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.app.admin_endpoint import check_parameters
from spendgate.app.live_figures import GROUPINGS, budget_rows, latest
from spendgate.errors import InvalidRequestError, LedgerUnavailableError
from spendgate.web.answer import failure

PAGE_PATHS = ("/", "/dashboard")
SPEND_PATH, LATEST_PATH = "/api/dashboard/spend", "/api/dashboard/latest"

Figures = Mapping[str, object] | Sequence[object]

_FILES = {
    "/dashboard/live.css": ("live.css", "text/css"),
    "/dashboard/live.js": ("live.js", "text/javascript"),
}
_HEADERS = {
    # Names on the page are callers' own: no script but ours runs, whatever they contain.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class LivePage:
    """The routes of the page over one ledger."""

    def __init__(self, ledger: Callable[[], StoredLedger], clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the page's routes."""
        return [
            *(Route(path, _page, methods=["GET"]) for path in PAGE_PATHS),
            *(Route(path, _file, methods=["GET"]) for path in _FILES),
            Route(SPEND_PATH, self._spend, methods=["GET"]),
            Route(LATEST_PATH, self._latest, methods=["GET"]),
        ]

    async def _spend(self, request: Request) -> Response:
        try:
            check_parameters(request.query_params, ())
        except InvalidRequestError as error:
            return _refused(error)
        return await self._answer(lambda: budget_rows(self._ledger(), self._clock()))

    async def _latest(self, request: Request) -> Response:
        by = request.query_params.get("by", "team")
        try:
            check_parameters(request.query_params, ("by",))
            if by not in GROUPINGS:
                raise InvalidRequestError(f"by must be one of {', '.join(GROUPINGS)}", "by")
        except InvalidRequestError as error:
            return _refused(error)
        return await self._answer(lambda: latest(self._ledger(), by, self._clock()))

    async def _answer(self, figures: Callable[[], Figures]) -> Response:
        try:
            body, status = json_bytes(await asyncio.to_thread(figures)), 200
        except LedgerUnavailableError:
            refused = failure(503, "the ledger can't be reached; try again")
            body, status = json_bytes(refused.body), 503
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(body, status, headers, media_type="application/json")


def _refused(error: InvalidRequestError) -> Response:
    refused = failure(400, str(error), error.field)
    return Response(json_bytes(refused.body), 400, media_type="application/json")


async def _page(_request: Request) -> Response:
    return Response(_static("live.html"), headers=_HEADERS, media_type="text/html")


async def _file(request: Request) -> Response:
    name, kind = _FILES[request.url.path]
    return Response(_static(name), headers=_HEADERS, media_type=kind)


@cache
def _static(name: str) -> bytes:
    return resources.files("spendgate.app").joinpath("static", name).read_bytes()
