"""One administration request: read, run in a thread, answered; errors become the right status."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from spendgate.adapters.json_bytes import json_bytes
from spendgate.errors import (
    AlreadyThereError,
    CallerError,
    ForbiddenError,
    InvalidRequestError,
    LedgerBrokenError,
    LedgerUnavailableError,
    NotThereError,
    PolicyError,
    PriceError,
    SpendgateError,
    StaleError,
    TokenError,
)
from spendgate.gateway.reply import Reply, error_reply, spend_headers
from spendgate.web.answer import INTERNAL_MESSAGE, closing, failure
from spendgate.web.body import (
    BODY_SECONDS,
    BodyError,
    body_in_time,
    check_headers,
    checked_object,
)

BODY_BYTES_MAX = 1_048_576
ACTOR_CHARACTERS_MAX = 100
PARAMETER_CHARACTERS_SHOWN = 40

_log = logging.getLogger(__name__)
_STATUSES: tuple[tuple[type[SpendgateError], int, str], ...] = (
    (InvalidRequestError, 400, "invalid_request"),
    (PolicyError, 400, "invalid_request"),
    (PriceError, 400, "model_not_priced"),
    (TokenError, 400, "invalid_spend_token"),
    (CallerError, 400, "invalid_request"),
    (ForbiddenError, 400, "forbidden"),
    (NotThereError, 404, "not_found"),
    (AlreadyThereError, 409, "already_exists"),
    (StaleError, 412, "changed_since"),
    (LedgerUnavailableError, 503, "ledger_unavailable"),
    (LedgerBrokenError, 503, "ledger_unavailable"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, object]
    raw: bytes = field(repr=False, default=b"")

    @property
    def actor(self) -> str:
        """Who asks, as the holder of the administrator's token says.

        Raises:
            InvalidRequestError: if the name can't be kept.
        """
        name = self.headers.get("x-actor", "")
        if len(name) > ACTOR_CHARACTERS_MAX or not name.isprintable():
            message = f"X-Actor must be at most {ACTOR_CHARACTERS_MAX} printable characters"
            raise InvalidRequestError(message, "x-actor")
        return f"api:{name.strip()}" if name.strip() else "api"


@dataclass(frozen=True, slots=True)
class Told:
    """What is answered."""

    body: Mapping[str, object]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Handler = Callable[[Asked], Told]
Guard = Callable[[Mapping[str, str], bytes], Reply | None]
"""Looks at headers and body before anything parses them; answers a refusal, or None."""


class Endpoint:
    """Makes a route's endpoint of a handler."""

    def __init__(
        self,
        handler: Handler,
        *,
        bytes_max: int = BODY_BYTES_MAX,
        guard: Guard | None = None,
        seconds: float = BODY_SECONDS,
        parameters: Iterable[str] | None = (),
    ) -> None:
        """Take the names of the query parameters that there are; None lets any pass, unread."""
        self._handler, self._bytes_max, self._guard = handler, bytes_max, guard
        self._seconds = seconds
        self._parameters = None if parameters is None else tuple(parameters)

    async def __call__(self, request: Request) -> Response:
        """Answer one request; nothing is raised."""
        more: Mapping[str, str] = {}
        try:
            check_headers(request.scope, self._bytes_max)
            body = await body_in_time(request.receive, self._bytes_max, self._seconds)
            if body is None:
                return Response(status_code=499)  # the client left: nobody reads this
            refused = self._guard and self._guard(request.headers, body)
            if refused:
                reply = refused
            else:
                told = await asyncio.to_thread(self._told, request, body)
                reply, more = Reply(told.status, dict(told.body)), told.headers
        except BodyError as error:
            reply = failure(error.status, str(error), error.field)
        except SpendgateError as error:
            reply = refusal_of(error)
        except Exception as error:  # noqa: BLE001 - the server would log it with whatever text it has
            # The text of an unknown error may quote the request, so only its type is logged.
            _log.error("administration failed: %s", type(error).__qualname__)
            reply = failure(500, INTERNAL_MESSAGE)
        headers = {"Cache-Control": "no-store", **spend_headers(reply), **more}
        headers |= closing(reply.status)
        content = json_bytes(reply.body)
        return Response(content, reply.status, headers, media_type="application/json")

    def _told(self, request: Request, body: bytes) -> Told:
        document: Mapping[str, object] = {}
        if body.strip():
            document = checked_object(body)
        path = {name: str(value) for name, value in request.path_params.items()}
        query = dict(request.query_params)
        if self._parameters is not None:
            check_parameters(request.query_params, self._parameters)
        return self._handler(Asked(path, query, request.headers, document, body))


def check_parameters(asked: QueryParams, known: Iterable[str]) -> None:
    """Refuse a query parameter that a path doesn't have, or that is given twice.

    An answer without it, or with one of the two, would say another thing than was asked.

    Raises:
        InvalidRequestError: naming the parameter, and those that there are.
    """
    unknown = sorted(set(asked) - set(known))
    if unknown:
        name = unknown[0][:PARAMETER_CHARACTERS_SHOWN]
        there = ", ".join(known) or "none"
        message = f"{name}: unknown query parameter; those of this path: {there}"
        raise InvalidRequestError(message, name)
    for name in asked:
        if len(asked.getlist(name)) > 1:
            raise InvalidRequestError(f"{name}: is given twice; give it once", name)


def refusal_of(error: SpendgateError) -> Reply:
    """Return the answer to an error."""
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            named = error.code if isinstance(error, ForbiddenError) else code
            param = error.field if isinstance(error, InvalidRequestError | ForbiddenError) else None
            return error_reply(status, named, str(error), param=param, retryable=status == 503)
    _log.error("administration failed: %s", type(error).__qualname__)
    return failure(500, INTERNAL_MESSAGE)
