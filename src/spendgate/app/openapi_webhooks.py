"""The part of the OpenAPI document about what other meters post."""

from spendgate.adapters.signed_webhook import HEADERS
from spendgate.app.webhook_routes import HELICONE, SIGNATURE, USAGE
from spendgate.domain.scope import Dimension

Json = dict[str, object]

_TEXT: Json = {"type": "string"}
_COST: Json = {
    "description": "USD; rounded up to the nano-dollar",
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,30})?$"},
    ],
}
_VALUE: Json = {"type": "string", "minLength": 1, "maxLength": 256}
_SCOPE: Json = {
    "description": "Who pays: a text such as agent:batch or org:acme,user:ann, or an object.",
    "anyOf": [
        {"type": "string", "pattern": rf"^({'|'.join(Dimension)}|tag\.[^:,]+):[^:,*]+"},
        {
            "type": "object",
            "minProperties": 1,
            "properties": {one.value: _VALUE for one in Dimension},
            "patternProperties": {r"^tag\.": _VALUE},
            "additionalProperties": False,
        },
    ],
}
_OPTIONAL: Json = {"type": ["string", "null"], "maxLength": 256}
_TOKENS: Json = {"type": ["integer", "null"], "minimum": 0}
_ID: Json = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}$"}
_STATUSES = {
    "400": "A field is wrong, or no budget covers the payer; `error.param` names it.",
    "401": "The signature is missing or forged, or the request too old.",
    "403": "No secret is configured: the webhook is off.",
    "408": "The body didn't come in time.",
    "409": "The id was used for other contents.",
    "413": "The body is too large.",
    "415": "The body isn't JSON.",
    "503": "The ledger can't be reached; nothing was booked, send it again.",
}

WEBHOOK_SCHEMAS: Json = {
    "HeliconeUsage": {
        "type": "object",
        "required": ["scopeType", "scopeKey", "cost", "requestId"],
        "properties": {
            "scopeType": {"enum": [one.value for one in Dimension]},
            "scopeKey": _VALUE,
            "cost": _COST,
            "requestId": _ID,
            "provider": _OPTIONAL,
            "modelId": _OPTIONAL,
            "inputTokens": _TOKENS,
            "outputTokens": _TOKENS,
        },
    },
    "MeterUsage": {
        "type": "object",
        "required": ["scope", "cost_usd"],
        "additionalProperties": False,
        "properties": {
            "scope": _SCOPE,
            "cost_usd": _COST,
            "provider": _OPTIONAL,
            "model": _OPTIONAL,
            "input_tokens": _TOKENS,
            "output_tokens": _TOKENS,
            "occurred_at": {"type": ["string", "null"], "format": "date-time"},
            "reason": {"type": ["string", "null"], "maxLength": 500},
        },
    },
    "BookedElsewhere": {
        "type": "object",
        "required": ["changed"],
        "properties": {
            "adjustment_id": _TEXT,
            "changed": {"type": "boolean"},
            "amount_usd": _TEXT,
            "budgets": {"type": "array", "items": _TEXT},
            "hold_id": _TEXT,
            "message": _TEXT,
        },
    },
}


def webhook_paths() -> Json:
    """Return the paths."""
    return {
        HELICONE: {
            "post": _operation(
                "Spend that Helicone has seen elsewhere; once per requestId",
                "HeliconeUsage",
                (SIGNATURE,),
            )
        },
        USAGE: {
            "post": _operation(
                "Spend of any other meter, signed as Standard Webhooks; once per webhook-id",
                "MeterUsage",
                HEADERS,
            )
        },
    }


def _operation(summary: str, body: str, headers: tuple[str, ...]) -> Json:
    return {
        "summary": summary,
        "security": [{}],
        "parameters": [
            {"name": one, "in": "header", "required": True, "schema": _TEXT} for one in headers
        ],
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {
            "200": {"description": "What is booked.", "content": _json("BookedElsewhere")},
            **{
                status: {"description": text, "content": _json("Error")}
                for status, text in _STATUSES.items()
            },
        },
    }


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
