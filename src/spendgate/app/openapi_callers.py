"""The part of the OpenAPI document about who asks: tokens, what needs one, and request headers."""

from spendgate.domain.scope import VALUE_BYTES_MAX, Dimension
from spendgate.gateway.own_inputs import IDEMPOTENCY_KEY_CHARS_MAX

Json = dict[str, object]
Security = list[dict[str, list[str]]]

SECURITY_SCHEMES: Json = {
    "spend_token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A spend token, as the API key. It counts as one where the gate has a "
        "signing key (SPENDGATE_SIGNING_KEY) and no proxy that names users; any other bearer "
        "is ignored. Where it has a key, a call without a spend token is 401.",
    },
    "x_spend_token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Spend-Token",
        "description": "A spend token beside an Authorization that is somebody else's; it wins "
        "over a bearer, and `custom_inputs.spend_token` over both. Without a signing key it is "
        "401, because nobody can check it.",
    },
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "SPENDGATE_ADMIN_TOKEN; where it isn't set, these paths are 403.",
    },
    "metrics": {
        "type": "http",
        "scheme": "bearer",
        "description": "SPENDGATE_METRICS_TOKEN, where it is set.",
    },
}
"""How requests say who they are."""

_SPEND_TOKENS: Security = [{"spend_token": []}, {"x_spend_token": []}]

OPEN: Security = []
"""No token is read."""

CALLERS: Security = [{}, *_SPEND_TOKENS]
"""A spend token, which is needed where the gate has a signing key and else can't be sent."""

TOKEN_HOLDERS: Security = _SPEND_TOKENS
"""A spend token, always."""

ADMIN: Security = [{"admin": []}]
"""The administrator's token."""

ADMIN_OR_TOKEN_HOLDERS: Security = [*ADMIN, *_SPEND_TOKENS]
"""The administrator's token, or a spend token for what is its own."""

METRICS: Security = [{}, {"metrics": []}]
"""A token that only the metrics page asks for."""

PAYERS: tuple[str, ...] = tuple(f"X-Spend-{one.value.title()}" for one in Dimension)
"""The headers that say who pays."""

IDEMPOTENCY_KEY = "Idempotency-Key"


def caller_parameters() -> Json:
    """Return the parameters that `parameters_of` names."""
    return {
        IDEMPOTENCY_KEY: {
            "name": IDEMPOTENCY_KEY,
            "in": "header",
            "description": "Makes a request safe to repeat: the same key and body pay once. "
            "`custom_inputs.idempotency_key` is the same; if both are sent they must be equal.",
            "schema": {
                "type": "string",
                "maxLength": IDEMPOTENCY_KEY_CHARS_MAX,
                "pattern": "^[ -~]*$",
            },
        },
        **{
            name: {
                "name": name,
                "in": "header",
                "description": f"Who pays; `custom_inputs.{one.value}` outranks it, and a spend "
                "token for another is 403. It is asserted: whether that is believed is for the "
                "budgets and the signing key.",
                "schema": {
                    "type": "string",
                    "maxLength": VALUE_BYTES_MAX,
                    "pattern": "^[!-~]([ -~]*[!-~])?$",
                    "not": {"const": "*"},
                },
            }
            for one, name in zip(Dimension, PAYERS, strict=True)
        },
    }


def parameters_of(*names: str) -> list[Json]:
    """Return what names parameters of the document in an operation."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
