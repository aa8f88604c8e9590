"""What a caller tells the simulator to do with one call (`simulate` field, X-Simulate header)."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from spendgate.simulator.wire import BadCallError, JsonObject, whole

_MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Directives:
    """Steer lengths and faults of one call; None leaves the simulator's own choice."""

    output_tokens: int | None = None
    """Wanted length of each choice, before `max_tokens` clips it."""

    prompt_tokens: int | None = None
    """Billed and reported instead of the count, for a provider that adds text of its own."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    """Part of each choice's length."""

    status: int | None = None
    latency_ms: int | None = None
    """Replaces the process's own latency."""

    ms_per_token: int | None = None
    """Replaces the process's own pace."""

    bill_on_error: bool = False
    """Charge in full although the call fails (`status`, `hang`)."""

    hang: bool = False
    close_connection: bool = False
    """Break off inside the body, which is charged in full."""

    no_usage: bool = False
    garbage_usage: bool = False
    running_usage: bool = False
    """Report the prompt's usage in every chunk, as Claude on Databricks does."""

    cumulative_usage: bool = False
    """Report what was used so far in every chunk, as vLLM's continuous_usage_stats."""

    error_event: bool = False
    """Break a stream off with an error in its middle; charged in full."""

    stop_early: bool = False
    """End a stream cleanly in its middle; charged in full."""

    no_done: bool = False
    """Leave the end mark of a stream out."""

    plain_json: bool = False
    """Answer a call that asks for a stream with one JSON body."""

    cache_excluded: bool = False
    """Report `prompt_tokens` without the cached ones."""

    ignore_max_tokens: bool = False


_FLAGS = frozenset(field.name for field in fields(Directives) if field.default is False)
_NUMBERS = frozenset(field.name for field in fields(Directives) if field.default is None)


def read_directives(sources: Iterable[JsonObject]) -> Directives:
    """Merge directives, later sources first; raise BadCallError for one that isn't known."""
    merged: dict[str, object] = {}
    for source in sources:
        merged.update(source)
    numbers: dict[str, int] = {}
    flags: dict[str, bool] = {}
    for name, value in merged.items():
        if name in _FLAGS and isinstance(value, bool):
            flags[name] = value
        elif name == "status":
            numbers[name] = whole(value, "simulate.status", 400, 599)
        elif name in _NUMBERS:
            numbers[name] = whole(value, f"simulate.{name}", 0, _MOST_TOKENS)
        else:
            raise BadCallError(f"simulate.{name} is unknown or has the wrong type")
    return Directives(**numbers, **flags)
