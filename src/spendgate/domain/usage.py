"""Token usage: one shape for what providers report in four dialects.

Buckets are inclusive: the input contains what was read from and written to the cache, the
output contains the reasoning. `disjoint()` makes the parts that are priced.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

# Above this a JSON number is no longer exact in readers that use doubles, and no call is so big.
REPORTED_TOKENS_MAX = 2**53


class UsageError(ValueError):
    """Raised when a usage report can't be a count of tokens."""


_PLAIN = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_CACHE_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")


class DisjointUsage(NamedTuple):
    """Hold the parts of one usage that are priced apart; no token is in two of them.

    `cache_write_tokens` are the writes kept for five minutes. A tuple in the order of a price's
    token classes, as each part is multiplied by its rate.
    """

    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Count the tokens of one call in inclusive buckets.

    `input_tokens` contains the cache reads and writes, `cache_write_tokens` contains the
    one-hour writes, `output_tokens` contains the reasoning. Raises `UsageError` where a part
    exceeds its whole.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:  # of a dataclass: its fields
            count: object = getattr(self, name)
            if type(count) is not int:
                raise UsageError(f"{name} must be an integer, got {_kind(count)}")
            if count < 0:
                raise UsageError(f"{name} must not be negative")
        if self.cache_read_tokens + self.cache_write_tokens > self.input_tokens:
            raise UsageError("cache_read_tokens + cache_write_tokens must not exceed input_tokens")
        if self.cache_write_1h_tokens > self.cache_write_tokens:
            raise UsageError("cache_write_1h_tokens must not exceed cache_write_tokens")
        if self.reasoning_tokens > self.output_tokens:
            raise UsageError("reasoning_tokens must not exceed output_tokens")

    def disjoint(self) -> DisjointUsage:
        """Split the inclusive buckets into parts that sum to them."""
        return DisjointUsage(
            input_tokens=self.input_tokens - self.cache_read_tokens - self.cache_write_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens - self.cache_write_1h_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
            output_tokens=self.output_tokens - self.reasoning_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class ParsedUsage:
    """Pair a usage with how it was read.

    `is_ambiguous` says that the report allowed several readings and `usage` is the dearest of
    them. It stands beside the counts, not in them, so that equal counts stay equal.
    """

    usage: TokenUsage
    is_ambiguous: bool


def parse_usage(raw: object, *, unsplit_write_ttl: Literal["5m", "1h"] = "5m") -> ParsedUsage:
    """Read a provider's `usage` object.

    Dialects: OpenAI chat, Claude through chat, Responses, embeddings. Raises `UsageError` where
    a count is missing or isn't one; the call then settles at its full hold.
    Claude reports its cache counters beside `prompt_tokens`. They are outside of it when they
    exceed it or when the total says so, inside when the total is prompt + completion, as
    Databricks sends it (databricks-ai-bridge issue 446), otherwise the dearer reading counts.
    Tokens that only the total knows (Gemini's hidden thoughts) count as output.
    `unsplit_write_ttl` is what the request asked for: it classes cache writes that the report
    doesn't split into five-minute and one-hour ones.
    """
    return _read_plain(raw) or _resolve_report(_read_report(raw, unsplit_write_ttl))


def merge_stream_usage(
    previous: Mapping[str, object] | None, chunk_usage: Mapping[str, object]
) -> dict[str, object]:
    """Merge a stream chunk's usage into the earlier ones: the last non-null value per field.

    Chunks repeat or refine counts, so that nothing is summed. A field that is null in every
    chunk stays null: `parse_usage` then refuses a completion count that never came.
    """
    merged = _merge_fields(previous or {}, chunk_usage)
    for name, value in chunk_usage.items():
        earlier = (previous or {}).get(name)
        if isinstance(value, Mapping) and isinstance(earlier, Mapping):
            details = cast(Mapping[str, object], value)
            merged[name] = _merge_fields(cast(Mapping[str, object], earlier), details)
    return merged


def _merge_fields(earlier: Mapping[str, object], later: Mapping[str, object]) -> dict[str, object]:
    return {**earlier, **{n: v for n, v in later.items() if v is not None or n not in earlier}}


@dataclass(frozen=True, slots=True)
class _Report:
    """Hold the counts as reported, before it is decided which contain which."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | None
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    is_cache_detailed: bool  # cache counts came as details of the prompt, hence are inside it
    is_contradictory: bool
    is_ambiguous: bool

    @property
    def cache_tokens(self) -> int:
        return self.cache_read_tokens + self.cache_write_tokens

    @property
    def excess_tokens(self) -> int | None:
        """What the total has beyond prompt and completion."""
        if self.total_tokens is None:
            return None
        return self.total_tokens - self.prompt_tokens - self.completion_tokens


def _read_plain(raw: object) -> ParsedUsage | None:
    """Read three counts that add up and have only zeros beside them, as most servers send them."""
    if not isinstance(raw, dict):
        return None
    report = cast(Mapping[str, object], raw)
    if len(report) > len(_PLAIN):
        for name, value in report.items():
            if value is not None and name not in _PLAIN and not _is_zeros(name, value):
                return None
    prompt, completion, total = map(report.get, _PLAIN)
    if type(prompt) is int and type(completion) is int and type(total) is int:  # noqa: SIM102
        if prompt >= 0 and completion >= 0 and prompt + completion == total:
            return ParsedUsage(TokenUsage(prompt, completion), False)
    return None


def _is_zeros(name: str, value: object) -> bool:
    """Tell whether cache counters or the details of a count split nothing off."""
    if name in _CACHE_COUNTS:
        return type(value) is int and not value
    if name not in _DETAILS or not isinstance(value, dict):
        return False
    for count in cast(Mapping[str, object], value).values():
        if count is not None and (type(count) is not int or count):
            return False
    return True


def _read_report(raw: object, unsplit_write_ttl: Literal["5m", "1h"]) -> _Report:
    report = _object(raw, "usage")
    if report is None:
        raise UsageError("usage is missing")
    _refuse_tool_fees(report)
    prompt, is_prompt_doubtful = _read_whole(report, "prompt_tokens", "input_tokens")
    if prompt is None:
        raise UsageError("usage has neither prompt_tokens nor input_tokens")
    total = _count(report, "total_tokens")
    completion, is_completion_doubtful = _read_completion(report, prompt, total)
    details = _details(report, "prompt_tokens_details", "input_tokens_details")
    detailed_read = _count(details, "cached_tokens") or 0
    detailed_write = _dearest(
        _count(details, name) for name in ("cache_write_tokens", "cache_creation_tokens")
    )
    read, is_read_contradictory = _agreed(_count(report, "cache_read_input_tokens"), detailed_read)
    write, is_write_contradictory = _agreed(
        _count(report, "cache_creation_input_tokens"), detailed_write
    )
    write, write_1h, is_split_doubtful = _split_writes(report, write, unsplit_write_ttl)
    reasoning = _count(
        _details(report, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens"
    )
    is_contradictory = is_read_contradictory or is_write_contradictory
    return _Report(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=reasoning or 0,
        is_cache_detailed=detailed_read + detailed_write > 0,
        is_contradictory=is_contradictory,
        is_ambiguous=is_prompt_doubtful
        or is_completion_doubtful
        or is_split_doubtful
        or is_contradictory,
    )


def _refuse_tool_fees(report: Mapping[str, object]) -> None:
    """Refuse a usage that is more than tokens: a search the provider ran has a price of its own."""
    tools = _object(report.get("server_tool_use"), "server_tool_use") or {}
    if any(_count(tools, name) for name in tools):
        raise UsageError("server_tool_use is billed beside the tokens and has no price in the book")


def _resolve_report(report: _Report) -> ParsedUsage:
    is_cache_outside, is_cache_doubtful = _place_cache(report)
    is_reasoning_outside, is_reasoning_doubtful = _place_reasoning(report)
    input_tokens = report.prompt_tokens + (report.cache_tokens if is_cache_outside else 0)
    output_tokens = report.completion_tokens + (
        report.reasoning_tokens if is_reasoning_outside else 0
    )
    is_total_doubtful = False
    if report.total_tokens is not None:
        unexplained = report.total_tokens - input_tokens - output_tokens
        is_total_doubtful = unexplained > 0 or (report.excess_tokens or 0) < 0
        output_tokens += max(unexplained, 0)
    usage = TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=report.cache_read_tokens,
        cache_write_tokens=report.cache_write_tokens,
        cache_write_1h_tokens=report.cache_write_1h_tokens,
        reasoning_tokens=report.reasoning_tokens,
    )
    is_ambiguous = (
        report.is_ambiguous or is_cache_doubtful or is_reasoning_doubtful or is_total_doubtful
    )
    return ParsedUsage(usage, is_ambiguous)


def _place_cache(report: _Report) -> tuple[bool, bool]:
    """Answer whether the cache counts stand outside the prompt, and whether that is a guess."""
    cache, reasoning, excess = report.cache_tokens, report.reasoning_tokens, report.excess_tokens
    if cache == 0:
        return False, False
    if report.is_contradictory:
        return True, True
    if cache > report.prompt_tokens:
        return True, False
    if excess in (0, reasoning):
        # Were it the cache as well as the reasoning: output is dearer, so the reasoning is out.
        return False, excess == cache
    if excess in (cache, cache + reasoning):
        return True, False
    return not report.is_cache_detailed, not report.is_cache_detailed


def _place_reasoning(report: _Report) -> tuple[bool, bool]:
    """Answer whether the reasoning stands outside the completion, and whether that is a guess."""
    cache, reasoning, excess = report.cache_tokens, report.reasoning_tokens, report.excess_tokens
    if reasoning == 0:
        return False, False
    if excess in (reasoning, cache + reasoning):
        return True, excess == cache
    is_outside = reasoning > report.completion_tokens
    return is_outside, is_outside


def _read_completion(
    report: Mapping[str, object], prompt: int, total: int | None
) -> tuple[int, bool]:
    completion, is_doubtful = _read_whole(report, "completion_tokens", "output_tokens")
    if completion is not None:
        return completion, is_doubtful
    # A null is a stream that ended early. Only an absent field is the embeddings dialect.
    if "completion_tokens" in report or "output_tokens" in report:
        raise UsageError("completion_tokens is null: the report is not complete")
    if total is None:
        raise UsageError("usage has neither completion_tokens nor total_tokens")
    if total < prompt:
        raise UsageError("total_tokens must not be less than prompt_tokens")
    return total - prompt, total > prompt


def _read_whole(
    report: Mapping[str, object], chat_name: str, responses_name: str
) -> tuple[int | None, bool]:
    """Read a count that has two names, and whether both are there and differ."""
    counts = {
        count for name in (chat_name, responses_name) if (count := _count(report, name)) is not None
    }
    return max(counts, default=None), len(counts) > 1


def _agreed(top_level: int | None, detailed: int) -> tuple[int, bool]:
    """Merge two reports of one count; gateways fill the one they don't know with zero."""
    stated = {count for count in (top_level, detailed) if count}
    return max(stated, default=0), len(stated) > 1


def _split_writes(
    report: Mapping[str, object], write: int, unsplit_write_ttl: Literal["5m", "1h"]
) -> tuple[int, int, bool]:
    """Return all writes, the one-hour ones among them, and whether split and sum disagree."""
    split = _object(report.get("cache_creation"), "cache_creation") or {}
    write_5m = _count(split, "ephemeral_5m_input_tokens") or 0
    write_1h = _count(split, "ephemeral_1h_input_tokens") or 0
    known = write_5m + write_1h
    unsplit = max(write - known, 0)
    is_doubtful = known > 0 and write > 0 and known != write
    if unsplit_write_ttl == "1h":
        write_1h += unsplit
    return known + unsplit, write_1h, is_doubtful


def _dearest(counts: Iterable[int | None]) -> int:
    return max((count for count in counts if count is not None), default=0)


def _details(report: Mapping[str, object], *names: str) -> Mapping[str, object]:
    for name in names:
        details = _object(report.get(name), name)
        if details is not None:
            return details
    return {}


def _object(value: object, name: str) -> Mapping[str, object] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be an object, got {_kind(value)}")
    return cast(Mapping[str, object], value)


def _count(fields: Mapping[str, object], name: str) -> int | None:
    """Read one count. Whole floats pass: some servers write 12.0."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must be a whole number, got {_kind(value)}")
    # An int goes round isfinite, which overflows on big ones.
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        raise UsageError(f"{name} must be a whole number, got a fraction, NaN or infinity")
    if value < 0:
        raise UsageError(f"{name} must not be negative")
    if value > REPORTED_TOKENS_MAX:
        raise UsageError(f"{name} must not exceed {REPORTED_TOKENS_MAX}")
    return int(value)


def _kind(value: object) -> str:
    return type(value).__name__
