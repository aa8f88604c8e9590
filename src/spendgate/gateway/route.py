"""Which of a model's APIs a body is for, where no path says it."""

from collections.abc import Mapping

from spendgate.gateway.json_object import is_list, is_object
from spendgate.gateway.wire import CHAT, EMBEDDINGS, RESPONSES

BY_MODEL = "by model"
"""The route of a body that could be an embedding's or a response's: the model decides."""

_EMBEDDINGS_ONLY = ("dimensions", "encoding_format", "input_type", "instruction")
_RESPONSES_ONLY = (
    *("include", "instructions", "max_output_tokens", "max_tool_calls", "max_tokens", "metadata"),
    *("parallel_tool_calls", "previous_response_id", "reasoning", "store", "stream", "temperature"),
    *("text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation"),
)


def route_of(body: Mapping[str, object]) -> str:
    """Return the upstream route that a body is for."""
    given = body.get("input")
    if given is None or body.get("messages") is not None or body.get("prompt") is not None:
        return CHAT
    if any(body.get(name) is not None for name in _EMBEDDINGS_ONLY):
        return EMBEDDINGS
    if is_list(given) and any(is_object(one) for one in given):
        return RESPONSES
    if is_list(given):
        return EMBEDDINGS  # texts or token ids
    if any(body.get(name) is not None for name in _RESPONSES_ONLY):
        return RESPONSES
    return BY_MODEL
