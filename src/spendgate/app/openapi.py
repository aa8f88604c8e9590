"""The OpenAPI document of the ASGI host: what it adds to OpenAI's API."""

from collections.abc import Mapping
from importlib.metadata import version

from spendgate.app.openapi_admin import admin_paths, admin_schemas
from spendgate.app.openapi_callers import (
    ADMIN,
    METRICS,
    OPEN,
    SECURITY_SCHEMES,
    TOKEN_HOLDERS,
    Security,
    caller_parameters,
)
from spendgate.app.openapi_calls import BODY_REFUSALS, call_paths, refused
from spendgate.app.openapi_holds import HOLD_SCHEMAS, hold_paths
from spendgate.app.openapi_webhooks import WEBHOOK_SCHEMAS, webhook_paths
from spendgate.domain.scope import Dimension

_ANY = {"type": "object", "additionalProperties": True}


def openapi_document() -> dict[str, object]:
    """Return the document; OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spendgate",
            "version": version("spendgate"),
            "description": "An OpenAI-compatible API that holds a call's money before the call.",
        },
        "paths": {
            **call_paths(),
            "/v1/models": {"get": _look("Models that clients may name", _object("List"))},
            "/v1/models/{model}": {
                "parameters": [
                    {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "get": _look(
                    "One model",
                    _object("Model"),
                    {"404": _response("There is no such model, or it has no price.", "Error")},
                ),
            },
            **hold_paths(),
            "/api/tokens/narrow": {"post": _narrow()},
            "/api/dashboard/spend": {
                "get": _figures("Where the fullest budgets stand", "Rows"),
            },
            "/api/dashboard/latest": {
                "parameters": [{"name": "by", "in": "query", "schema": {"type": "string"}}],
                "get": _figures("Spend over time, and the last refusals", "Document"),
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
        "parameters": caller_parameters(),
        "securitySchemes": SECURITY_SCHEMES,
    }


def _narrow() -> dict[str, object]:
    return {
        "summary": "A narrower spend token, on the word of the bearer's own",
        "security": TOKEN_HOLDERS,
        "requestBody": {"content": _json("Wish")},
        "responses": {
            "200": _response("The token, once.", "NarrowedToken"),
            **refused(("400", "401", "403", *BODY_REFUSALS)),
            "503": _response("The ledger can't be asked whether it was revoked.", "Error"),
        },
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
        "security": OPEN,
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
        "security": METRICS,
        "responses": {"200": page, "401": _response("The bearer is missing or wrong.", "Error")},
    }


def _figures(summary: str, answer: str) -> dict[str, object]:
    told = {
        "400": "A query parameter is wrong or unknown.",
        "401": "The administrator's token is missing or wrong.",
        "403": "No administrator's token is configured.",
        "503": "The ledger can't be reached.",
    }
    responses = {status: _response(text, "Error") for status, text in told.items()}
    return _look(summary, _object(answer), responses, ADMIN)


def _look(
    summary: str,
    answer: dict[str, object],
    refusals: Mapping[str, object] | None = None,
    security: Security = OPEN,
) -> dict[str, object]:
    return {
        "summary": summary,
        "security": security,
        "responses": {"200": answer, **(refusals or {})},
    }


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
