"""The part of the OpenAPI document about holds that callers reserve and settle themselves."""

from spendgate.app.hold_form import PATH
from spendgate.app.openapi_callers import CALLERS, IDEMPOTENCY_KEY, PAYERS, parameters_of
from spendgate.app.openapi_calls import BODY_REFUSALS, IN_BAND, refused
from spendgate.domain.hold import HoldState
from spendgate.gateway.operation import Operation

_TEXT = {"type": "string"}
_OBJECT = {"type": "object", "additionalProperties": True}
_SPEND = {"$ref": "#/components/schemas/Spend"}

HOLD_SCHEMAS: dict[str, object] = {
    "Hold": {
        "type": "object",
        "required": ["hold_id", "state", "expires_at", "model", "max_tokens", "body", "spend"],
        "properties": {
            "object": {"const": "hold"},
            "hold_id": _TEXT,
            "state": {"const": HoldState.HELD.value},
            "expires_at": {"type": "string", "format": "date-time"},
            "model": _TEXT,
            "max_tokens": {"type": "integer"},
            "tools_disabled": {"type": "array", "items": _TEXT},
            "client_request_id": _TEXT,
            "body": _OBJECT,
            "spend": _SPEND,
        },
    },
    "HoldOrNot": {
        "anyOf": [
            {"$ref": "#/components/schemas/Hold"},
            {"$ref": "#/components/schemas/Error"},
        ]
    },
    "EndedHold": {
        "type": "object",
        "required": ["hold_id", "state", "changed", "spend"],
        "properties": {
            "object": {"const": "hold"},
            "hold_id": _TEXT,
            "state": {"enum": [one.value for one in HoldState if one is not HoldState.HELD]},
            "changed": {"type": "boolean"},
            "spend": _SPEND,
        },
    },
    "Report": {
        **_OBJECT,
        "properties": {"usage": {"type": ["object", "null"]}, "custom_inputs": _OBJECT},
    },
}


def hold_paths() -> dict[str, object]:
    """Return the paths."""
    asked = ("400", "401", "402", "403", *BODY_REFUSALS, "409", "429", "503")
    return {
        PATH: {
            "post": {
                "summary": "Hold the money of a call that the caller makes itself",
                "description": "OpenAI's body with `custom_inputs`. Send `body` to the model, then "
                "settle. Cooperative: that it is sent as granted isn't enforced.",
                "security": CALLERS,
                "parameters": parameters_of(IDEMPOTENCY_KEY, *PAYERS),
                "requestBody": {"required": True, "content": _json("Request")},
                "responses": {
                    "200": _response(
                        f"The hold and the call as granted, or {IN_BAND}.", "HoldOrNot"
                    ),
                    **refused(sorted(asked)),
                },
            }
        },
        f"{PATH}/{{hold_id}}/{Operation.SETTLE}": _end(
            "Charge what the call used",
            "The model's whole answer, or `usage` alone as its server reported it. Of an answer "
            "without usage, or `{}`, the whole hold is charged; another body without `usage` is "
            "400. A repeat changes nothing; after the expiry it corrects.",
        ),
        f"{PATH}/{{hold_id}}/{Operation.VOID}": _end(
            "Release a hold whose call certainly wasn't made",
            "A hold that has ended stays as it is.",
        ),
    }


def _end(summary: str, description: str) -> dict[str, object]:
    return {
        "parameters": [{"name": "hold_id", "in": "path", "required": True, "schema": _TEXT}],
        "post": {
            "summary": summary,
            "description": description,
            "security": CALLERS,
            "parameters": parameters_of(*PAYERS),
            "requestBody": {"required": True, "content": _json("Report")},
            "responses": {
                "200": _response("How the hold has ended.", "EndedHold"),
                **refused(("400", "401", "403", *BODY_REFUSALS, "503")),
                "404": _response("The caller has no such hold.", "Error"),
                "409": _response("The hold was voided before (`hold_voided`).", "Error"),
            },
        },
    }


def _response(description: str, schema: str) -> dict[str, object]:
    return {"description": description, "content": _json(schema)}


def _json(schema: str) -> dict[str, object]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
