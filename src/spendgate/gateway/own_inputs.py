"""`custom_inputs` and the headers beside it: what in a request is for the gate itself.

Checks name the field and never repeat its value.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from spendgate.domain.scope import WILDCARD, Dimension, ScopeError, checked_value
from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import JsonObject, is_object, json_object

TAGS_MAX = 16
IDEMPOTENCY_KEY_CHARS_MAX = 255
MODEL_CHARS_MAX = 256
_TOKEN_CHARS_MAX = 8192
_FIELDS = frozenset(
    {
        *Dimension,
        *("model", "spend_token", "tags", "idempotency_key", "extra_body", "operation"),
    }
)
_DIMENSIONS = tuple(Dimension)
_HEADER_FIELDS = {f"x-spend-{dimension.value}": dimension.value for dimension in Dimension}


def own_inputs(raw: JsonObject, known: AbstractSet[str] = _FIELDS) -> JsonObject:
    """Return a request's `custom_inputs`, nothing if it has none.

    Raises:
        InvalidRequestError: if that is no object, or has a field that nobody reads.
    """
    own = raw.get("custom_inputs")
    if own is None:
        return {}
    if not is_object(own):
        raise InvalidRequestError("custom_inputs must be an object", "custom_inputs")
    inputs = json_object(own)
    for name in inputs:
        if name not in known:
            raise InvalidRequestError(
                f"custom_inputs has no field {str(name)[:40]!r}; known are "
                f"{', '.join(sorted(known))}",
                f"custom_inputs.{str(name)[:40]}",
            )
    return inputs


def asserted_scopes(own: JsonObject, headers: Mapping[str, str]) -> dict[str, str]:
    """Return who the caller says to be; the body outranks the headers."""
    found: dict[str, object] = {
        dimension: headers[name] for name, dimension in _HEADER_FIELDS.items() if name in headers
    }
    for dimension in _DIMENSIONS:
        if own.get(dimension) is not None:
            found[dimension.value] = own[dimension]
    return {name: _identity_value(f"custom_inputs.{name}", value) for name, value in found.items()}


def asserted_tags(own: JsonObject) -> dict[str, str]:
    """Return the free tags that the caller gives."""
    tags = own.get("tags")
    if tags is None:
        return {}
    if not is_object(tags):
        raise InvalidRequestError("tags must be an object of strings", "custom_inputs.tags")
    entries = json_object(tags)
    if len(entries) > TAGS_MAX:
        raise InvalidRequestError(f"more than {TAGS_MAX} tags", "custom_inputs.tags")
    return {
        _identity_value("a tag's name", name): _identity_value(f"tags.{str(name)[:40]}", value)
        for name, value in entries.items()
    }


def spend_token(own: JsonObject, headers: Mapping[str, str]) -> str | None:
    """Return the spend token that is marked as one; a bearer may be something else."""
    return own_text(own, "spend_token", _TOKEN_CHARS_MAX) or headers.get("x-spend-token")


def idempotency_key(own: JsonObject, headers: Mapping[str, str]) -> str | None:
    """Return the key under which a repeated request is the same one."""
    said = own_text(own, "idempotency_key", IDEMPOTENCY_KEY_CHARS_MAX)
    sent = _header_key(headers)
    if said is not None and sent is not None and said != sent:
        message = "the header Idempotency-Key and custom_inputs.idempotency_key differ; send one"
        raise InvalidRequestError(message, "custom_inputs.idempotency_key")
    return said or sent


def model_name(place: str, value: object) -> str:
    """Check the name of a model that stands at `place`."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InvalidRequestError(f"{place} must be the name of a model", place)
    if len(value) > MODEL_CHARS_MAX:
        raise InvalidRequestError(f"{place} is longer than {MODEL_CHARS_MAX} characters", place)
    return value


def own_text(own: JsonObject, name: str, chars_max: int) -> str | None:
    """Return a field that is one line of text, None if it isn't there."""
    value = own.get(name)
    if value is None:
        return None
    place = f"custom_inputs.{name}"
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidRequestError(f"{place} must be printable text", place)
    if len(value) > chars_max:
        raise InvalidRequestError(f"{place} is longer than {chars_max} characters", place)
    return value


def _header_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and (not key.isprintable() or len(key) > IDEMPOTENCY_KEY_CHARS_MAX):
        raise InvalidRequestError("idempotency-key isn't short printable text", "idempotency-key")
    return key or None


def _identity_value(place: str, value: object) -> str:
    if value == WILDCARD:
        raise InvalidRequestError(f"{place} can't be '*'; that is a budget's word", place)
    try:
        return checked_value(place, value)
    except ScopeError as error:
        raise InvalidRequestError(str(error), place) from None
