"""The request: an OpenAI body, checked where the money depends on it and otherwise untouched.

Ours travels in `custom_inputs` (DESIGN §4); what is left is the upstream's body. Checks name the
field and never repeat its value.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import JsonObject, is_list, is_object, json_list, json_object
from spendgate.gateway.own_inputs import (
    asserted_scopes,
    asserted_tags,
    idempotency_key,
    model_name,
    own_inputs,
    spend_token,
)
from spendgate.gateway.seed_form import SEED_FIELDS, from_seed_form
from spendgate.gateway.value_object import value_object

CHAT = "chat/completions"
EMBEDDINGS = "embeddings"
RESPONSES = "responses"
MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
TOKENS_MAX = 10_000_000
CHOICES_MAX = 128
_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_OBJECTS = ("logit_bias", "response_format", "stream_options", "usage_context")
_SAMPLING = frozenset({*_NUMBERS, *_OBJECTS, "stop"})


class Host(StrEnum):
    """Which front door a call came through."""

    ENDPOINT = "endpoint"
    ASGI = "asgi"


@value_object
class Call:
    """One request, checked: the upstream's body and what concerns the gate."""

    route: str
    body: JsonObject
    model: str
    max_tokens: int | None
    choices: int
    asserted: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    spend_token: str | None = None
    idempotency_key: str | None = None
    host: Host = Host.ENDPOINT
    is_stream: bool = False

    def fingerprint(self) -> str:
        """Return a digest of what this call asks for, the same for an equal body."""
        asked = [self.route, self.model, self.body, dict(self.asserted), dict(self.tags)]
        text = json.dumps(asked, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def wants_stream_usage(body: JsonObject) -> bool:
    """Tell whether a client itself asks for usage in its stream."""
    return json_object(body.get("stream_options")).get("include_usage") is True


def parse_call(
    route: str, raw: JsonObject, host: Host, headers: Mapping[str, str] | None = None
) -> Call:
    """Check a request and split what is ours from what is the upstream's.

    Args:
        route: `chat/completions`, `responses` or `embeddings`.
        raw: the JSON body as the client sent it.
        host: the front door.
        headers: request headers with lower-case names; only `x-spend-*` are read here.

    Raises:
        InvalidRequestError: naming the field, what is wrong with it and the way out.
    """
    headers = headers or {}
    is_seed = False
    if not SEED_FIELDS.isdisjoint(raw):
        is_seed = any(raw.get(name) is not None for name in SEED_FIELDS)
        raw = from_seed_form(raw)
    own = own_inputs(raw)
    body = _merged(raw, own)
    model = _model(own, body)
    body.pop("model", None)
    if route == CHAT:
        _check_messages(body)
    else:
        _check_input(body, is_embedding=route == EMBEDDINGS)
    if route != EMBEDDINGS:
        _check_tools(body)
    _check_sampling(body)
    call = Call(
        route=route,
        body=body,
        model=model,
        max_tokens=_max_tokens(body) if route != EMBEDDINGS else None,
        choices=_choices(body) if route != EMBEDDINGS else 1,
        asserted=asserted_scopes(own, headers),
        tags=asserted_tags(own),
        spend_token=spend_token(own, headers),
        idempotency_key=idempotency_key(own, headers),
        host=host,
        is_stream=_stream(route, body),
    )
    if is_seed and not (call.asserted or call.spend_token or "authorization" in headers):
        raise InvalidRequestError("scopeType and scopeKey must say who pays", "scopeType")
    return call


def _merged(raw: JsonObject, own: JsonObject) -> dict[str, object]:
    """Return the upstream's body: all but ours, with `extra_body` put back in its place."""
    body = {name: value for name, value in raw.items() if name != "custom_inputs"}
    extra = own.get("extra_body")
    if extra is None:
        return body
    if not is_object(extra):
        raise InvalidRequestError("extra_body must be an object", "custom_inputs.extra_body")
    for name, value in json_object(extra).items():
        if name in body or name in {"model", "custom_inputs"}:
            raise InvalidRequestError(
                f"extra_body repeats {str(name)[:40]!r}; send it once, at the top level",
                f"custom_inputs.extra_body.{str(name)[:40]}",
            )
        body[name] = value
    return body


def _model(own: JsonObject, body: JsonObject) -> str:
    for place, value in (("custom_inputs.model", own.get("model")), ("model", body.get("model"))):
        if value is not None:
            return model_name(place, value)
    raise InvalidRequestError(
        "no model is named; put it into custom_inputs.model, or model on the ASGI host", "model"
    )


def _check_messages(body: JsonObject) -> None:
    messages = body.get("messages")
    if messages is None:
        raise InvalidRequestError("messages is missing", "messages")
    if not is_list(messages):
        raise InvalidRequestError(f"messages must be a list, not {_kind(messages)}", "messages")
    entries = json_list(messages)
    if not entries:
        raise InvalidRequestError("messages is empty; send at least one message", "messages")
    for index, message in enumerate(entries):
        place = f"messages[{index}]"
        if not is_object(message):
            raise InvalidRequestError(f"{place} must be an object, not {_kind(message)}", place)
        _check_message(place, json_object(message))


def _check_message(place: str, message: JsonObject) -> None:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequestError(f"{place}.role must be a string such as 'user'", f"{place}.role")
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    if not is_list(content):
        raise InvalidRequestError(
            f"{place}.content must be text or a list of parts, not {_kind(content)}",
            f"{place}.content",
        )
    for index, part in enumerate(json_list(content)):
        if not is_object(part):
            where = f"{place}.content[{index}]"
            raise InvalidRequestError(f"{where} must be an object, not {_kind(part)}", where)


def _check_tools(body: JsonObject) -> None:
    tools = body.get("tools")
    if tools is None:
        return
    if not is_list(tools):
        raise InvalidRequestError(f"tools must be a list, not {_kind(tools)}", "tools")
    for index, tool in enumerate(json_list(tools)):
        if not is_object(tool):
            place = f"tools[{index}]"
            raise InvalidRequestError(f"{place} must be an object, not {_kind(tool)}", place)


def _check_input(body: JsonObject, *, is_embedding: bool) -> None:
    value = body.get("input")
    if value is None or value in ("", []):
        raise InvalidRequestError("input is missing or empty", "input")
    if not (isinstance(value, str) or is_list(value)):
        raise InvalidRequestError(f"input must be text or a list, not {_kind(value)}", "input")
    for index, item in enumerate(json_list(value)):
        is_embeddable = is_embedding and (isinstance(item, str | int) or is_list(item))
        if isinstance(item, bool) or not (is_object(item) or is_embeddable):
            place = f"input[{index}]"
            wanted = "text or token ids" if is_embedding else "an object"
            raise InvalidRequestError(f"{place} must be {wanted}, not {_kind(item)}", place)
    if is_embedding:
        return
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        message = f"instructions must be text, not {_kind(instructions)}"
        raise InvalidRequestError(message, "instructions")
    for name in ("text", "reasoning"):
        _check_object(body, name)


def _stream(route: str, body: JsonObject) -> bool:
    stream = body.get("stream")
    if stream is None or stream is False:
        return False
    if stream is not True:
        raise InvalidRequestError("stream must be true or false", "stream")
    if route == EMBEDDINGS:
        raise InvalidRequestError("embeddings can't be streamed; leave stream out", "stream")
    return True


def _check_sampling(body: JsonObject) -> None:
    """Refuse what every upstream would: money is held for nothing while it finds out."""
    if _SAMPLING.isdisjoint(body):
        return
    for name in _NUMBERS:
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidRequestError(f"{name} must be a number, not {_kind(value)}", name)
    for name in _OBJECTS:
        _check_object(body, name)
    stop = body.get("stop")
    if stop is not None and not (isinstance(stop, str) or is_list(stop)):
        raise InvalidRequestError(f"stop must be text or a list, not {_kind(stop)}", "stop")


def _check_object(body: JsonObject, name: str) -> None:
    value = body.get(name)
    if value is not None and not is_object(value):
        raise InvalidRequestError(f"{name} must be an object, not {_kind(value)}", name)


def _max_tokens(body: JsonObject) -> int | None:
    found = [
        whole_number(body[name], name, 1, TOKENS_MAX)
        for name in MAX_TOKENS_FIELDS
        if body.get(name) is not None
    ]
    return min(found, default=None)


def _choices(body: JsonObject) -> int:
    found = [
        whole_number(body[name], name, 1, CHOICES_MAX)
        for name in ("n", "best_of")
        if body.get(name) is not None
    ]
    return max(found, default=1)


def whole_number(value: object, name: str, least: int, most: int) -> int:
    """Return a whole number within bounds; `400.0` is one, `True` and NaN are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(f"{name} must be a whole number", name)
    if not least <= value <= most:
        raise InvalidRequestError(f"{name} must be from {least} to {most}", name)
    return value


def _kind(value: object) -> str:
    for kind, name in ((dict, "an object"), (list, "a list"), (str, "text"), (bool, "a boolean")):
        if isinstance(value, kind):
            return name
    if isinstance(value, type):
        return "a class"
    is_number = isinstance(value, int | float)
    return "nothing" if value is None else "a number" if is_number else type(value).__name__
