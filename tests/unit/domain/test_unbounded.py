"""Each field that could raise a bill above its hold is refused by its name, with the way out."""

import pytest

from spendgate.domain.bound import UnboundedError, cache_write_ttl, input_tokens_max

FUNCTION = {"type": "function", "function": {"name": "f"}}


def chat(**fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "hello"}], **fields}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # More answers than n.
        ("candidate_count", 8),
        ("candidateCount", 8),
        ("beam_width", 4),
        ("num_beams", 4),
        ("num_return_sequences", 2),
        ("n_cmpl", 2),
        ("num_completions", 2),
        ("num_generations", 2),
        # More output than max_tokens: llama.cpp lets n_predict win.
        ("n_predict", -1),
        ("n_predict", 100_000),
        ("num_predict", 100_000),
        ("max_new_tokens", 100_000),
        ("max_length", 100_000),
        ("max_gen_len", 100_000),
        ("maxOutputTokens", 100_000),
        ("max_tokens_to_sample", 100_000),
        # Fields inside fields.
        ("extra_body", {"n": 9}),
        ("extra_params", {"n": 9}),
        ("extra_headers", {"anthropic-beta": "context-1m"}),
        ("extra_query", {"a": 1}),
        ("generation_config", {"candidate_count": 9}),
        ("generationConfig", {"candidateCount": 9}),
        ("sampling_params", {"n": 9}),
        ("options", {"num_predict": -1}),
        ("parameters", {"max_new_tokens": 9}),
        ("additionalModelRequestFields", {"a": 1}),
        ("additional_model_request_fields", {"a": 1}),
        ("model_kwargs", {"n": 9}),
        # Another price than the book's.
        ("service_tier", "priority"),
        ("service_tier", "fast"),
        ("service_tier", "flex"),
        ("service_tier", "scale"),
        ("speed", "fast"),
        ("inference_geo", "us"),
        ("anthropic_beta", ["context-1m-2025-08-07"]),
        ("betas", ["context-1m-2025-08-07"]),
        ("moderation", {"model": "another"}),
        ("guardrails", ["g"]),
        ("enable_safety_filter", True),
        # A second call inside the call.
        ("fallbacks", ["another"]),
        ("context_window_fallbacks", [{"a": ["b"]}]),
        ("content_policy_fallbacks", [{"a": ["b"]}]),
        ("models", ["another"]),
        ("model_list", [{}]),
        ("route", "fallback"),
        ("provider", {"sort": "price"}),
        ("preset", "p"),
        ("num_retries", 3),
        ("max_retries", 3),
        ("context_management", [{"type": "compaction"}]),
        ("context_management", {"edits": [{"type": "compact_20260112"}]}),
        # Input that isn't in the body.
        ("enable_search", True),
        ("web_search", True),
        ("connectors", [{"id": "web-search"}]),
        ("grounding", True),
        ("retrieval", True),
        ("attachments", [{"file_id": "f"}]),
        ("file_ids", ["f"]),
        ("vector_store_ids", ["v"]),
        ("tool_resources", {"file_search": {}}),
        ("thread_id", "t"),
        ("cached_content", "cachedContents/x"),
        ("cachedContent", "cachedContents/x"),
        ("assistant_id", "a"),
        ("images", ["https://example.com/cat.png"]),
        ("videos", ["https://example.com/cat.mp4"]),
        ("mm_processor_kwargs", {"max_pixels": 10**9}),
        ("media_io_kwargs", {"video": {"num_frames": -1}}),
    ],
)
def test_a_field_that_could_cost_more_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(chat(**{name: value}))

    assert refusal.value.field == name
    assert str(refusal.value).startswith(f"{name} has no bound: ")


def test_what_gemini_keeps_is_refused_inside_its_own_object_too() -> None:
    thinking = {"thinking_config": {"include_thoughts": True}}
    assert input_tokens_max(chat(google={**thinking, "cached_content": None})) > 0

    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(chat(google={"cached_content": "cachedContents/x"}))

    assert refusal.value.field == "google.cached_content"


@pytest.mark.parametrize(
    "fields",
    [
        # What vLLM, OpenAI and Databricks take and what costs nothing, or only what is counted.
        {"guided_json": {"type": "object"}, "guided_regex": "a+", "guided_choice": ["a"]},
        {"structured_outputs": {"json": {"type": "object"}}},
        {"min_tokens": 5, "ignore_eos": True, "use_beam_search": True, "length_penalty": 2.0},
        {"prompt_logprobs": 5, "logprobs": True, "top_logprobs": 20, "echo": True},
        {"add_generation_prompt": True, "continue_final_message": False},
        {"add_special_tokens": True, "skip_special_tokens": False, "cache_salt": "s"},
        {"truncate_prompt_tokens": -1, "truncation": "auto", "priority": 3},
        {"chat_template_kwargs": {"enable_thinking": True, "thinking": None, "level": "high"}},
        {"documents": [{"title": "a", "text": "b"}]},
        {"store": False, "metadata": {"a": "b"}, "parallel_tool_calls": False},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "safety_identifier": "s"},
        {"reasoning_effort": "high", "verbosity": "low", "reasoning": {"effort": "high"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"candidate_count": 1, "num_beams": 1, "num_retries": 0, "options": {}},
        {"inference_geo": "global", "speed": "standard", "service_tier": "standard_only"},
        {"databricks_options": {"return_trace": True}, "context": {"user_id": "u"}},
        {"reasoning": {"mode": "standard"}},
        {"tools": [{"type": "namespace", "name": "crm", "tools": [{"type": "function"}]}]},
    ],
)
def test_what_costs_nothing_beyond_its_text_passes(fields: dict[str, object]) -> None:
    assert input_tokens_max(chat(**fields)) > 0


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ([{"type": "namespace", "tools": [{"type": "web_search"}]}], "tools[0].tools[0]"),
        ([FUNCTION, {**FUNCTION, "googleSearch": {}}], "tools[1]"),
        ([{**FUNCTION, "google_search_retrieval": {}}], "tools[0]"),
        ([{"name": "f", "code_execution": {}}], "tools[0]"),
        ([{"type": "web_search_20250305", "name": "web_search"}], "tools[0]"),
        ([{"type": "computer_use_preview"}], "tools[0]"),
        ([{"type": "image_generation"}], "tools[0]"),
        ([{"type": "builtin_function", "function": {"name": "$web_search"}}], "tools[0]"),
        ([{"type": "tool_search"}], "tools[0]"),
    ],
)  # fmt: skip
def test_a_tool_that_the_provider_runs_is_refused_wherever_it_hides(
    tools: list[object], field: str
) -> None:
    with pytest.raises(UnboundedError, match="the provider runs this tool") as refusal:
        input_tokens_max(chat(tools=tools))

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"id": "msg_1", "role": "user"},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]},
        {"type": "tool_search_output", "tools": []},
        {"type": "compaction_trigger"},
        {"type": "compaction", "encrypted_content": "x", "content": "a decoy"},
        {"type": "file_search_call", "id": "fs_1", "queries": []},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "c"},
        {"type": "image_generation_call", "id": "ig_1", "result": None},
        {"type": "mcp_call", "id": "m_1"},
        {"type": ["message"]},
    ],
)
def test_an_item_that_the_provider_keeps_is_refused_by_its_place(item: dict[str, object]) -> None:
    whole = {"type": "message", "role": "user", "content": "hello"}

    with pytest.raises(UnboundedError, match="the provider keeps what this item") as refusal:
        input_tokens_max({"input": [whole, item]})

    assert refusal.value.field == "input[1]"


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hello"},
        {"id": "msg_1", "role": "assistant", "content": "hello"},
        {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "42"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "reasoning", "summary": []},
        {"type": "input_text", "text": "hello"},
        {"text": "hello"},
        "hello",
    ],
)
def test_an_item_that_holds_all_it_stands_for_passes(item: object) -> None:
    assert input_tokens_max({"input": [item]}) > 0


def test_reasoning_that_the_provider_keeps_needs_a_cap() -> None:
    body = {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}] * 2}

    with pytest.raises(UnboundedError, match="kept_reasoning_tokens") as refusal:
        input_tokens_max(body)
    assert refusal.value.field == "input[0]"
    assert input_tokens_max(body, kept_reasoning_tokens=5_000) == (
        input_tokens_max(body, kept_reasoning_tokens=0) + 10_000
    )


def test_a_decoy_beside_kept_reasoning_does_not_stand_for_it() -> None:
    decoy = [{"type": "reasoning_text", "text": "x"}]
    item = {"type": "reasoning", "id": "rs_1", "content": decoy, "encrypted_content": ""}

    with pytest.raises(UnboundedError):
        input_tokens_max({"input": [item]})


def test_a_dearer_mode_of_reasoning_is_refused() -> None:
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max({"input": "hello", "reasoning": {"mode": "pro"}})

    assert refusal.value.field == "reasoning.mode"


@pytest.mark.parametrize(
    "arguments",
    [
        {"chat_template": "{% for i in range(10**9) %}x{% endfor %}"},
        {"messages": None},
        {"builtin_tools": ["browser"] * 1000},
        {"custom": {"a": 1}},
    ],
)
def test_template_arguments_that_a_template_could_repeat_are_refused(
    arguments: dict[str, object],
) -> None:
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max(chat(chat_template_kwargs=arguments))

    assert refusal.value.field == "chat_template_kwargs"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options.ttl"),
        (
            {"input": [{"content": [{"prompt_cache_breakpoint": {"ttl": "12h"}}]}]},
            "prompt_cache_breakpoint.ttl",
        ),
    ],
)
def test_a_cache_lifetime_without_a_price_is_refused(fields: dict[str, object], field: str) -> None:
    with pytest.raises(UnboundedError) as refusal:
        cache_write_ttl(fields)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_cache_options": {"ttl": "30m", "mode": "explicit"}},
        {"input": [{"prompt_cache_breakpoint": {"mode": "explicit"}}]},
    ],
)
def test_an_ordinary_cache_lifetime_passes(fields: dict[str, object]) -> None:
    assert cache_write_ttl(fields) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"content": [{"cachePoint": {"type": "default"}}]}]},
        {"cache_control_injection_points": [{"location": "message"}]},
        {"messages": [{"cache_point": {"type": "default"}}]},
    ],
)
def test_other_ways_to_ask_for_a_cache_write_count_as_the_dearest(
    fields: dict[str, object],
) -> None:
    assert cache_write_ttl(fields) == "1h"
