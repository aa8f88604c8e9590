"""What holds for the bound of every request body."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spendgate.domain.bound import (
    MediaCaps,
    Prompt,
    UnboundedError,
    cache_write_ttl,
    estimate_input_tokens,
    input_tokens_max,
)

# Compatibility forms, marks and escapes, where normal forms differ most.
tricky_texts = st.text(
    st.sampled_from(
        'ar\r\n\t\b\f"\\\u0300\u0316\u0323\u0304\ufdfa\ufb2c\u1e9b\uff9e\uac00\u11a8\ue000'
    ),
    max_size=30,
)
texts = tricky_texts | st.text(max_size=30)
# Names that stand for no media, as every listed part is refused on purpose.
names = st.sampled_from(["role", "content", "text", "name", "arguments", "tool_calls", "output"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=4),
    max_leaves=12,
)
ascii_texts = st.text(st.characters(max_codepoint=127), max_size=30)
functions = st.fixed_dictionaries(
    {"name": ascii_texts, "description": texts | ascii_texts, "parameters": json_values}
)
offered_tools = st.lists(
    functions.map(lambda one: {"type": "function", "function": one}), max_size=4
)
fields = st.sampled_from(
    ["messages", "input", "functions", "tool_choice", "response_format", "metadata", "temperature"]
)
bodies = st.dictionaries(fields, json_values, max_size=5)


@given(texts)
def test_the_bound_is_at_least_every_normal_form_of_a_prompt(text: str) -> None:
    bound = input_tokens_max({"messages": [{"role": "user", "content": text}]})

    for form in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFKC", text)):
        assert bound >= len(form.encode("utf-8", "surrogatepass"))


@given(st.lists(texts, max_size=4), st.text(st.characters(blacklist_categories=["Cs"])))
def test_the_bound_is_at_least_the_bytes_of_the_whole_body(history: list[str], text: str) -> None:
    body = {"messages": [{"role": "user", "content": part} for part in [*history, text]]}

    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    assert input_tokens_max(body) >= len(raw.encode("utf-8", "surrogatepass"))


@given(st.lists(texts, max_size=4), texts)
def test_appending_a_message_never_lowers_the_bound(history: list[str], text: str) -> None:
    before = [{"role": "user", "content": part} for part in history]
    after = [*before, {"role": "user", "content": text}]

    assert input_tokens_max({"messages": after}) >= input_tokens_max({"messages": before})


@given(bodies)
def test_any_json_body_without_media_or_server_tools_has_a_bound(body: dict[str, object]) -> None:
    bound = input_tokens_max(body)

    assert bound > 0
    assert estimate_input_tokens(body) <= bound
    assert cache_write_ttl(body) is None


@given(
    st.lists(texts | ascii_texts, max_size=2),
    st.dictionaries(st.sampled_from(["tools", "functions", "novelties"]), offered_tools),
    st.sets(st.integers(0, 3)),
    st.sets(st.sampled_from(["tool_choice", "parallel_tool_calls"])),
)
def test_a_prompt_without_tools_is_bounded_as_if_they_had_never_been_there(
    contents: list[str], offered: dict[str, Any], places: set[int], more: set[str]
) -> None:
    messages = [{"role": "user", "content": text} for text in contents]
    texts_sent = {"messages": messages} if messages else {}
    body = json.loads(json.dumps({**texts_sent, **offered, **dict.fromkeys(more, "auto")}))
    whole = Prompt(body)
    left = {name: kept(body[name], places) for name in offered}
    leaner = {name: body[name] for name in texts_sent}
    leaner |= {name: one for name, one in left.items() if one}

    assert input_tokens_max(Prompt(leaner, whole)) == input_tokens_max(leaner)
    assert input_tokens_max(Prompt(leaner, whole), count=len) == (
        input_tokens_max(leaner, count=len)
    )


def kept(entries: list[object], places: set[int]) -> list[object]:
    return [one for place, one in enumerate(entries) if place not in places]


@given(bodies, st.integers(0, 5), st.integers(0, 10_000))
def test_each_image_adds_its_cap(body: dict[str, object], images: int, image_tokens: int) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with_images = {**body, "messages": [{"role": "user", "content": [image] * images}]}

    assert input_tokens_max(with_images, caps=MediaCaps(image_tokens)) == (
        input_tokens_max(with_images, caps=MediaCaps(0)) + images * image_tokens
    )


cache_marks = st.one_of(
    st.sampled_from([None, "ephemeral", {"type": "ephemeral"}, {"ttl": "5m"}, {"ttl": "1h"}]).map(
        lambda control: {"cache_control": control}
    ),
    st.sampled_from(["cachePoint", "cache_point", "cache_control_injection_points"]).map(
        lambda name: {name: [{}]}
    ),
    st.sampled_from([{"ttl": "30m"}, {"ttl": "12h"}, {}]).map(
        lambda options: {"prompt_cache_options": options}
    ),
)
marked_values = st.recursive(
    cache_marks | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
# Also where a body's text is not looked at: beside media, in fields that steer the transport.
images = marked_values.map(
    lambda marked: [{"image_url": {"url": "data:image/png;base64,AAAA", "name": marked}}]
)
marked_bodies = st.dictionaries(
    st.sampled_from(["messages", "tools", "usage_context", "stream_options", "logit_bias"]),
    marked_values | images,
    max_size=3,
)


def cache_writes(node: Any) -> set[str]:
    """Return what every object of a tree asks of the cache, found by looking at each."""
    if isinstance(node, list):
        return set().union(*map(cache_writes, node))
    if not isinstance(node, dict):
        return set()
    found = set().union(*map(cache_writes, node.values()))
    control = node.get("cache_control")
    if isinstance(control, dict):
        found.add(control.get("ttl") or "5m")
    if {"cachePoint", "cache_point", "cache_control_injection_points"} & set(node):
        found.add("1h")
    options = node.get("prompt_cache_options")
    if isinstance(options, dict) and options.get("ttl") == "12h":
        found.add("refused")
    return found


@given(marked_bodies)
@example({"messages": [{"image_url": {"url": "data:image/png;base64,", "cache_control": {}}}]})
@example({"usage_context": {"cache_control": {"ttl": "1h"}}})
def test_a_cache_mark_is_found_wherever_it_stands(body: dict[str, object]) -> None:
    asked = cache_writes(body)

    if asked == {"refused"} or (asked - {"5m"} == {"refused"}):
        with pytest.raises(UnboundedError):
            cache_write_ttl(body)
    elif "refused" not in asked:
        assert cache_write_ttl(body) == max(asked, key=["5m", "1h"].index, default=None)
