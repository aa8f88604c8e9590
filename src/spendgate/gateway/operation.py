"""What `custom_inputs.operation` asks for: a call's two phases, apart, for callers that make it
themselves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from spendgate.domain.scope import Dimension
from spendgate.domain.usage import TokenUsage, UsageError, parse_usage
from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import JsonObject, is_object, json_object
from spendgate.gateway.own_inputs import (
    IDEMPOTENCY_KEY_CHARS_MAX,
    asserted_scopes,
    asserted_tags,
    own_inputs,
    own_text,
    spend_token,
)

CALLERS_HOLD = "hold-"
"""Begins the ids of calls that their callers make themselves. No other hold can be ended by a
caller: one that goes through the gate knows its id too, and would settle it for less."""

_END_FIELDS = frozenset(
    {
        *Dimension,
        *("spend_token", "tags", "idempotency_key", "operation", "hold_id", "usage", "answer"),
    }
)
_ANSWER_FIELDS = ("choices", "output", "data")
"""What a chat, a response and embeddings come in: by one of them an answer is known."""
_HOLD_ID_CHARS_MAX = 120
_SHOWN_ID = re.compile(rf"({CALLERS_HOLD}[0-9a-z-]+)[.#]([1-9][0-9]{{0,2}})")


class Operation(StrEnum):
    """A phase of a call."""

    RESERVE = "reserve"
    SETTLE = "settle"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class EndOfCall:
    """The wish to end a hold, and who says to be its owner.

    `hold_id` is None where the id can't be one of a caller's hold. `readings` are what the reported
    usage can mean, the dearest first; none where it isn't known.
    """

    operation: Operation
    hold_id: str | None
    readings: tuple[TokenUsage, ...]
    asserted: Mapping[str, str]
    tags: Mapping[str, str]
    spend_token: str | None


def operation_of(body: JsonObject) -> Operation | None:
    """Return the operation that a body asks for; None for a call that the gate makes.

    Raises:
        InvalidRequestError: if there is no such operation.
    """
    said = json_object(body.get("custom_inputs")).get("operation")
    if said is None:
        return None
    if not isinstance(said, str) or said not in set(Operation):
        place = "custom_inputs.operation"
        raise InvalidRequestError(f"{place} must be one of {', '.join(Operation)}", place)
    return Operation(said)


def parse_end(body: JsonObject, operation: Operation, headers: Mapping[str, str]) -> EndOfCall:
    """Check a wish to end a hold.

    Raises:
        InvalidRequestError: naming the field, what is wrong with it and the way out.
    """
    own = own_inputs(body, _END_FIELDS)
    own_text(own, "idempotency_key", IDEMPOTENCY_KEY_CHARS_MAX)  # allowed: an end repeats safely
    shown = own_text(own, "hold_id", _HOLD_ID_CHARS_MAX)
    if shown is None:
        message = "custom_inputs.hold_id must say which hold; reserving it has told"
        raise InvalidRequestError(message, "custom_inputs.hold_id")
    return EndOfCall(
        operation,
        stored_hold_id(shown),
        _readings(body, own) if operation is Operation.SETTLE else (),
        asserted_scopes(own, headers),
        asserted_tags(own),
        spend_token(own, headers),
    )


def shown_hold_id(hold_id: str) -> str:
    """Return a hold's id as a part of a path: a `#` would end it."""
    return hold_id.replace("#", ".")


def stored_hold_id(shown: str) -> str | None:
    """Return the ledger's own id of a caller's hold, by either spelling; None if it is no such."""
    found = _SHOWN_ID.fullmatch(shown)
    return None if found is None else f"{found.group(1)}#{found.group(2)}"


def _readings(body: JsonObject, own: JsonObject) -> tuple[TokenUsage, ...]:
    """Read what the provider reported; nothing where it reported nothing.

    A report needn't say how long the cache keeps what was written, and an end doesn't bring the
    request that asked for it: those writes are kept for an hour, or else for five minutes.
    """
    for name in ("usage", "answer"):
        if body.get(name) is not None:
            message = f"{name} stands beside custom_inputs; put it into custom_inputs"
            raise InvalidRequestError(message, name)
    raw = own.get("usage")
    if raw is None and (answer := own.get("answer")) is not None:
        raw = _usage_of(answer)
    if raw is None:
        return ()
    try:
        hour = parse_usage(raw, unsplit_write_ttl="1h").usage
        five_minutes = parse_usage(raw, unsplit_write_ttl="5m").usage
    except UsageError as error:
        message = f"{error}; send usage as the model's server reported it, or leave it out"
        raise InvalidRequestError(message, "usage") from None
    # No call is without input.
    return (hour, five_minutes) if hour.input_tokens else ()


def _usage_of(answer: object) -> object:
    """Return an answer's usage, None where a model told none.

    A body that is neither would end the hold at its full amount for good, for a misspelt word.
    """
    if not is_object(answer):
        message = "answer must be the model's whole answer, an object"
        raise InvalidRequestError(message, "custom_inputs.answer")
    told = json_object(answer)
    told = json_object(told.get("response")) or told  # the last event of a stream of responses
    is_answer = any(isinstance(told.get(name), list) for name in _ANSWER_FIELDS)
    if told and "usage" not in told and not is_answer:
        message = (
            "usage is missing, and this is no model's answer, which has choices, output or data; "
            "send usage as the model's server reported it, or {} to be charged the whole hold"
        )
        raise InvalidRequestError(message, "usage")
    return told.get("usage")
