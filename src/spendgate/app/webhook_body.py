"""What other meters post, read into spend elsewhere; every fault names its field."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

from spendgate.adapters.policy_fields import LIMIT_NANO_MAX
from spendgate.domain.money import MoneyError, parse_usd
from spendgate.domain.scope import Dimension, Scope, ScopeError, checked_value
from spendgate.domain.usage import REPORTED_TOKENS_MAX, TokenUsage
from spendgate.errors import InvalidRequestError
from spendgate.gateway.adjusting import NO_MODEL, TEXT_CHARACTERS_MAX
from spendgate.gateway.elsewhere import SpendElsewhere
from spendgate.gateway.json_object import is_object, json_object
from spendgate.gateway.wire import whole_number

USAGE_FIELDS = (
    *("scope", "cost_usd", "provider", "model", "input_tokens", "output_tokens"),
    *("occurred_at", "reason"),
)
AGE_DAYS_MAX = 366
"""A bill comes months late, not years; a wrong unit of a time does."""
AHEAD_SECONDS_MAX = 300
"""How far ahead another clock may be; what is said to be later is a mistake."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}")

Fields = Mapping[str, object]


def helicone_spend(raw: bytes, now: datetime) -> SpendElsewhere:
    """Read what Helicone posts; fields that aren't ours to read are left alone.

    Raises:
        InvalidRequestError: naming the field, the problem and the way out.
    """
    fields = _fields(raw)
    request_id = _id("requestId", fields.get("requestId"))
    kind = fields.get("scopeType")
    if not isinstance(kind, str) or kind not in set(Dimension):
        message = f"scopeType must be one of {', '.join(Dimension)}"
        raise InvalidRequestError(message, "scopeType")
    try:
        payer = _payer(Scope.of({kind: fields.get("scopeKey")}))
    except ScopeError as error:
        raise InvalidRequestError(f"scopeKey: {error}", "scopeKey") from None
    return _spend(
        fields,
        payer,
        f"helicone:{request_id}",
        names=("cost", "provider", "modelId", "inputTokens", "outputTokens"),
        occurred_at=now,
        told_at=None,
        meter="webhook:helicone",
        reason=f"Helicone's request {request_id}",
    )


def usage_spend(raw: bytes, webhook_id: str, now: datetime) -> SpendElsewhere:
    """Read what any other meter posts to `/webhooks/usage`.

    Raises:
        InvalidRequestError: naming the field, the problem and the way out.
    """
    fields = _fields(raw)
    if unknown := sorted(set(fields) - set(USAGE_FIELDS)):
        name = unknown[0][:40]
        message = f"there is no field {name!r}; known are {', '.join(USAGE_FIELDS)}"
        raise InvalidRequestError(message, name)
    told_at = _instant(fields.get("occurred_at"), now)
    return _spend(
        fields,
        _scope(fields.get("scope")),
        f"usage:{_id('webhook-id', webhook_id)}",
        names=("cost_usd", "provider", "model", "input_tokens", "output_tokens"),
        occurred_at=now if told_at is None else min(told_at, now),
        told_at=told_at,
        meter="webhook:usage",
        reason=_reason(fields.get("reason")),
    )


def _spend(
    fields: Fields,
    payer: Scope,
    adjustment_id: str,
    *,
    names: tuple[str, str, str, str, str],
    occurred_at: datetime,
    told_at: datetime | None,
    meter: str,
    reason: str,
) -> SpendElsewhere:
    cost_name, provider_name, model_name, input_name, output_name = names
    cost = _cost(cost_name, fields.get(cost_name))
    provider = _text(fields, provider_name)
    model = _text(fields, model_name)
    tokens = [_tokens(fields, name) for name in (input_name, output_name)]
    counts = [one for one in tokens if one is not None]
    return SpendElsewhere(
        adjustment_id=adjustment_id,
        payer=payer,
        cost_nano=cost,
        occurred_at=occurred_at,
        # As it was understood, so that a sender that writes it another way still repeats itself.
        said={
            "scope": payer.text,
            "cost_nano": cost,
            "provider": provider,
            "model": model,
            "tokens": tokens,
            "occurred_at": told_at and told_at.isoformat(),
            "reason": reason,
        },
        meter=meter,
        reason=reason,
        model=model or NO_MODEL,
        provider=provider,
        # Half a usage would say that the other half is zero.
        usage=TokenUsage(*counts) if len(counts) == 2 else None,
    )


def _fields(raw: bytes) -> Fields:
    """Parse a body again, which `parse_object` has found good, with every digit of its numbers."""
    parsed: object = json.loads(raw, parse_float=Decimal) if raw.strip() else {}
    return cast("dict[str, object]", parsed)  # `parse_object` refuses anything but an object


def _id(name: str, value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        message = f"{name} must be 1 to 100 letters, digits or . _ : @ / + -, the first no mark"
        raise InvalidRequestError(message, name)
    return value


def _cost(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        message = f"{name} must be USD as a number or text, such as 0.0125"
        raise InvalidRequestError(message, name)
    try:
        # A meter's costs come from floats and finer rates; what was spent is never rounded down.
        nano = parse_usd(value, rounds_up=True)
    except MoneyError as error:
        raise InvalidRequestError(f"{name}: {error}", name) from None
    if nano < 0:
        message = f"{name} must not be negative; take off what was spent with `spendgate adjust`"
        raise InvalidRequestError(message, name)
    if nano > LIMIT_NANO_MAX:
        raise InvalidRequestError(f"{name} is more than a ledger holds", name)
    return nano


def _tokens(fields: Fields, name: str) -> int | None:
    value = fields.get(name)
    return None if value is None else whole_number(value, name, 0, REPORTED_TOKENS_MAX)


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    try:
        return "" if value is None else checked_value(name, value)
    except ScopeError as error:
        raise InvalidRequestError(str(error), name) from None


def _reason(value: object) -> str:
    if value is None:
        return "usage of another meter"
    text = value if isinstance(value, str) else ""
    if text.strip() and text.isprintable() and len(text) <= TEXT_CHARACTERS_MAX:
        return text
    message = f"reason must be 1 to {TEXT_CHARACTERS_MAX} printable characters"
    raise InvalidRequestError(message, "reason")


def _scope(value: object) -> Scope:
    try:
        if isinstance(value, str):
            return _payer(Scope.parse(value))
        if is_object(value):
            return _payer(Scope.of(json_object(value)))
    except ScopeError as error:
        raise InvalidRequestError(f"scope: {error}", "scope") from None
    message = 'scope must say who pays, such as {"org": "acme", "agent": "batch"} or agent:batch'
    raise InvalidRequestError(message, "scope")


def _payer(scope: Scope) -> Scope:
    if scope.wildcards or not scope.parts:
        raise ScopeError("name who pays, such as agent:triage-bot; * and all are nobody")
    return scope


def _instant(value: object, now: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
        at = None if read is None or read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None:
        message = "occurred_at must be a time with its zone, such as 2030-01-31T00:00:00Z"
        raise InvalidRequestError(message, "occurred_at")
    if at > now + timedelta(seconds=AHEAD_SECONDS_MAX):
        raise InvalidRequestError("occurred_at is yet to come", "occurred_at")
    if at < now - timedelta(days=AGE_DAYS_MAX):
        message = f"occurred_at is more than {AGE_DAYS_MAX} days ago"
        raise InvalidRequestError(message, "occurred_at")
    return at
