"""The bound: the most input tokens that a request body can cost, found without a tokenizer.

A token covers at least one byte of the text that a tokenizer sees, which may be the text
normalised: one tokenizer that applies NFKC made 7,500 tokens of 1,500 raw bytes. So the bound
is at least the longest of the raw, NFC and NFKC forms in UTF-8, of everything in the body that
isn't known to stay out of the prompt.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Literal, cast

NESTING_MAX = 64
"""Deepest nesting of a field; real requests stay below 20, and parsers recurse."""

TOKENS_PER_MESSAGE = 8
TEMPLATE_TOKENS = 128
"""What a chat template adds to each message, and once. The longest default system prompt of a model
on Databricks is gpt-oss's with about 70 tokens; a self-hosted model with a longer one needs
`template_tokens`."""
TOOL_PREAMBLE_TOKENS = 512
"""The hidden prompt that comes with tools or a response format: hundreds of tokens on Claude."""

# They steer sampling or the transport and never reach the prompt. Everything else counts.
_NOT_PROMPT = frozenset(
    {
        "best_of",
        "client_request_id",
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "length_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "min_p",
        "min_tokens",
        "model",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_logprobs",
        "top_p",
        "usage_context",
        "user",
    }
)

# Each makes the provider read or write something that isn't in the body.
_UNBOUNDED_FIELDS = {
    "audio": "audio output has its own price",
    "background": "a background answer is billed after the call",
    "chat_template": "a template can repeat the prompt without end",
    "container": "a container brings its own files",
    "conversation": "the conversation is kept by the provider",
    "data_sources": "the provider adds what it finds",
    "mcp_servers": "the provider adds what its tools answer",
    "mm_processor_kwargs": "it changes what an image costs",
    "plugins": "the provider adds what its plugins answer",
    "prediction": "rejected predicted tokens are billed as output",
    "previous_response_id": "the earlier turns are kept by the provider",
    "search_parameters": "the provider adds what it finds",
    "web_search_options": "the provider adds what it finds",
}
_BOUNDED_TIERS = (None, "auto", "default", "standard")
_BOUNDED_MODALITIES: tuple[object, ...] = (None, [], ["text"])
_CLIENT_TOOLS = ("function", "custom")

# Words in a part's type or key, so that variants such as `audio_url` are known as well.
_IMAGE_WORDS = frozenset({"image", "images"})
_UNBOUNDED_WORDS = frozenset(
    {"audio", "document", "file", "media", "reference", "screenshot", "upload", "video"}
)
_WAY_OUT = "leave it out"
_IMAGE_WAY_OUT = "set models.<model>.image_tokens in the policy, or send text only"


class UnboundedError(ValueError):
    """Raised where a field lets a call cost more than its text can tell.

    `field` is its path in the body, such as `messages[2].content[1]`.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} has no bound: {self.reason}"


def input_tokens_max(
    body: Mapping[str, object],
    *,
    image_tokens: int | None = None,
    tool_preamble_tokens: int = TOOL_PREAMBLE_TOKENS,
    template_tokens: int = TEMPLATE_TOKENS,
) -> int:
    """Bound the input tokens of a chat, completion, response or embedding request.

    `image_tokens` is the most that one image of any size can cost; None refuses images. The tool
    preamble is the hidden prompt that comes with tools or a response format.
    Raises `UnboundedError` for what can't be bounded: audio, files, video, tools that the
    provider runs, state that it keeps, dearer service tiers, nesting beyond `NESTING_MAX`.
    """
    _refuse_unbounded_fields(body)
    prompt, media = _split_media(body)
    for path, is_image in media:
        if not is_image:
            raise UnboundedError(path, f"audio, files and video can't be counted; {_WAY_OUT}")
        if image_tokens is None:
            raise UnboundedError(path, f"this model has no image cap; {_IMAGE_WAY_OUT}")
    tokens = _normalised_bytes_max(_compact(prompt)) + template_tokens
    tokens += TOKENS_PER_MESSAGE * _message_count(body)
    if any(body.get(name) for name in ("tools", "functions", "response_format")):
        tokens += tool_preamble_tokens
    return tokens + len(media) * (image_tokens or 0)


def estimate_input_tokens(body: Mapping[str, object], *, image_tokens: int = 0) -> int:
    """Expect one token per four bytes of the same text: a guess, never a bound.

    Raises `UnboundedError` only for nesting beyond `NESTING_MAX`.
    """
    _refuse_deep_nesting(body)
    prompt, media = _split_media(body)
    return -(-_utf8_bytes(_compact(prompt)) // 4) + image_tokens * len(media)


def cache_write_ttl(body: Mapping[str, object]) -> Literal["5m", "1h"] | None:
    """Find the dearest cache write that the request asks for; None means that it asks for none.

    A lifetime that isn't known counts as one hour, the dearest there is.
    """
    found: Literal["5m", "1h"] | None = None
    for node in _objects(body):
        control = node.get("cache_control")
        if isinstance(control, dict):
            if cast(dict[str, object], control).get("ttl") not in (None, "5m"):
                return "1h"
            found = "5m"
    return found


def choice_count(body: Mapping[str, object]) -> int:
    """Count the answers that are billed: the larger of `n` and `best_of`, 1 where missing."""
    choices = 1
    for name in ("n", "best_of"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UnboundedError(name, "it must be a positive integer")
        choices = max(choices, value)
    return choices


def _refuse_unbounded_fields(body: Mapping[str, object]) -> None:
    _refuse_deep_nesting(body)
    for name, reason in _UNBOUNDED_FIELDS.items():
        if body.get(name) not in (None, False, []):  # `{}` switches web search on
            raise UnboundedError(name, f"{reason}; {_WAY_OUT}")
    if isinstance(body.get("prompt"), dict):
        raise UnboundedError("prompt", f"the template is kept by the provider; {_WAY_OUT}")
    if body.get("service_tier") not in _BOUNDED_TIERS:
        raise UnboundedError("service_tier", "its price is not in the book; use default or auto")
    if body.get("modalities") not in _BOUNDED_MODALITIES:
        raise UnboundedError("modalities", f"only text output has a known price; {_WAY_OUT}")
    for index, tool in enumerate(_items(body.get("tools"))):
        if _is_server_tool(tool):
            reason = f"the provider runs this tool and adds what it answers; {_WAY_OUT}"
            raise UnboundedError(f"tools[{index}]", reason)


def _is_server_tool(tool: object) -> bool:
    if not isinstance(tool, dict):
        return False
    fields = _fields(cast(object, tool))
    if fields.get("type") is not None:
        return fields["type"] not in _CLIENT_TOOLS
    # Claude's own form of a client tool has a name and no type; Gemini's search has neither.
    return "name" not in fields and "function" not in fields


def _refuse_deep_nesting(body: Mapping[str, object]) -> None:
    for name, value in body.items():
        level: list[object] = [value]
        for _ in range(NESTING_MAX):
            children = chain.from_iterable(map(_children, level))
            level = [child for child in children if isinstance(child, dict | list)]
            if not level:
                break
        else:
            # The client chose the name: an odd or endless one is not echoed.
            field = name if name.isidentifier() and len(name) <= NESTING_MAX else "a field"
            raise UnboundedError(field, f"it is nested deeper than {NESTING_MAX} levels")


def _split_media(body: Mapping[str, object]) -> tuple[dict[str, object], list[tuple[str, bool]]]:
    """Return what reaches the prompt without inline images, and the media (path, is an image)."""
    media: list[tuple[str, bool]] = []
    prompt: dict[str, object] = {}
    for name, value in body.items():
        if name in ("messages", "input"):
            prompt[name] = _without_images(name, value, media)
        elif name not in _NOT_PROMPT:
            prompt[name] = value
    return prompt, media


def _without_images(path: str, value: object, media: list[tuple[str, bool]]) -> object:
    """Copy messages or parts without their inline images, and note the media found."""
    if isinstance(value, list):
        items = cast(list[object], value)
        # A batch of token ids has no parts; looking at each by its path would cost milliseconds.
        if not any(isinstance(item, dict | list) for item in items):
            return items
        return [_without_images(f"{path}[{i}]", item, media) for i, item in enumerate(items)]
    if not isinstance(value, dict):
        return value
    part = cast(dict[str, object], value)
    kind = _media_kind(part)
    if kind is not None:
        stripped = _without_inline_data(part) if kind == "image" else None
        media.append((path, stripped is not None))
        return part if stripped is None else stripped
    nested = {
        key: _without_images(f"{path}.{key}", part[key], media)
        for key in ("content", "output")
        if key in part
    }
    return {**part, **nested}


def _media_kind(part: dict[str, object]) -> Literal["image", "other"] | None:
    """Classify a part by its type, else by its keys: some servers read parts without a type."""
    kind = part.get("type")
    keys = [key for key, value in part.items() if value is not None]
    for names in ([kind] if isinstance(kind, str) else [], keys):
        words = {word for name in names for word in name.lower().split("_")}
        if words & _UNBOUNDED_WORDS:
            return "other"
        if words & _IMAGE_WORDS:
            return "image"
    return None


def _without_inline_data(part: dict[str, object]) -> dict[str, object] | None:
    """Take an inline image's bytes out of its part; None where the data is not an image.

    Only where servers look for image bytes: text hidden elsewhere in the part still counts.
    """
    if part.get("type") == "image":
        source = _fields(part.get("source"))
        is_inline = source.get("type") == "base64" and isinstance(source.get("data"), str)
        return {**part, "source": {**source, "data": ""}} if is_inline else part
    url = part.get("image_url")
    if isinstance(url, dict):
        url = _fields(cast(object, url)).get("url")
    if not isinstance(url, str) or url[:5].lower() != "data:":
        return part
    # Gemini reads PDF, audio and video from a data URL of any type.
    return {**part, "image_url": ""} if url[:11].lower() == "data:image/" else None


def _compact(prompt: Mapping[str, object]) -> str:
    return json.dumps(prompt, ensure_ascii=False, separators=(",", ":"))


def _normalised_bytes_max(text: str) -> int:
    """Bound the UTF-8 length of the raw, NFC and NFKC forms of a text and of any part of it."""
    if text.isascii():
        return len(text)
    if unicodedata.is_normalized("NFKC", text):
        return _utf8_bytes(text)
    # Character by character: `normalize` needs quadratic time to sort combining marks (1.6 s for
    # 64 kB of them, measured), and composing across a JSON escape would hide bytes.
    return sum(count * _widest_form_bytes(char) for char, count in Counter(text).items())


def _widest_form_bytes(char: str) -> int:
    """Bound a character's share of any form: composing never makes a text longer."""
    if "\uac00" <= char <= "\ud7a3":
        return 3  # a Hangul syllable is always composed again
    forms = (char, unicodedata.normalize("NFD", char), unicodedata.normalize("NFKD", char))
    return max(map(_utf8_bytes, forms))


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _message_count(body: Mapping[str, object]) -> int:
    # In a Responses body the items of `input` are messages; in an embedding body they are texts.
    input_messages = sum(isinstance(item, dict) for item in _items(body.get("input")))
    return len(_items(body.get("messages"))) + input_messages


def _objects(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Walk every object of a body, the body first."""
    yield body
    stack: list[object] = list(body.values())
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield _fields(cast(object, node))
        stack.extend(_children(cast(object, node)))


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(cast(dict[str, object], node).values())
    return _items(node)


def _items(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _fields(value: object) -> dict[str, object]:
    return cast(dict[str, object], value) if isinstance(value, dict) else {}
