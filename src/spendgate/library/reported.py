"""What an agent reports of a call that it made itself: a whole answer, or its usage alone."""

from dataclasses import fields
from typing import Protocol, runtime_checkable

from spendgate.domain.usage import ParsedUsage, TokenUsage, UsageError, parse_usage
from spendgate.gateway.json_object import JsonObject, is_object, json_object


@runtime_checkable
class _Dumps(Protocol):
    """A pydantic model, as the clients of OpenAI and Anthropic answer."""

    def model_dump(self) -> dict[str, object]: ...


def reported_usage(answer: object, write_ttl: str | None = None) -> ParsedUsage | None:
    """Read the usage of a response or a usage report; None where it can't be read.

    Takes mappings and pydantic models: a response with `usage`, a usage alone, or a LangChain
    message with `usage_metadata`. Unknown usage is never zero: such a call is charged in full.
    `write_ttl` is what the call asked of the cache, for reports that don't split its writes.
    """
    found = _usage_of(answer)
    if found is None:
        return None
    try:
        if _is_langchain(found):
            usage = _from_langchain(found, write_ttl)
        else:
            usage = parse_usage(found, unsplit_write_ttl="1h" if write_ttl == "1h" else "5m")
    except UsageError:
        return None
    return usage if usage.usage.input_tokens else None  # no call is without input


def added(reports: list[ParsedUsage | None]) -> ParsedUsage | None:
    """Add up reports; None where one of them couldn't be read."""
    known = [one for one in reports if one is not None]
    if len(known) < len(reports) or not known:
        return None
    if len(known) == 1:
        return known[0]
    sums = {
        field.name: sum(getattr(one.usage, field.name) for one in known)
        for field in fields(TokenUsage)
    }
    return ParsedUsage(TokenUsage(**sums), any(one.is_ambiguous for one in known))


def _usage_of(answer: object) -> JsonObject | None:
    for name in ("usage_metadata", "usage"):
        inner = _field(answer, name)
        if inner is not None:
            return _plain(inner)
    return _plain(answer)


def _field(answer: object, name: str) -> object:
    return json_object(answer).get(name) if is_object(answer) else getattr(answer, name, None)


def _plain(value: object) -> JsonObject | None:
    if isinstance(value, _Dumps):
        value = value.model_dump()
    return json_object(value) if is_object(value) else None


def _is_langchain(usage: JsonObject) -> bool:
    return "input_token_details" in usage or "output_token_details" in usage


def _from_langchain(usage: JsonObject, write_ttl: str | None) -> ParsedUsage:
    """Read `usage_metadata`, whose input contains what was read from and written to the cache."""
    ins = json_object(usage.get("input_token_details"))
    outs = json_object(usage.get("output_token_details"))
    hour = ins.get("ephemeral_1h_input_tokens") or 0
    five = ins.get("ephemeral_5m_input_tokens") or 0
    counts: dict[str, object] = {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cache_read_tokens": ins.get("cache_read") or 0,
        "cache_write_tokens": ins.get("cache_creation") or 0,
        "cache_write_1h_tokens": hour,
        "reasoning_tokens": outs.get("reasoning") or 0,
    }
    if isinstance(hour, int) and isinstance(five, int) and not counts["cache_write_tokens"]:
        counts["cache_write_tokens"] = hour + five  # split by life, the sum is left at zero
    elif not hour and not five and write_ttl == "1h":
        counts["cache_write_1h_tokens"] = counts["cache_write_tokens"]
    whole = {name: count for name, count in counts.items() if isinstance(count, int)}
    if len(whole) < len(counts):
        raise UsageError("usage_metadata has a count that is no whole number")
    return ParsedUsage(TokenUsage(**whole), is_ambiguous=False)
