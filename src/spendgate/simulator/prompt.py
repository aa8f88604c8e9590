"""Count prompt tokens without a tokenizer: UTF-8 bytes, a few of them to a token."""

from collections.abc import Iterator
from dataclasses import dataclass

from spendgate.simulator.wire import JsonObject, encode, list_in, object_in

# What a chat template puts around each message, in tokens.
MESSAGE_TOKENS = 3
# What OpenAI bills for one 1024x1024 image in high detail; an image's bytes say nothing.
IMAGE_TOKENS = 765


@dataclass(frozen=True, slots=True)
class PromptCount:
    """Count a prompt, and its front part up to the last `cache_control` mark."""

    tokens: int
    marked_tokens: int


def count_prompt(body: JsonObject, bytes_per_token: int) -> PromptCount:
    """Count the tools and messages of a chat body.

    Never more tokens than the text has bytes, beside 3 for each message and 765 for each image.
    """
    text_bytes = marked_bytes = flat_tokens = 0
    tools = list_in(body.get("tools"))
    if tools:
        text_bytes += len(encode({"tools": tools}))
    for message in list_in(body.get("messages")):
        flat_tokens += MESSAGE_TOKENS
        for part in _parts(object_in(message)):
            if isinstance(part, str):
                text_bytes += utf8_length(part)
                continue
            if part.get("type") in ("image_url", "input_image", "image"):
                flat_tokens += IMAGE_TOKENS
            else:
                text = part.get("text")
                text_bytes += utf8_length(text) if isinstance(text, str) else len(encode(part))
            if "cache_control" in part:
                marked_bytes = text_bytes
    return PromptCount(
        tokens=-(-text_bytes // bytes_per_token) + flat_tokens,
        marked_tokens=marked_bytes // bytes_per_token,
    )


def utf8_length(text: str) -> int:
    """Count the bytes of `text`; lone surrogates, which JSON can carry, count three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _parts(message: JsonObject) -> Iterator[str | JsonObject]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in list_in(content):
        yield part if isinstance(part, str) else object_in(part)
    name = message.get("name")
    if isinstance(name, str):
        yield name
    if message.get("tool_calls"):
        yield {"tool_calls": message["tool_calls"]}
