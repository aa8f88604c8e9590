"""The part of the OpenAPI document about the routes that call a model."""

from collections.abc import Iterable, Mapping

from spendgate.app.openapi_callers import CALLERS, IDEMPOTENCY_KEY, PAYERS, parameters_of

Json = dict[str, object]

BODY_REFUSALS = {
    "408": "The body didn't come in time.",
    "413": "The body is larger than SPENDGATE_BODY_BYTES_MAX.",
    "415": "The body isn't plain JSON in UTF-8.",
}
REFUSALS = {
    "400": "The request is wrong, or its cost can't be bounded; `error.param` names the field.",
    "401": "A spend token is missing, forged, expired or for another gate.",
    "402": "A budget is exhausted (`budget_exhausted`); `budget` names it and its figures.",
    "403": "The scope, the model or an unfunded call is forbidden.",
    "409": "An idempotency key was used before.",
    "429": "Calls in flight hold what is left (`budget_held`), or the model server is busy.",
    "503": "The ledger can't be reached, so nothing was sent.",
    **BODY_REFUSALS,
}
"""What a request can be refused with before anything is sent."""

IN_BAND = "a refusal, in `error`, where the budget says `refusal: in_band`"
"""What a 200 may be besides what was asked for."""

_FAILURES = {
    "502": "The model server wasn't reached, or answered no JSON (`upstream_error`).",
    "503": "The ledger can't be reached, so nothing was sent; or the model server says so.",
    "504": "The model server's answer was lost; the call is charged in full.",
}
_DEFAULT = "The model server's own status where it failed; 500 where the gate did."
_RECIPES = {
    "400": "`bad_request`; `details` says why.",
    "402": "`budget_exceeded`, with `message`.",
    "429": "`budget_exceeded` where calls in flight hold what is left; or the server is busy.",
}
_OWN_FORM = "OpenAI's body; ours is in `custom_inputs`."
_RECIPE_FORM = "The recipes' form (prompt, scopeType, scopeKey, modelId) or OpenAI's."


def call_paths() -> Json:
    """Return the paths."""
    told = {**REFUSALS, **_FAILURES}
    told_in_recipes = {status: text.split(";")[0] for status, text in told.items()} | _RECIPES
    return {
        "/v1/chat/completions": {"post": _call("Chat", _OWN_FORM, told, "Error")},
        "/v1/responses": {"post": _call("Responses", _OWN_FORM, told, "Error")},
        "/v1/embeddings": {
            "post": _call("Embeddings", _OWN_FORM, told, "Error", streams=False),
        },
        **{
            path: {
                "post": _call(
                    "Chat in the recipes' form", _RECIPE_FORM, told_in_recipes, "RecipeError"
                )
            }
            for path in ("/agent/chat", "/api/chat")
        },
    }


def refused(statuses: Iterable[str]) -> Json:
    """Return the responses of refusals, in the gate's own form."""
    return {status: _response(REFUSALS[status], "Error") for status in statuses}


def _call(
    summary: str, description: str, told: Mapping[str, str], error: str, *, streams: bool = True
) -> Json:
    answer = f"The model's answer with `spend`, or {IN_BAND}"
    answered: Json = {"description": f"{answer}.", "content": _json("Answer")}
    if streams:
        answered = {
            "description": f"{answer}; events where `stream` is true.",
            "content": {**_json("Answer"), "text/event-stream": {}},
        }
    return {
        "summary": summary,
        "description": description,
        "security": CALLERS,
        "parameters": parameters_of(IDEMPOTENCY_KEY, *PAYERS),
        "requestBody": {"required": True, "content": _json("Request")},
        "responses": {
            "200": answered,
            **{status: _response(told[status], error) for status in sorted(told)},
            "default": _response(_DEFAULT, error),
        },
    }


def _response(description: str, schema: str) -> Json:
    return {"description": description, "content": _json(schema)}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
