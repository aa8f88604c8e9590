"""The administration's routes for requests: ask for more budget, list, approve, deny."""

import json
import uuid
from collections.abc import Callable

from starlette.routing import Route

from spendgate.adapters.budget_requests import BudgetRequests, RequestStatus, request_json
from spendgate.app.admin_endpoint import Asked, Endpoint, Told
from spendgate.app.administration import Administration
from spendgate.errors import InvalidRequestError

REQUESTS = "/api/requests"
LIST_PARAMETERS = ("status",)


class RequestRoutes:
    """Handlers over one administration."""

    def __init__(self, administration: Callable[[], Administration]) -> None:
        self._administration = administration

    def routes(self) -> list[Route]:
        """Return the routes."""
        listed = (
            ("GET", REQUESTS, self._list, LIST_PARAMETERS),
            ("POST", REQUESTS, self._ask, ()),
            ("POST", f"{REQUESTS}/{{request_id}}/approve", self._approve, ()),
            ("POST", f"{REQUESTS}/{{request_id}}/deny", self._deny, ()),
        )
        return [
            Route(path, Endpoint(handler, parameters=parameters).__call__, methods=[method])
            for method, path, handler, parameters in listed
        ]

    def _list(self, asked: Asked) -> Told:
        status = status_of(asked)
        return Told({"requests": [request_json(one) for one in self._desk().listed(status)]})

    def _ask(self, asked: Asked) -> Told:
        row = dict(asked.body)
        row["request_id"] = request_id_of(asked, asked.actor)
        return Told(request_json(self._desk().ask(row, asked.actor)), 201)

    def _approve(self, asked: Asked) -> Told:
        name, reason = asked.path["request_id"], _reason(asked)
        return Told(request_json(self._desk().approve(name, asked.actor, reason)))

    def _deny(self, asked: Asked) -> Told:
        name, reason = asked.path["request_id"], _reason(asked)
        return Told(request_json(self._desk().deny(name, asked.actor, reason)))

    def _desk(self) -> BudgetRequests:
        administration = self._administration()
        return BudgetRequests(administration.budgets, administration.now)


def status_of(asked: Asked) -> str | None:
    """Return the status that a list is asked for.

    Raises:
        InvalidRequestError: if there is no such status.
    """
    status = asked.query.get("status")
    if status is not None and status not in set(RequestStatus):
        known = ", ".join(RequestStatus)
        raise InvalidRequestError(f"status must be one of {known}", "status")
    return status


def request_id_of(asked: Asked, by: str) -> object:
    """Return the name of a request: its own, or one that the same Idempotency-Key makes again."""
    key, own = asked.headers.get("idempotency-key"), asked.body.get("request_id")
    if key is None or own is not None:
        return own
    return f"request-{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([by, key])).hex[:12]}"


def _reason(asked: Asked) -> str:
    if unknown := sorted(set(asked.body) - {"reason"}):
        raise InvalidRequestError(f"{unknown[0][:40]}: unknown key; send reason", unknown[0][:40])
    reason = asked.body.get("reason", "")
    if not isinstance(reason, str) or len(reason) > 500 or not reason.isprintable():
        raise InvalidRequestError("reason must be at most 500 printable characters", "reason")
    return reason
