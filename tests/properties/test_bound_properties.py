"""What holds for the bound of every request body."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.bound import (
    MediaCaps,
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


@given(bodies, st.integers(0, 5), st.integers(0, 10_000))
def test_each_image_adds_its_cap(body: dict[str, object], images: int, image_tokens: int) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with_images = {**body, "messages": [{"role": "user", "content": [image] * images}]}

    assert input_tokens_max(with_images, caps=MediaCaps(image_tokens)) == (
        input_tokens_max(with_images, caps=MediaCaps(0)) + images * image_tokens
    )
