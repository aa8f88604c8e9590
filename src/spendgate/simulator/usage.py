"""What one call used, and the shapes in which providers report it."""

from dataclasses import dataclass

from spendgate.simulator.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Usage:
    """Count tokens; `prompt_tokens` holds the cached ones, `output_tokens` the reasoning."""

    prompt_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def uncached_tokens(self) -> int:
        """Count the prompt tokens that were neither read from nor written to a cache."""
        return self.prompt_tokens - self.cache_read_tokens - self.cache_write_tokens


GARBAGE: JsonObject = {"prompt_tokens": "many", "completion_tokens": -5, "total_tokens": None}


def chat_usage(usage: Usage, *, claude: bool, cache_excluded: bool) -> JsonObject:
    """Report a chat call as OpenAI does, with Claude's own cache fields beside it where asked.

    `cache_excluded` is the other dialect seen on Databricks: `prompt_tokens` without the cached
    ones, which only `total_tokens` still contains.
    """
    reported: dict[str, object] = {
        "prompt_tokens": usage.uncached_tokens if cache_excluded else usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if claude or usage.cache_write_tokens:
        reported["cache_read_input_tokens"] = usage.cache_read_tokens
        reported["cache_creation_input_tokens"] = usage.cache_write_tokens
    return reported


def embedding_usage(usage: Usage) -> JsonObject:
    """Report an embeddings call, which has no output."""
    return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
