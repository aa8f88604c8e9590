"""The administration's routes: budgets, their state and raises, spend, explanations, models."""

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from starlette.routing import Route

from spendgate.adapters.budget_admin import VALUES_MAX, Changed, etag_of, shown_budget
from spendgate.adapters.budget_codec import budget_as_json, raise_as_json
from spendgate.adapters.profile_import import import_profiles
from spendgate.adapters.stored_policy import Author
from spendgate.app.admin_endpoint import Asked, Endpoint, Told
from spendgate.app.administration import Administration
from spendgate.domain.scope import Dimension, Scope, ScopeError
from spendgate.errors import InvalidRequestError, PolicyError
from spendgate.gateway.wire import CHAT, EMBEDDINGS

BUDGETS = "/api/budgets"
SPEND, EXPLAIN, MODELS, USAGE = "/api/spend", "/api/explain", "/api/models", "/api/budget"
PARAMETERS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("GET", SPEND): ("by", "since"),
    ("POST", EXPLAIN): ("route",),
    ("GET", MODELS): (*(one.value for one in Dimension), "max_tokens"),
    ("GET", USAGE): ("scopeType", "scopeKey"),
}
"""The query parameters of each route; of one that isn't here, none."""

NEEDS_IF_MATCH = (
    "send If-Match with the ETag that you read, so that nobody's change is overwritten; * for any"
)
DEFAULT_TOKENS = 1000
TOKENS_MAX = 10**9


class BudgetRoutes:
    """Handlers over one administration."""

    def __init__(self, administration: Callable[[], Administration]) -> None:
        self._administration = administration

    def routes(self) -> list[Route]:
        """Return the routes."""
        listed = (
            ("GET", BUDGETS, self._list),
            ("POST", BUDGETS, self._create),
            ("GET", f"{BUDGETS}/{{budget_id}}", self._show),
            ("PUT", f"{BUDGETS}/{{budget_id}}", self._put),
            ("DELETE", f"{BUDGETS}/{{budget_id}}", self._remove),
            ("GET", f"{BUDGETS}/{{budget_id}}/state", self._state),
            ("POST", f"{BUDGETS}/{{budget_id}}/raise", self._raise),
            ("GET", SPEND, self._spend),
            ("POST", EXPLAIN, self._explain),
            ("GET", MODELS, self._models),
            ("GET", USAGE, self._usage),
            ("POST", USAGE, self._profile),
        )
        return [
            Route(
                path,
                Endpoint(handler, parameters=PARAMETERS.get((method, path), ())).__call__,
                methods=[method],
            )
            for method, path, handler in listed
        ]

    def _list(self, _asked: Asked) -> Told:
        return Told({"budgets": self._administration().budgets.listed()})

    def _show(self, asked: Asked) -> Told:
        return _with_etag(self._administration().budgets.shown(asked.path["budget_id"]))

    def _create(self, asked: Asked) -> Told:
        admin = self._administration().budgets
        changed = admin.create(asked.body, Author(asked.actor))
        assert changed.after is not None  # noqa: S101 - it was added
        told = self._told(changed)
        location = {"Location": f"{BUDGETS}/{changed.after.budget_id}"}
        return Told(told.body, told.status, {**told.headers, **location})

    def _put(self, asked: Asked) -> Told:
        admin = self._administration().budgets
        budget_id, etag = asked.path["budget_id"], asked.headers.get("if-match")
        known = {one.budget_id for one in admin.ledger.policies.policy().budgets}
        if etag is None and budget_id in known:
            return _precondition()
        author = Author(asked.actor)
        changed = admin.put(budget_id, asked.body, author, etag=etag, is_new=etag is None)
        return self._told(changed)

    def _remove(self, asked: Asked) -> Told:
        etag = asked.headers.get("if-match")
        admin = self._administration().budgets
        budget_id = asked.path["budget_id"]
        admin.shown(budget_id)  # one that isn't there is told before its missing header
        if etag is None:
            return _precondition()
        changed = admin.remove(budget_id, Author(asked.actor), etag=etag)
        owner = None if changed.before is None else changed.before.source
        notes = ["the policy file owns it: it comes back with the file"] if owner == "file" else []
        notes += admin.left_by(changed)
        return Told({"removed": budget_id, "note": "; ".join(notes) or None})

    def _state(self, asked: Asked) -> Told:
        budget_id = asked.path["budget_id"]
        states = self._administration().budgets.state(budget_id)
        return Told({"budget_id": budget_id, "states": states, "values_max": VALUES_MAX})

    def _raise(self, asked: Asked) -> Told:
        given = dict(asked.body)
        if "raises" in given:
            raise InvalidRequestError("raises: the path names the budget", "raises")
        key = asked.headers.get("idempotency-key")
        given.setdefault("id", _raise_id(asked.path["budget_id"], key))
        row = {**given, "raises": asked.path["budget_id"]}
        reason = str(given.get("reason", ""))
        administration = self._administration()
        raised = administration.budgets.raise_limit(row, Author(asked.actor, reason))
        shown = administration.budgets.shown(raised.budget_id)
        return Told({**raise_as_json(raised), "limit_now_usd": shown["limit_now_usd"]}, 201)

    def _spend(self, asked: Asked) -> Told:
        by = asked.query.get("by")
        since = asked.query.get("since")
        if by is None:
            if since is not None:
                raise InvalidRequestError("since needs by, such as by=day", "since")
            return Told({"budgets": self._administration().standing(), "values_max": VALUES_MAX})
        names = list(dict.fromkeys(by.split(",")))
        rows = self._administration().sums(names, None if since is None else _instant(since))
        return Told({"by": names, "rows": rows})

    def _explain(self, asked: Asked) -> Told:
        route = asked.query.get("route", CHAT)
        if route not in (CHAT, EMBEDDINGS):
            raise InvalidRequestError(f"route must be {CHAT} or {EMBEDDINGS}", "route")
        return Told(self._administration().explain(route, asked.body))

    def _models(self, asked: Asked) -> Told:
        who = {one.value: asked.query[one.value] for one in Dimension if one.value in asked.query}
        text = asked.query.get("max_tokens", str(DEFAULT_TOKENS))
        if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) <= TOKENS_MAX):
            raise InvalidRequestError(f"max_tokens must be 1 to {TOKENS_MAX}", "max_tokens")
        return Told({"models": self._administration().models(who, int(text))})

    def _usage(self, asked: Asked) -> Told:
        kind, key = asked.query.get("scopeType", ""), asked.query.get("scopeKey", "")
        if kind not in set(Dimension):
            known = ", ".join(Dimension)
            raise InvalidRequestError(f"scopeType must be one of {known}", "scopeType")
        try:
            scope = Scope.of({kind: key})
        except ScopeError as error:
            raise InvalidRequestError(f"scopeKey: {error}", "scopeKey") from None
        if scope.wildcards:
            raise InvalidRequestError("scopeKey must say who; * is nobody", "scopeKey")
        return Told(self._administration().usage(scope))

    def _profile(self, asked: Asked) -> Told:
        try:
            (budget,) = import_profiles(json.dumps([asked.body]))
        except PolicyError as error:
            raise PolicyError(str(error).replace("profile #1: ", "profile: ")) from None
        admin, row = self._administration().budgets, budget_as_json(budget)
        return self._told(admin.put(budget.budget_id, row, Author(asked.actor)))

    def _told(self, changed: Changed) -> Told:
        """Show a budget that was put, with what people should hear of it."""
        administration, budget = self._administration(), changed.after
        assert budget is not None  # noqa: S101 - it was put
        admin = administration.budgets
        shown = shown_budget(admin.ledger.policies.policy(), budget, administration.now())
        status = 201 if changed.before is None else 200
        headers = {"ETag": etag_of(budget)}
        return Told({**shown, "notes": admin.left_by(changed)}, status, headers)


def _with_etag(shown: Mapping[str, object]) -> Told:
    return Told(shown, headers={"ETag": str(shown["etag"])})


def _precondition() -> Told:
    error = {"type": "invalid_request_error", "code": "if_match_required"}
    body: dict[str, object] = {
        "error": {**error, "message": NEEDS_IF_MATCH, "param": "if-match"},
        "error_code": "IF_MATCH_REQUIRED",
        "message": NEEDS_IF_MATCH,
        "retryable": False,
    }
    return Told(body, 428)


def _raise_id(budget_id: str, key: str | None) -> str:
    """Name a raise; the same Idempotency-Key makes the same raise."""
    if key is None:
        return f"raise-{uuid.uuid4().hex[:12]}"
    return f"raise-{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([budget_id, key])).hex[:12]}"


def _instant(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text[:40]!r} is no time; write 2030-01-31T00:00:00Z"
        raise InvalidRequestError(message, "since") from None
