"""The OpenAPI document of the ASGI host: what it adds to OpenAI's API."""

from importlib.metadata import version

from spendgate.app.openapi_admin import admin_paths, admin_schemas
from spendgate.app.openapi_holds import HOLD_SCHEMAS, hold_paths
from spendgate.app.openapi_webhooks import WEBHOOK_SCHEMAS, webhook_paths
from spendgate.domain.scope import Dimension

_ANY = {"type": "object", "additionalProperties": True}
_REFUSALS = {
    "400": "The request is wrong, or its cost can't be bounded; `error.param` names the field.",
    "401": "A spend token is missing, forged, expired or for another gate.",
    "402": "A budget is exhausted (`budget_exhausted`); `budget` names it and its figures.",
    "403": "The scope, the model or an unfunded call is forbidden.",
    "409": "An idempotency key was used before.",
    "429": "Calls in flight hold what is left (`budget_held`), or the model server is busy.",
    "503": "The ledger can't be reached, so nothing was sent.",
}


def openapi_document() -> dict[str, object]:
    """Return the document; OpenAPI 3.1."""
    call = _call("Answer", "OpenAI's body; ours is in `custom_inputs`.")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spendgate",
            "version": version("spendgate"),
            "description": "An OpenAI-compatible API that holds a call's money before the call.",
        },
        "paths": {
            "/v1/chat/completions": {"post": {**call, "summary": "Chat"}},
            "/v1/responses": {"post": {**call, "summary": "Responses"}},
            "/v1/embeddings": {"post": {**call, "summary": "Embeddings"}},
            "/v1/models": {"get": _look("Models that clients may name", _object("List"))},
            "/v1/models/{model}": {
                "parameters": [
                    {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "get": _look("One model", _object("Model")),
            },
            "/agent/chat": {"post": _recipe_call()},
            "/api/chat": {"post": _recipe_call()},
            **hold_paths(_REFUSALS),
            "/api/tokens/narrow": {"post": _narrow()},
            "/api/dashboard/spend": {
                "get": _look(
                    "Where the fullest budgets stand", _object("Rows"), *("400", "401", "403")
                )
            },
            "/api/dashboard/latest": {
                "parameters": [{"name": "by", "in": "query", "schema": {"type": "string"}}],
                "get": _look(
                    "Spend over time, and the last refusals",
                    _object("Document"),
                    *("400", "401", "403"),
                ),
            },
            **admin_paths(),
            **webhook_paths(),
            "/api/health": {"get": _look("Whether this process answers", _object("Health"))},
            "/health": {"get": _look("Whether this process answers", _object("Status"))},
            "/ready": {"get": _ready()},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _look("This document", _object("Document"))},
        },
        "components": _components(),
        "security": [{}, {"bearer": []}],
    }


def _components() -> dict[str, object]:
    return {
        "schemas": {
            "Request": _ANY,
            "Answer": {**_ANY, "properties": {"spend": _schema("Spend")}},
            "Spend": _ANY,
            "Error": _error(),
            "RecipeError": _recipe_error(),
            "List": _ANY,
            "Rows": {"type": "array", "items": _ANY},
            "Model": _ANY,
            "Status": {"type": "object", "properties": {"status": {"const": "ok"}}},
            "Readiness": _readiness(),
            "Document": _ANY,
            **HOLD_SCHEMAS,
            **WEBHOOK_SCHEMAS,
            "Health": _health(),
            **admin_schemas(),
            "Wish": _wish(),
            "NarrowedToken": _narrowed_token(),
        },
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "admin": {
                "type": "http",
                "scheme": "bearer",
                "description": "SPENDGATE_ADMIN_TOKEN",
            },
        },
    }


def _call(answer: str, description: str) -> dict[str, object]:
    return {
        "description": description,
        "requestBody": {"required": True, "content": _json("Request")},
        "responses": {
            "200": {
                "description": "The model's answer with `spend`; events where `stream` is true.",
                "content": {**_json(answer), "text/event-stream": {}},
            },
            **{status: _response(text, "Error") for status, text in _REFUSALS.items()},
            "default": _response("The model server failed; `error.code` says how.", "Error"),
        },
    }


def _recipe_call() -> dict[str, object]:
    call = _call("Answer", "The recipes' form (prompt, scopeType, scopeKey, modelId) or OpenAI's.")
    refused = {
        "400": _response("`bad_request` with `details`.", "RecipeError"),
        "402": _response("`budget_exceeded` with `message`.", "RecipeError"),
        "default": _response("An error's code, and `message`.", "RecipeError"),
    }
    answered = {"200": _response("The model's answer with `spend`.", "Answer")}
    return {**call, "summary": "Chat in the recipes' form", "responses": {**answered, **refused}}


def _narrow() -> dict[str, object]:
    refused = {status: _response(_REFUSALS[status], "Error") for status in ("400", "401", "403")}
    return {
        "summary": "A narrower spend token, on the word of the bearer's own",
        "requestBody": {"content": _json("Wish")},
        "responses": {"200": _response("The token, once.", "NarrowedToken"), **refused},
    }


def _wish() -> dict[str, object]:
    text = {"type": "string"}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{name.value: text for name in Dimension},
            "tags": {"type": "object", "additionalProperties": text},
            "models": {"type": "array", "items": text},
            "ttl_seconds": {"type": "integer", "minimum": 1},
        },
    }


def _health() -> dict[str, object]:
    times = {"type": "string", "format": "date-time"}
    properties = {"status": {"const": "ok"}, "timestamp": times}
    return {"type": "object", "required": ["status", "timestamp"], "properties": properties}


def _ready() -> dict[str, object]:
    away = _response("The ledger doesn't answer: calls would be refused.", "Readiness")
    return {
        "summary": "Whether calls may be sent to this process",
        "responses": {"200": _object("Readiness"), "503": away},
    }


def _readiness() -> dict[str, object]:
    properties = {
        "status": {"enum": ["ready", "unavailable"]},
        "error": {"const": "ledger_unavailable"},
    }
    return {"type": "object", "required": ["status"], "properties": properties}


def _narrowed_token() -> dict[str, object]:
    names = ("spend_token", "token_id", "expires_at")
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _metrics() -> dict[str, object]:
    page = {"description": "The page.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "summary": "Prometheus metrics; SPENDGATE_METRICS_TOKEN as bearer where that is set",
        "responses": {"200": page, "401": _response("The bearer is missing or wrong.", "Error")},
    }


def _look(summary: str, answer: dict[str, object], *refused: str) -> dict[str, object]:
    refusals = {one: _response(_REFUSALS[one], "Error") for one in refused}
    return {"summary": summary, "responses": {"200": answer, **refusals}}


def _object(name: str) -> dict[str, object]:
    return _response(name, name)


def _response(description: str, schema: str) -> dict[str, object]:
    return {"description": description, "content": _json(schema)}


def _json(schema: str) -> dict[str, object]:
    return {"application/json": {"schema": _schema(schema)}}


def _schema(name: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{name}"}


def _error() -> dict[str, object]:
    return {
        "type": "object",
        "required": ["error", "error_code", "retryable"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["type", "code", "message"],
                "properties": {name: {} for name in ("type", "code", "message", "param")},
            },
            "error_code": {"type": "string"},
            "retryable": {"type": "boolean"},
            "suggested_model": {"type": ["string", "null"]},
            "spend": {"anyOf": [_schema("Spend"), {"type": "null"}]},
            "budget": _ANY,
        },
    }


def _recipe_error() -> dict[str, object]:
    return {
        "type": "object",
        "required": ["error"],
        "properties": {name: {"type": "string"} for name in ("error", "message", "details")},
    }
