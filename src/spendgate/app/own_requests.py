"""`/api/requests` for an agent: it asks for more on the word of its own spend token.

A token may ask for the budgets that bind its calls and read what it asked itself; whether it gets
anything is decided with the administrator's token.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.routing import Route

from spendgate.adapters.budget_requests import (
    BudgetRequest,
    BudgetRequests,
    RequestStatus,
    request_json,
)
from spendgate.app.admin_endpoint import Asked, Endpoint, Told
from spendgate.app.administration import Administration
from spendgate.app.request_routes import LIST_PARAMETERS, REQUESTS, request_id_of, status_of
from spendgate.domain.scope import TAG_PREFIX, Identity, Scope, ScopeError
from spendgate.errors import ForbiddenError, TokenError
from spendgate.gateway.ports import TokenClaims
from spendgate.gateway.reply import Reply, error_reply

BODY_BYTES_MAX = 65_536
PENDING_MAX = 20
"""Requests of one asker that may wait for somebody: an agent in a loop asks without an end."""
ASKER_CHARACTERS_MAX = 400


class TokenReader(Protocol):
    """The part of the gate that this needs."""

    def bearer_claims(self, headers: Mapping[str, str]) -> TokenClaims:
        """Return what a request's spend token vouches for."""
        ...


class OwnRequests:
    """Handlers for callers that have a spend token and no administrator's."""

    def __init__(
        self, tokens: Callable[[], TokenReader], administration: Callable[[], Administration]
    ) -> None:
        self._tokens, self._administration = tokens, administration

    def routes(self) -> list[Route]:
        """Return the routes."""
        listed = (("GET", self._list, LIST_PARAMETERS), ("POST", self._ask, ()))
        return [
            Route(
                REQUESTS,
                Endpoint(
                    self._with_token(handler), bytes_max=BODY_BYTES_MAX, parameters=parameters
                ).__call__,
                methods=[method],
            )
            for method, handler, parameters in listed
        ]

    def _with_token(self, handler: Callable[[Asked, TokenClaims], Told]) -> Callable[[Asked], Told]:
        def told(asked: Asked) -> Told:
            try:
                return handler(asked, self._tokens().bearer_claims(asked.headers))
            except TokenError as error:
                refused = error_reply(401, "invalid_spend_token", str(error), param="spend_token")
            except ForbiddenError as error:
                refused = error_reply(403, error.code, str(error), param=error.field)
            return _told(refused)

        return told

    def _list(self, asked: Asked, claims: TokenClaims) -> Told:
        found = self._own(_asker(claims), status_of(asked))
        return Told({"requests": [request_json(one) for one in found]})

    def _ask(self, asked: Asked, claims: TokenClaims) -> Told:
        by, row = _asker(claims), dict(asked.body)
        self._check_covered(row.get("budget_id"), claims)
        row["request_id"] = request_id_of(asked, by) or f"request-{uuid.uuid4().hex[:12]}"
        waiting = [one.request_id for one in self._own(by, RequestStatus.PENDING)]
        if len(waiting) >= PENDING_MAX and row["request_id"] not in waiting:
            message = f"{PENDING_MAX} requests of this token wait to be decided; ask again then"
            return _told(error_reply(429, "too_many_requests", message))
        return Told(request_json(self._desk().ask(row, by)), 201)

    def _check_covered(self, budget_id: object, claims: TokenClaims) -> None:
        """Refuse a budget that doesn't bind the token; nobody learns which others there are."""
        if not isinstance(budget_id, str):
            return  # the form is wrong, which is told with the other fields
        budget = self._administration().budgets.ledger.policies.policy().budget(budget_id)
        identity = Identity(claims.scopes, claims.tags)
        if budget is None or budget.scope.match(identity) is None:
            message = (
                "no budget of this name covers the token; a refusal's budget.budget_id names one"
            )
            raise ForbiddenError("scope_forbidden", message, "budget_id")

    def _own(self, by: str, status: str | None) -> list[BudgetRequest]:
        return [one for one in self._desk().listed(status) if one.requested_by == by]

    def _desk(self) -> BudgetRequests:
        administration = self._administration()
        return BudgetRequests(administration.budgets, administration.now)


def _asker(claims: TokenClaims) -> str:
    """Name who asks by all that the token carries, so that a renewed one reads on."""
    parts = {**claims.scopes, **{f"{TAG_PREFIX}{name}": one for name, one in claims.tags.items()}}
    try:
        text = Scope.of(parts).text
    except ScopeError as error:
        raise TokenError(f"the spend token names nobody who can ask: {error}") from None
    if len(text) > ASKER_CHARACTERS_MAX:
        text = f"{text[:300]}…{uuid.uuid5(uuid.NAMESPACE_URL, text).hex}"
    return f"token:{text}"


def _told(reply: Reply) -> Told:
    return Told(reply.body, reply.status)
