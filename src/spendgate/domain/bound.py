"""The bound: the most input tokens that a request body can cost, found without a tokenizer.

A token covers at least one byte of the text that a tokenizer sees, which may be the text
normalised: one tokenizer that applies NFKC made 7,500 tokens of 1,500 raw bytes. So the bound
is at least the longest of the raw, NFC and NFKC forms in UTF-8, of everything in the body that
isn't known to stay out of the prompt, written as a chat template would write it.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal

from spendgate.domain.counting import CountTokens, counted_tokens
from spendgate.domain.json_tree import fields, items, objects
from spendgate.domain.media import MediaCaps, media_tokens_max, split_media
from spendgate.domain.rendering import (
    INDENTED_FIELDS,
    called_functions,
    layout_bytes,
    rendered_arguments,
    repeated_texts,
    spaced_json,
)
from spendgate.domain.unbounded import (
    NESTING_MAX,
    UnboundedError,
    refuse_deep_nesting,
    refuse_unbounded,
)

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
_WITH_PREAMBLE = frozenset({*INDENTED_FIELDS, "chat_template_kwargs", "structured_outputs"})
_CACHE_MARKS = ("cachePoint", "cache_point", "cache_control_injection_points")
_OPENAI_CACHE = ("prompt_cache_options", "prompt_cache_breakpoint")
_IN_EVERY_CACHE_MARK = "cache"
_OPENAI_LIFETIMES = (None, "5m", "30m")
_CONTAINERS = (dict, list)
_NO_CAPS = MediaCaps()


class Prompt:
    """A body as far as it reaches the model, looked at once for the estimate and every bound.

    `whole` is the prompt of the same body before tools were taken out of it: its messages are read
    once then, however many lists of tools may be dropped.
    Raises `UnboundedError` for nesting beyond `NESTING_MAX`.
    """

    def __init__(self, body: Mapping[str, object], whole: "Prompt | None" = None) -> None:
        self.body = body
        self._whole = whole
        if whole is None:
            refuse_deep_nesting(body)
            rest, self.media = split_media(body)
            self.fields = {name: value for name, value in rest.items() if name not in _NOT_PROMPT}
            self.text = spaced_json(self.fields)  # every call needs it, so no lock is taken for it
        else:
            self.media = whole.media
            self.fields = {
                name: value if body[name] is whole.body[name] else body[name]
                for name, value in whole.fields.items()
                if name in body
            }

    @cached_property
    def text(self) -> str:
        """All text, as a template would write it."""
        return spaced_json(self.fields)

    @cached_property
    def text_tokens_max(self) -> int:
        """The strict bound of all text."""
        whole = self._whole
        # Beyond ASCII it may depend on the whole text which of its forms counts.
        if whole is None or not self.fields or not whole.text.isascii():
            return _text_tokens_max(self)
        return whole.text_tokens_max - _text_tokens_less(self, whole)


def input_tokens_max(
    body: Mapping[str, object] | Prompt,
    *,
    caps: MediaCaps = _NO_CAPS,
    tool_preamble_tokens: int = TOOL_PREAMBLE_TOKENS,
    template_tokens: int = TEMPLATE_TOKENS,
    kept_reasoning_tokens: int | None = None,
    count: CountTokens | None = None,
) -> int:
    """Bound the input tokens of a chat, completion, response or embedding request.

    `caps` says what media can cost at most. The tool preamble is the hidden prompt that comes with
    tools or a response format. `kept_reasoning_tokens` is the most that one reasoning item can
    hold which the provider keeps and the body only names. `count` makes it the counted bound: the
    model's own tokenizer and 2 %, never more than the strict one.
    Raises `UnboundedError` for what can't be bounded: media without a cap, tools that the provider
    runs, state that it keeps, dearer service tiers, nesting beyond `NESTING_MAX`.
    """
    prompt = _prompt_of(body)
    refuse_unbounded(prompt.body)
    tokens = template_tokens + TOKENS_PER_MESSAGE * _message_count(prompt.body)
    tokens += media_tokens_max(prompt.media, caps)
    tokens += _kept_reasoning(prompt.body, kept_reasoning_tokens)
    if any(prompt.body[name] for name in _WITH_PREAMBLE.intersection(prompt.body)):
        tokens += tool_preamble_tokens
    strict = prompt.text_tokens_max
    if count is None:
        return tokens + strict
    return tokens + min(strict, counted_tokens(prompt.fields, count))


def estimate_input_tokens(body: Mapping[str, object] | Prompt, *, image_tokens: int = 0) -> int:
    """Expect one token per four bytes of the same text: a guess, never a bound.

    Raises `UnboundedError` only for nesting beyond `NESTING_MAX`.
    """
    prompt = _prompt_of(body)
    return -(-_utf8_bytes(prompt.text) // 4) + image_tokens * len(prompt.media)


def output_tokens_min(body: Mapping[str, object]) -> tuple[str, int] | None:
    """Find the fewest output tokens a request can do with, and the field that says so.

    A model server refuses a `max_tokens` that isn't above the thinking budget or is below
    `min_tokens`, so that a call is never shrunk that far.
    """
    asked = (
        ("thinking.budget_tokens", fields(body.get("thinking")).get("budget_tokens"), 1),
        ("reasoning.max_tokens", fields(body.get("reasoning")).get("max_tokens"), 1),
        ("min_tokens", body.get("min_tokens"), 0),
    )
    floors = [(field, value + more) for field, value, more in asked if type(value) is int]
    return max(floors, key=lambda floor: floor[1], default=None)


def cache_write_ttl(body: Mapping[str, object] | Prompt) -> Literal["5m", "1h"] | None:
    """Find the dearest cache write that the request asks for; None means that it asks for none.

    A lifetime of Claude's that isn't known counts as one hour, the dearest there is. Raises
    `UnboundedError` for one of OpenAI's, whose price isn't in the book, and for nesting beyond
    `NESTING_MAX`.
    """
    found: Literal["5m", "1h"] | None = None
    for node in _nodes_with_cache_marks(_prompt_of(body)):
        for name in _OPENAI_CACHE:
            if fields(node.get(name)).get("ttl") not in _OPENAI_LIFETIMES:
                raise UnboundedError(f"{name}.ttl", "its price is not in the book; use 30m")
        control = node.get("cache_control")
        is_marked = any(node.get(name) for name in _CACHE_MARKS)
        if is_marked or fields(control).get("ttl") not in (None, "5m"):
            return "1h"
        if isinstance(control, dict):
            found = "5m"
    return found


def _nodes_with_cache_marks(prompt: Prompt) -> Iterator[Mapping[str, object]]:
    """Walk the objects that may have one: most bodies have none, and a search is a walk in C.

    JSON never escapes these letters, so a name that isn't in the text isn't in the body, but for
    what the text lacks: the bytes of media, and the fields that aren't part of the prompt.
    """
    if prompt.media or _IN_EVERY_CACHE_MARK in prompt.text:
        return objects(prompt.body)
    others: dict[str, object] = {
        name: value
        for name, value in prompt.body.items()
        if name in _NOT_PROMPT and isinstance(value, _CONTAINERS)
    }
    return objects(others) if others else iter(())


def _prompt_of(body: Mapping[str, object] | Prompt) -> Prompt:
    return body if isinstance(body, Prompt) else Prompt(body)


def _text_tokens_max(prompt: Prompt) -> int:
    tokens = _normalised_bytes_max(prompt.text)
    indented = INDENTED_FIELDS.intersection(prompt.fields)
    tokens += sum(layout_bytes(prompt.fields[name]) for name in indented)
    for call in called_functions(prompt.fields):
        arguments = call.get("arguments")
        if isinstance(arguments, str):
            rendered = _normalised_bytes_max(rendered_arguments(arguments))
            tokens += max(0, rendered - _normalised_bytes_max(arguments))
    for text, times in repeated_texts(prompt.fields):
        tokens += _normalised_bytes_max(text) * times
    return tokens


def _text_tokens_less(prompt: Prompt, whole: Prompt) -> int:
    """Return what a prompt's ASCII text lacks of the whole one's: entries of lists, or fields."""
    tokens = 0
    for name, value in whole.fields.items():
        lacking: object = None
        if name not in prompt.fields:
            lacking = value
            tokens += len(spaced_json({name: value}))  # its braces are as long as ", "
        elif prompt.fields[name] is not value:
            left = set(map(id, items(prompt.fields[name])))
            lacking = [one for one in items(value) if id(one) not in left]
            tokens += len(spaced_json(lacking)) if lacking else 0  # its brackets are, too
        if name in INDENTED_FIELDS:
            tokens += layout_bytes(lacking)
    return tokens


def _kept_reasoning(body: Mapping[str, object], kept_tokens: int | None) -> int:
    """Bound the reasoning items whose text is not in the body but with the provider."""
    tokens = 0
    for index, item in enumerate(map(fields, items(body.get("input")))):
        if item.get("type") == "reasoning" and "id" in item and not item.get("encrypted_content"):
            if kept_tokens is None:
                reason = (
                    "the provider keeps this reasoning; ask for include "
                    "['reasoning.encrypted_content'] and send that, or set "
                    "models.<model>.kept_reasoning_tokens in the policy"
                )
                raise UnboundedError(f"input[{index}]", reason)
            tokens += kept_tokens
    return tokens


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
    input_messages = sum(isinstance(item, dict) for item in items(body.get("input")))
    return len(items(body.get("messages"))) + input_messages


__all__ = [
    "NESTING_MAX",
    "TEMPLATE_TOKENS",
    "TOKENS_PER_MESSAGE",
    "TOOL_PREAMBLE_TOKENS",
    "MediaCaps",
    "Prompt",
    "UnboundedError",
    "cache_write_ttl",
    "estimate_input_tokens",
    "input_tokens_max",
    "output_tokens_min",
]
