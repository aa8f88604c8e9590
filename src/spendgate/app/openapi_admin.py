"""The part of the OpenAPI document that is about administration."""

from collections.abc import Mapping

from spendgate.app.admin_endpoint import ACTOR_CHARACTERS_MAX
from spendgate.app.budget_routes import BUDGETS, EXPLAIN, MODELS, PARAMETERS, SPEND, USAGE
from spendgate.app.openapi_callers import ADMIN, ADMIN_OR_TOKEN_HOLDERS, IDEMPOTENCY_KEY
from spendgate.app.request_routes import LIST_PARAMETERS, REQUESTS
from spendgate.domain.scope import Dimension

Json = dict[str, object]

_TEXT: Json = {"type": "string"}
_MONEY: Json = {"type": "string", "description": "USD as a decimal, such as 12.50"}
_AMOUNT: Json = {
    "description": "USD above 0, as text or a number",
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"},
    ],
}
_ID: Json = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$"}
_PATH_ID: Json = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"}
_TIME: Json = {"type": ["string", "null"], "format": "date-time"}
_TEXTS: Json = {"type": "array", "items": {"type": "string"}}
_REFUSALS = {
    "400": "A field is wrong; the message names it and the way out.",
    "401": "The token is missing or wrong.",
    "403": "No administrator's token is configured, or a spend token doesn't cover the budget.",
    "404": "There is none of this name.",
    "408": "The body didn't come in time.",
    "409": "The name is taken.",
    "412": "It has changed since it was read.",
    "413": "The body is too large.",
    "415": "The body isn't JSON.",
    "428": "If-Match is missing.",
    "429": "Too many requests of this token wait to be decided.",
    "503": "The ledger can't be reached; nothing was changed.",
}
_ALWAYS = ("400", "401", "403", "503")
_WITH_BODY = ("408", "413", "415")


def admin_paths() -> Json:
    """Return the paths."""
    return {**_budget_paths(), **_request_paths(), **_look_paths(), **_recipe_paths()}


def _budget_paths() -> Json:
    budget = {"parameters": [_path("budget_id")]}
    return {
        BUDGETS: {
            "get": _operation("All budgets", "Budgets"),
            "post": _operation(
                "Add a budget",
                "Budget",
                "201",
                refused=("409",),
                body="BudgetRow",
                needs_body=True,
                parameters=[_ACTOR],
            ),
        },
        f"{BUDGETS}/{{budget_id}}": {
            **budget,
            "get": _operation("One budget, with its ETag", "Budget", refused=("404",)),
            "put": _operation(
                "Replace a budget (If-Match) or add it",
                "Budget",
                "200",
                "201",
                refused=("412", "428"),
                body="BudgetChange",
                needs_body=True,
                parameters=[_IF_MATCH, _ACTOR],
            ),
            "delete": _operation(
                "Remove a budget (If-Match) and its raises",
                "Removed",
                refused=("404", "412", "428"),
                parameters=[_IF_MATCH, _ACTOR],
            ),
        },
        f"{BUDGETS}/{{budget_id}}/state": {
            **budget,
            "get": _operation(
                "Where it stands now, per value of its scope", "State", refused=("404",)
            ),
        },
        f"{BUDGETS}/{{budget_id}}/raise": {
            **budget,
            "post": _operation(
                "Add to its limit, for a time or for good; safe to repeat with Idempotency-Key",
                "Raise",
                "201",
                refused=("404", "409"),
                body="RaiseRow",
                needs_body=True,
                parameters=[_IDEMPOTENCY_KEY, _ACTOR],
            ),
        },
    }


def _request_paths() -> Json:
    either: Json = {"security": ADMIN_OR_TOKEN_HOLDERS}
    listed = _operation(
        "What was asked for, and what became of it; a spend token sees its own",
        "Requests",
        parameters=_queries(LIST_PARAMETERS),
    )
    asked = _operation(
        "Ask for more budget; safe to repeat with Idempotency-Key. A spend token may ask for the "
        "budgets that cover it",
        "RequestShown",
        "201",
        refused=("404", "409", "429"),
        body="RequestRow",
        needs_body=True,
        parameters=[_IDEMPOTENCY_KEY, _ACTOR],
    )
    return {
        REQUESTS: {"get": {**listed, **either}, "post": {**asked, **either}},
        f"{REQUESTS}/{{request_id}}/approve": _decision("Approve: an expiring raise"),
        f"{REQUESTS}/{{request_id}}/deny": _decision("Deny"),
    }


def _look_paths() -> Json:
    return {
        SPEND: {
            "get": _operation(
                "Where all budgets stand; with `by` sums of the events",
                "Answer",
                refused=("404",),
                parameters=_queries(PARAMETERS["GET", SPEND]),
            )
        },
        EXPLAIN: {
            "post": _operation(
                "What would happen to a request, and why; moves nothing",
                "Answer",
                body="Request",
                needs_body=True,
                parameters=_queries(PARAMETERS["POST", EXPLAIN]),
            )
        },
        MODELS: {
            "get": _operation(
                "Prices, and what fits the budgets of who is named",
                "Answer",
                parameters=_queries(PARAMETERS["GET", MODELS]),
            )
        },
    }


def _recipe_paths() -> Json:
    return {
        USAGE: {
            "get": _operation(
                "The tightest budget of somebody, in the recipes' words",
                "Usage",
                refused=("404",),
                parameters=[
                    {**one, "required": True} for one in _queries(PARAMETERS["GET", USAGE])
                ],
            ),
            "post": _operation(
                "Add or replace a budget by the recipes' profile",
                "Budget",
                "200",
                "201",
                body="Profile",
                needs_body=True,
                parameters=[_ACTOR],
            ),
        },
    }


def admin_schemas() -> Json:
    """Return the schemas that the paths name."""
    return {**_budget_schemas(), **_request_schemas(), **_recipe_schemas()}


def _budget_schemas() -> Json:
    fields = _budget_fields()
    shown: Json = {"type": "object", "required": ["id", "scope", "limit_usd", "window", "etag"]}
    return {
        "Budgets": _object({"budgets": {"type": "array", "items": _ref("Budget")}}, ["budgets"]),
        "Budget": {
            **shown,
            "properties": {
                "id": _ID,
                "etag": _TEXT,
                "source": _TEXT,
                "notes": {"type": "array", "items": _TEXT},
            },
        },
        "BudgetRow": {
            **_object({"id": _ID, **fields}, ["id", "scope", "limit_usd"]),
            "additionalProperties": False,
        },
        "BudgetChange": {
            **_object({"id": _ID, **fields}, ["scope", "limit_usd"]),
            "additionalProperties": False,
        },
        "Removed": _object({"removed": _TEXT, "note": {"type": ["string", "null"]}}, ["removed"]),
        "State": _object(
            {"budget_id": _TEXT, "states": {"type": "array"}, "values_max": {"type": "integer"}},
            ["states", "values_max"],
        ),
        "RaiseRow": {
            **_object(
                {"id": _ID, "amount_usd": _AMOUNT, "amount": _AMOUNT, "reason": _TEXT}
                | {"expires_at": _TIME},
                ["reason"],
            ),
            "additionalProperties": False,
        },
        "Raise": _object(
            {"id": _ID, "raises": _ID, "amount_usd": _MONEY, "limit_now_usd": _MONEY},
            ["id", "raises", "amount_usd", "limit_now_usd"],
        ),
    }


def _request_schemas() -> Json:
    return {
        "Requests": _object(
            {"requests": {"type": "array", "items": _ref("RequestShown")}}, ["requests"]
        ),
        "RequestShown": _object(
            {"request_id": _ID, "budget_id": _ID, "amount_usd": _MONEY, "lasts": _TEXT}
            | {"status": {"enum": ["pending", "approved", "denied"]}, "expires_at": _TIME},
            ["request_id", "budget_id", "amount_usd", "status"],
        ),
        "RequestRow": {
            **_object(
                {"budget_id": _ID, "amount_usd": _AMOUNT, "reason": _TEXT, "request_id": _ID}
                | {"lasts": {"type": "string", "description": "Such as 24h or 7d"}},
                ["budget_id", "amount_usd", "reason"],
            ),
            "additionalProperties": False,
        },
        "Decision": {**_object({"reason": _TEXT}, []), "additionalProperties": False},
    }


def _recipe_schemas() -> Json:
    return {
        "Usage": _object(
            dict.fromkeys(("scopeType", "scopeKey", "limit", "spent", "remaining"), _TEXT)
            | {"exceeded": {"type": "boolean"}, "budgets": {"type": "array"}},
            ["scopeType", "scopeKey", "limit", "spent", "remaining", "exceeded"],
        ),
        "Profile": _object(
            {"scopeType": {"enum": [one.value for one in Dimension]}, "scopeKey": _TEXT}
            | dict.fromkeys(("limit", "dailyLimit", "monthlyLimit"), _AMOUNT),
            ["scopeType", "scopeKey"],
        ),
    }


def _budget_fields() -> Json:
    step = _object({"from": {"anyOf": [_TEXT, _TEXTS]}, "to": _TEXT}, ["from", "to"])
    fraction: Json = {"type": "number", "exclusiveMinimum": 0, "maximum": 10}
    return {
        "scope": {
            "description": 'Who it covers, such as {"agent": "*"}',
            "anyOf": [_TEXT, {"type": "object", "additionalProperties": _TEXT}],
        },
        "limit_usd": _AMOUNT,
        "window": {"description": "minute … month, lifetime, rolling:24h", "type": "string"},
        "tz": _TEXT,
        "rollover": {"anyOf": [_object({"max_usd": _AMOUNT}, ["max_usd"]), {"type": "null"}]},
        "soft_cap": fraction,
        "hard_cap": fraction,
        "auto_downgrade": {"type": "array", "items": step},
        "disable_tools": _TEXTS,
        "alerts": {"type": "array", "items": fraction},
        "routes": _TEXTS,
        "mode": {"enum": ["enforce", "shadow"]},
        "bound": {"enum": ["strict", "counted"]},
        "fit": {"type": "boolean"},
        "min_output_tokens": {"type": "integer", "minimum": 1},
        "trust": {"type": "object", "additionalProperties": {"enum": ["trusted", "asserted"]}},
        "refusal": {"enum": ["http", "in_band"]},
        "on_client_abort": {"enum": ["drain", "close"]},
        "on_store_error": {"enum": ["refuse", "allow"]},
        "loop_guard": {"type": ["object", "null"]},
        "idle_ttl": {"type": ["string", "null"]},
        "expires_at": _TIME,
        # What GET shows besides; ignored where it comes back.
        **{name: {} for name in ("source", "limit_now_usd", "raises", "etag", "notes")},
    }


def _decision(summary: str) -> Json:
    operation = _operation(
        summary, "RequestShown", refused=("404", "409"), body="Decision", parameters=[_ACTOR]
    )
    return {"parameters": [_path("request_id")], "post": operation}


def _operation(
    summary: str,
    answer: str,
    *statuses: str,
    refused: tuple[str, ...] = (),
    body: str | None = None,
    needs_body: bool = False,
    parameters: list[Json] | None = None,
) -> Json:
    told = {one: _response("Done.", answer) for one in statuses or ("200",)}
    refusals = (*_ALWAYS, *refused, *(_WITH_BODY if body else ()))
    told |= {one: _response(_REFUSALS[one], "Error") for one in sorted(refusals)}
    operation: Json = {
        "summary": summary,
        "security": ADMIN,
        "parameters": parameters or [],
        "responses": told,
    }
    if body is not None:
        operation["requestBody"] = {"required": needs_body, "content": _json(body)}
    return operation


def _object(properties: Mapping[str, object], required: list[str]) -> Json:
    return {"type": "object", "required": required, "properties": dict(properties)}


def _queries(names: tuple[str, ...]) -> list[Json]:
    return [{"name": name, "in": "query", "schema": _TEXT} for name in names]


def _header(name: str, description: str, schema: Json = _TEXT) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _PATH_ID}


def _response(description: str, schema: str) -> Json:
    return {"description": description, "content": _json(schema)}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": _ref(schema)}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_IF_MATCH = _header("If-Match", "The ETag that was read, so that nobody's change is overwritten.")
_IDEMPOTENCY_KEY = _header(IDEMPOTENCY_KEY, "Names what is asked: again, it is the same one.")
_ACTOR = _header(
    "X-Actor",
    "Who acts, as the holder of the administrator's token says.",
    {"type": "string", "maxLength": ACTOR_CHARACTERS_MAX},
)
