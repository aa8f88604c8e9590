"""`POST /api/tokens/narrow`: an agent's way to a narrower token, on the word of its own token.

Not under the administrator's token: whoever may call may narrow, and can only give less away.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spendgate.adapters.json_bytes import json_bytes
from spendgate.gateway.json_object import JsonObject
from spendgate.gateway.reply import Reply, spend_headers
from spendgate.web.answer import closing, failure
from spendgate.web.body import (
    BODY_SECONDS,
    BodyError,
    body_in_time,
    check_headers,
    checked_object,
)
from spendgate.web.header import single_headers

PATH = "/api/tokens/narrow"
BODY_BYTES_MAX = 65_536


class Narrower(Protocol):
    """The part of the gate that this route calls."""

    def answer(self, body: JsonObject, headers: Mapping[str, str]) -> Reply:
        """Answer one request."""
        ...


def narrow_route(narrower: Callable[[], Narrower], seconds: float = BODY_SECONDS) -> Route:
    """Return the route."""

    async def answer(request: Request) -> Response:
        try:
            check_headers(request.scope, BODY_BYTES_MAX)
            headers = single_headers(request.scope)
            body = await body_in_time(request.receive, BODY_BYTES_MAX, seconds)
            if body is None:
                return Response(status_code=499)  # the client left: nobody reads this
            reply = await asyncio.to_thread(_reply, body, headers, narrower)
        except BodyError as error:
            reply = failure(error.status, str(error), error.field)
        return Response(
            json_bytes(reply.body),
            status_code=reply.status,
            # A token is a secret: no cache on the way may keep it.
            headers={**spend_headers(reply), **closing(reply.status), "Cache-Control": "no-store"},
            media_type="application/json",
        )

    return Route(PATH, answer, methods=["POST"])


def _reply(body: bytes, headers: Mapping[str, str], narrower: Callable[[], Narrower]) -> Reply:
    return narrower().answer(checked_object(body) if body.strip() else {}, headers)
