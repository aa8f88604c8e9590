"""The bound counts everything that reaches the prompt, and refuses what it can't count."""

import json
import unicodedata

import pytest

from spendgate.domain.bound import (
    NESTING_MAX,
    TEMPLATE_TOKENS,
    TOKENS_PER_MESSAGE,
    MediaCaps,
    UnboundedError,
    cache_write_ttl,
    estimate_input_tokens,
    input_tokens_max,
    output_tokens_min,
)
from spendgate.domain.rendering import layout_bytes

IMAGE_DATA = "iVBORw0KGgo" * 1_000
DATA_URL = f"data:image/png;base64,{IMAGE_DATA}"


def chat(*contents: object, **fields: object) -> dict[str, object]:
    messages = [{"role": "user", "content": content} for content in contents]
    return {"messages": messages, **fields}


def spaced_bytes(body: object) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode())


def nested(levels: int) -> object:
    value: object = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_the_bound_is_the_bytes_of_the_body_and_what_templates_add() -> None:
    body = chat("hello", "wörld")

    assert input_tokens_max(body) == (spaced_bytes(body) + 2 * TOKENS_PER_MESSAGE + TEMPLATE_TOKENS)


def test_a_model_may_add_more_with_its_template() -> None:
    body = chat("hello")

    assert input_tokens_max(body, template_tokens=100) == (
        input_tokens_max(body) + 100 - TEMPLATE_TOKENS
    )


def test_sampling_parameters_do_not_count_and_unknown_fields_do() -> None:
    bare = input_tokens_max(chat("hello"))
    sampling = {"model": "m", "max_tokens": 9, "temperature": 0.5, "stop": ["x"], "n": 2}

    assert input_tokens_max(chat("hello", **sampling)) == bare
    assert input_tokens_max(chat("hello", novelty="12345")) == bare + len(', "novelty": "12345"')


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"name": "f", "input_schema": {}}, "odd"]},
        {"tools": [{"type": None, "function": {"name": "f"}}]},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
        {"functions": [{"name": "f"}]},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_tools_and_response_formats_bring_a_hidden_preamble(fields: dict[str, object]) -> None:
    body = chat("hello", **fields)

    without = input_tokens_max(body, tool_preamble_tokens=0)

    written = spaced_bytes(body) + TOKENS_PER_MESSAGE + TEMPLATE_TOKENS
    layout = sum(map(layout_bytes, fields.values()))
    assert without == written + layout
    assert input_tokens_max(body, tool_preamble_tokens=346) == without + 346


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("documents", [{"text": "a page"}]),
        ("functions", [{"name": "f"}]),
        ("output_config", {"effort": "low"}),
        ("response_format", {"type": "json_object"}),
        ("text", {"format": {"type": "json_object"}}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("chat_template_kwargs", {"enable_thinking": True}),
        ("structured_outputs", {"json": {"type": "object"}}),
    ],
)
def test_every_field_that_a_hidden_prompt_comes_with_is_charged_for_it(
    name: str, value: object
) -> None:
    body = chat("hello", **{name: value})

    bounds = [input_tokens_max(body, tool_preamble_tokens=tokens) for tokens in (0, 512)]

    assert bounds[1] - bounds[0] == 512
    assert input_tokens_max(body) == bounds[1]


def test_no_tools_bring_no_preamble() -> None:
    body = chat("hello", tools=[], functions=None)

    assert input_tokens_max(body, tool_preamble_tokens=346) < 346


def test_scenario_33_text_that_grows_when_normalised_is_bounded_by_its_longest_form() -> None:
    # 1,500 bytes that a tokenizer with NFKC turns into 7,500 tokens.
    assert input_tokens_max(chat("\ufdfa" * 500)) >= 16_500


def test_marks_behind_a_json_escape_do_not_hide_bytes() -> None:
    # `\r` is written as backslash and r, and r composes with both marks into one letter.
    content = "\r\u0323\u0304" * 1_000 + "\ufdfa" * 500

    assert input_tokens_max(chat(content)) >= len(unicodedata.normalize("NFKC", content).encode())


def test_many_unsorted_marks_are_bounded_without_sorting_them() -> None:
    # Normalising this text takes hours: CPython sorts marks in quadratic time.
    content = "a" + "\u0300\u0316" * 500_000

    assert input_tokens_max(chat(content)) >= len(content.encode())


def test_hangul_counts_as_composed_even_where_other_text_grows() -> None:
    korean = "각" * 1_000

    assert input_tokens_max(chat(korean + "\ufdfa")) < 3 * 1_000 + 300


def test_a_lone_surrogate_is_counted_not_crashed_on() -> None:
    assert input_tokens_max(chat("\ud800\ufdfa")) >= 3 + 33
    assert input_tokens_max(chat("\ud800")) >= 3


def test_embedding_and_completion_inputs_count() -> None:
    assert input_tokens_max({"input": "x" * 500}) > 500
    assert input_tokens_max({"input": ["x" * 500, "y" * 500]}) > 1_000
    assert input_tokens_max({"input": [1] * 500}) > 500
    assert input_tokens_max({"input": [[1, 2], [3]]}) > 3
    assert input_tokens_max({"prompt": "x" * 500}) > 500


def test_the_items_of_a_responses_input_count_as_messages() -> None:
    body = {"input": [{"type": "message", "role": "user", "content": "hello"}] * 3}

    assert input_tokens_max(body) == (spaced_bytes(body) + 3 * TOKENS_PER_MESSAGE + TEMPLATE_TOKENS)


IMAGE_PARTS = [
    {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}},
    {"type": "image_url", "image_url": {"url": DATA_URL.replace("data:image", "DATA:Image")}},
    {"type": "input_image", "image_url": DATA_URL},
    {"image_url": {"url": DATA_URL}},
    {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": IMAGE_DATA},
    },
]


@pytest.mark.parametrize("part", IMAGE_PARTS)
def test_an_inline_image_costs_its_cap_and_not_its_bytes(part: dict[str, object]) -> None:
    body = chat([{"type": "text", "text": "what is this?"}, part])

    tokens = input_tokens_max(body, caps=MediaCaps(1_600))

    assert 1_600 < tokens < 1_600 + 400
    assert estimate_input_tokens(body, image_tokens=800) < 800 + 100


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "image_url", "image_url": None},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "image", "source": "odd"},
    ],
)
def test_an_image_elsewhere_costs_its_cap(part: dict[str, object]) -> None:
    body = chat("hello", [part])

    assert input_tokens_max(body, caps=MediaCaps(1_600)) == (
        spaced_bytes(body) + 2 * TOKENS_PER_MESSAGE + TEMPLATE_TOKENS + 1_600
    )


@pytest.mark.parametrize("part", IMAGE_PARTS)
def test_an_image_without_a_cap_is_refused_by_its_path_and_with_the_way_out(
    part: dict[str, object],
) -> None:
    body = chat("a", "b", [{"type": "text", "text": "c"}, part])

    with pytest.raises(UnboundedError, match="image_tokens in the policy") as refusal:
        input_tokens_max(body)

    assert refusal.value.field == "messages[2].content[1]"
    assert str(refusal.value).startswith("messages[2].content[1] has no bound: ")
    assert len(str(refusal.value)) < 200


def test_images_inside_tool_results_are_found() -> None:
    result = {"type": "tool_result", "content": [{"type": "text"}, IMAGE_PARTS[0]]}
    body = chat([result])

    assert input_tokens_max(body, caps=MediaCaps(1_600)) < 1_600 + 300
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(body)
    assert refusal.value.field == "messages[0].content[0].content[1]"


def test_token_ids_beside_an_image_count_as_their_text() -> None:
    plain: dict[str, object] = {"input": [[1, 20, 300], {"content": "a"}]}
    with_image: dict[str, object] = {"input": [[1, 20, 300], {"content": ["a", IMAGE_PARTS[0]]}]}

    grown = input_tokens_max(with_image, caps=MediaCaps(1_600)) - input_tokens_max(plain)

    assert 1_600 < grown < 1_600 + 150


def test_images_inside_responses_outputs_are_found() -> None:
    body = {"input": [{"type": "function_call_output", "output": [IMAGE_PARTS[2]]}]}

    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(body)
    assert refusal.value.field == "input[0].output[0]"


def test_text_dressed_as_an_image_where_no_server_looks_for_one_counts() -> None:
    call = {"type": "tool_use", "input": {"type": "image_url", "image_url": {"url": DATA_URL}}}

    assert input_tokens_max(chat([call]), caps=MediaCaps(1)) > len(IMAGE_DATA)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": "https://example.com/a.wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "document", "source": {}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "item_reference", "id": "x"},
        {"video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AAAA"}},
    ],
)
def test_audio_files_and_video_are_refused_whatever_the_image_cap(part: object) -> None:
    with pytest.raises(UnboundedError, match="audio, files and video") as refusal:
        input_tokens_max(chat([part]), caps=MediaCaps(1_600))
    assert refusal.value.field == "messages[0].content[0]"


def test_a_reference_to_earlier_audio_is_refused() -> None:
    body = {"messages": [{"role": "assistant", "content": None, "audio": {"id": "audio-1"}}]}

    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(body)
    assert refusal.value.field == "messages[0]"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"background": True}, "background"),
        ({"chat_template": "{% for i in range(10**9) %}x{% endfor %}"}, "chat_template"),
        ({"conversation": "c-1"}, "conversation"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": "audio"}, "modalities"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"previous_response_id": "r-1"}, "previous_response_id"),
        ({"prompt": {"id": "pmpt-1"}}, "prompt"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": ["default"]}, "service_tier"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "function"}, {"type": "web_search"}]}, "tools[1]"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0]"),
        ({"tools": [{"type": "mcp", "server_url": "https://example.com"}]}, "tools[0]"),
        ({"tools": [{"type": ["function"]}]}, "tools[0]"),
        ({"tools": [{"google_search": {}}]}, "tools[0]"),
    ],
)
def test_what_the_provider_adds_is_refused_by_its_field(
    fields: dict[str, object], field: str
) -> None:
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(chat("hello", **fields), caps=MediaCaps(1_600))

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"audio": None, "prediction": None, "background": False, "plugins": []},
        {"modalities": ["text"]},
        {"modalities": []},
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"service_tier": "standard"},
        {"service_tier": None},
        {"tools": "odd"},
        {"messages": "odd"},
        {"messages": [None, "odd", 7]},
    ],
)
def test_harmless_values_of_watched_fields_pass(fields: dict[str, object]) -> None:
    assert input_tokens_max(chat("hello", **fields)) > TEMPLATE_TOKENS


def test_nesting_is_allowed_to_the_limit_and_refused_beyond_it() -> None:
    assert input_tokens_max(chat("x", extra=nested(NESTING_MAX))) > 0

    for measure in (input_tokens_max, estimate_input_tokens):
        with pytest.raises(UnboundedError, match="deeper than 64 levels") as refusal:
            measure(chat("x", extra=nested(NESTING_MAX + 1)))
        assert refusal.value.field == "extra"


@pytest.mark.parametrize("name", ["my secret", "x" * 100])
def test_an_odd_name_of_a_field_is_not_echoed(name: str) -> None:
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max({name: nested(10_000)})

    assert refusal.value.field == "a field"


def test_the_estimate_is_a_quarter_of_the_bytes_rounded_up() -> None:
    body = chat("hellö", temperature=1)

    assert estimate_input_tokens(body) == -(-spaced_bytes(chat("hellö")) // 4)


def test_the_estimate_answers_where_the_bound_refuses() -> None:
    body = chat([{"type": "file", "file": {"file_id": "file-1"}}], background=True)

    assert estimate_input_tokens(body) > 0


@pytest.mark.parametrize(
    ("body", "ttl"),
    [
        (chat("hello"), None),
        (chat("hello", cache_control=None), None),
        (chat("hello", cache_control={"type": "ephemeral"}), "5m"),
        (chat([{"type": "text", "cache_control": {"type": "ephemeral"}}]), "5m"),
        (chat([{"type": "text", "cache_control": {"type": "ephemeral", "ttl": "5m"}}]), "5m"),
        (chat([{"type": "text", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]), "1h"),
        (chat("hello", tools=[{"cache_control": {"ttl": "1h"}}, {"cache_control": {}}]), "1h"),
        (chat("hello", tools=[{"cache_control": {}}, {"cache_control": {"ttl": "1h"}}]), "1h"),
        (chat("hello", system=[{"cache_control": {"ttl": "24h"}}]), "1h"),
    ],
)
def test_the_dearest_cache_write_is_found_anywhere(body: dict[str, object], ttl: object) -> None:
    assert cache_write_ttl(body) == ttl


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ({}, None),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            ("thinking.budget_tokens", 1025),
        ),
        ({"reasoning": {"max_tokens": 500}, "min_tokens": 100}, ("reasoning.max_tokens", 501)),
        ({"min_tokens": 100}, ("min_tokens", 100)),
        ({"thinking": "odd", "min_tokens": True, "reasoning": {"max_tokens": "9"}}, None),
    ],
)
def test_the_least_output_is_what_the_server_would_insist_on(
    fields: dict[str, object], least: object
) -> None:
    assert output_tokens_min(fields) == least
