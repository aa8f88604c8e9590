"""Fields that a framework passes on to the model's server as they are, such as `extra_body`."""

from collections.abc import Mapping

from spendgate.domain.scope import Dimension
from spendgate.errors import InvalidRequestError
from spendgate.gateway.wire import MAX_TOKENS_FIELDS
from spendgate.library.plain_json import given_object

_STEPS_OWN = frozenset({*Dimension, "tags", "spend_token"})
"""Names that say who pays to a step; a model's server bills nothing for them."""

_NO_STEPS = {
    "custom_inputs": "it can carry any other field; send those fields themselves",
    "route": "a retry or another model needs a hold of its own; leave it out",
}
_BODYS_OWN = frozenset(
    {
        *MAX_TOKENS_FIELDS,
        *("best_of", "extra_body", "input", "instructions", "messages", "model", "models", "n"),
        *("response_format", "service_tier", "text", "tools"),
    }
)


def extra_fields(value: object, name: str) -> dict[str, object]:
    """Return what is passed on under a name; nothing where that is None.

    Raises:
        InvalidRequestError: if it is no object.
    """
    return {} if value is None else given_object(value, name)


def bounded_fields(sent: Mapping[str, object]) -> dict[str, object]:
    """Return what a step is to bound of the fields that are sent: all but None and the model.

    Raises:
        InvalidRequestError: if one would mean something else to the step.
    """
    for name, reason in _NO_STEPS.items():
        if sent.get(name) is not None:
            raise InvalidRequestError(f"{name} has no bound: {reason}", name)
    left_out = {*_STEPS_OWN, *_NO_STEPS, "model"}
    return {name: one for name, one in sent.items() if one is not None and name not in left_out}


def check_query(query: object) -> None:
    """Refuse parameters of a URL that would count in the body, where alone the bound reads them.

    Raises:
        InvalidRequestError: naming the first.
    """
    for name in extra_fields(query, "extra_query"):
        if name in _BODYS_OWN:
            place = f"extra_query.{name}"
            raise InvalidRequestError(f"{place} has no bound; send it in the body", place)
