"""Read a chat call and decide its answer: lengths, finish reasons, usage."""

from dataclasses import dataclass

from spendgate.simulator.directive import Directives
from spendgate.simulator.prompt import PromptCount, count_prompt
from spendgate.simulator.settings import SimulatorSettings
from spendgate.simulator.toolcall import ToolCall, choose_tool_call
from spendgate.simulator.usage import Usage
from spendgate.simulator.wire import BadCallError, JsonObject, list_in, whole
from spendgate.simulator.words import answer_length, spread, words

_MOST_CHOICES = 128
_MOST_OUTPUT_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a call; `tokens` holds `reasoning_tokens`."""

    text: str
    tool_call: ToolCall | None
    finish_reason: str
    tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """All that is said and billed for one call."""

    model: str
    choices: tuple[Choice, ...]
    usage: Usage


def answer_chat(
    body: JsonObject, model: str, seed: int, settings: SimulatorSettings, directives: Directives
) -> ChatAnswer:
    """Decide the answer; the same body always gets the same one. Raise BadCallError."""
    if not list_in(body.get("messages")):
        raise BadCallError("messages must be a list that is not empty")
    count = 1 if body.get("n") is None else whole(body["n"], "n", 1, _MOST_CHOICES)
    cap = _output_cap(body, directives)
    tool_call = choose_tool_call(body, seed)
    choices = tuple(
        _choice(model, spread(seed, index), cap, settings, directives, tool_call)
        for index in range(count)
    )
    prompt = count_prompt(body, settings.bytes_per_token)
    cache_read, cache_write, prompt_tokens = _cached(prompt, model, directives)
    usage = Usage(
        prompt_tokens=prompt_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        output_tokens=sum(choice.tokens for choice in choices),
        reasoning_tokens=sum(choice.reasoning_tokens for choice in choices),
    )
    return ChatAnswer(model, choices, usage)


def is_claude(model: str) -> bool:
    """Tell whether the model reports and bills a prompt cache as Claude does."""
    return "claude" in model


def _output_cap(body: JsonObject, directives: Directives) -> int | None:
    caps = [
        whole(body[name], name, 1, _MOST_OUTPUT_TOKENS)
        for name in ("max_tokens", "max_completion_tokens")
        if body.get(name) is not None
    ]
    return None if directives.ignore_max_tokens else min(caps, default=None)


def _choice(
    model: str,
    seed: int,
    cap: int | None,
    settings: SimulatorSettings,
    directives: Directives,
    tool_call: ToolCall | None,
) -> Choice:
    wanted = directives.output_tokens
    if tool_call and wanted is None:
        wanted = tool_call.tokens
    if wanted is None:
        wanted = answer_length(seed, settings.mean_output_tokens)
    tokens = wanted if cap is None else min(wanted, cap)
    # A tool call cut short could not be parsed, so a cap below it leaves words instead.
    if tool_call and tokens >= tool_call.tokens:
        return Choice("", tool_call, "tool_calls", tokens, 0)
    reasoning = directives.reasoning_tokens
    if reasoning is None:
        reasoning = wanted // 4 if _reasons(model) else 0
    reasoning = min(reasoning, tokens)
    finish_reason = "length" if tokens < wanted else "stop"
    return Choice(words(seed, tokens - reasoning), None, finish_reason, tokens, reasoning)


def _reasons(model: str) -> bool:
    return model.removeprefix("databricks-").startswith(("gpt-5", "gpt-oss"))


def _cached(prompt: PromptCount, model: str, directives: Directives) -> tuple[int, int, int]:
    """Split the prompt: cache reads, cache writes, all of it.

    A marked front part counts as three quarters read; Claude bills the rest of it as written.
    """
    read, write = directives.cached_tokens, directives.cache_write_tokens
    if read is None:
        read = prompt.marked_tokens * 3 // 4
    if write is None:
        marked = directives.cached_tokens is None and is_claude(model)
        write = prompt.marked_tokens - read if marked else 0
    total = prompt.tokens if directives.prompt_tokens is None else directives.prompt_tokens
    read = min(read, total)
    return read, min(write, total - read), total
