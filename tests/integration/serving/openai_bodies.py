"""Generated OpenAI bodies and answers that a gate may pass on: every kind of field, odd values."""

from typing import Any

from hypothesis import strategies as st

from spendgate.serving.signature import FIELDS

IMAGE_TOKENS = AUDIO_TOKENS = FILE_TOKENS = 1_500
"""What the policy under test lets media cost, so that parts with media pass."""

TOKENS_MIN = 4_000
"""Every output wish is above any thinking budget here, so that no call is refused for it."""

# Half of a surrogate pair is JSON too, and clients send it where they cut a text.
texts = st.text(st.characters(exclude_categories=()), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
# A prefix, so that no word in a name says that this is an image or a file.
unknown_fields = st.dictionaries(texts.map("x_{}".format), json_values, max_size=2)


def object_of(required: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    """Make objects with some of the optional fields, and with fields that nobody knows."""
    known = st.fixed_dictionaries(required, optional=optional or {})
    return st.builds(lambda one, more: {**one, **more}, known, unknown_fields)


cache_marks = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
parts = st.one_of(
    object_of({"type": st.just("text"), "text": texts}, {"cache_control": cache_marks}),
    object_of(
        {
            "type": st.just("image_url"),
            "image_url": st.just({"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}),
        }
    ),
    st.just({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
    st.just({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}),
    object_of({"type": st.just("reasoning"), "summary": st.lists(json_values, max_size=2)}),
)
functions = object_of({"name": texts, "arguments": st.sampled_from(["", "{}", '{"a": [1.50]}'])})
tool_calls = object_of({"id": texts, "type": st.just("function"), "function": functions})
messages = st.one_of(
    object_of(
        {
            "role": st.sampled_from(["system", "developer", "user"]),
            "content": texts | st.lists(parts, min_size=1, max_size=3),
        },
        {"name": st.none() | texts},
    ),
    object_of(
        {"role": st.just("assistant"), "content": st.none() | texts},
        {
            "tool_calls": st.lists(tool_calls, max_size=2),
            "reasoning_content": texts,
            "refusal": st.none() | texts,
        },
    ),
    object_of({"role": st.just("tool"), "tool_call_id": texts, "content": texts}),
)
tools = object_of(
    {
        "type": st.just("function"),
        "function": object_of(
            {"name": texts, "parameters": st.dictionaries(texts, json_values, max_size=3)},
            {"description": texts, "strict": st.none() | st.booleans()},
        ),
    }
)
flags = st.none() | st.booleans()
# What the gate reads has values it takes; whatever else the signature lists may be any JSON.
CHECKED: dict[str, Any] = {
    "tools": st.none() | st.lists(tools, max_size=3),
    "tool_choice": st.sampled_from(["auto", "none", "required"]) | object_of({}),
    "response_format": st.none() | object_of({"type": st.just("json_schema")}),
    "temperature": st.none() | numbers,
    "top_p": st.none() | numbers,
    "presence_penalty": st.none() | numbers,
    "frequency_penalty": st.none() | numbers,
    "logit_bias": st.none() | st.dictionaries(texts, numbers, max_size=3),
    "stop": st.none() | texts | st.lists(texts, max_size=3),
    "n": st.none() | st.integers(1, 3),
    "best_of": st.none() | st.integers(1, 3),
    "max_tokens": st.none() | st.integers(TOKENS_MIN, 10**6),
    "max_completion_tokens": st.none() | st.integers(TOKENS_MIN, 10**6),
    "max_output_tokens": st.none() | st.integers(TOKENS_MIN, 10**6),
    "min_tokens": st.none() | st.integers(0, 100),
    "thinking": st.just({"type": "enabled", "budget_tokens": 1024}) | st.just({"type": "disabled"}),
    "reasoning": st.none() | object_of({"effort": texts}),
    "stream": st.none() | st.just(False),
    "stream_options": st.none() | object_of({}),
    "usage_context": st.none() | st.dictionaries(texts.map("x_{}".format), texts, max_size=2),
    "client_request_id": st.none() | texts,
    "service_tier": st.sampled_from([None, "auto", "default"]),
    "modalities": st.sampled_from([None, [], ["text"]]),
    "chat_template_kwargs": st.none()
    | st.dictionaries(texts.map("x_{}".format), st.none() | st.booleans() | texts | numbers),
    **dict.fromkeys(
        # Refused when they are set: domain.unbounded says why.
        (
            *("audio", "chat_template", "enable_safety_filter", "extra_params", "moderation"),
            *("media_io_kwargs", "mm_processor_kwargs", "prediction", "web_search_options"),
            *("background", "context_management", "conversation", "previous_response_id"),
            *("cachedContent", "cached_content"),
        ),
        flags.filter(lambda flag: not flag),
    ),
    "prompt_cache_options": st.none() | object_of({"ttl": st.sampled_from([None, "5m", "30m"])}),
}
NOT_SENT = {"custom_inputs", "model", "prompt", "input", "modelId", "scopeKey", "scopeType"}
"""Columns that belong to other forms, or that the doors fill themselves."""

ANY_JSON = sorted(set(FIELDS) - set(CHECKED) - NOT_SENT)
chat_bodies = st.builds(
    lambda spoken, checked, others: {"messages": spoken, **checked, **others},
    st.lists(messages, min_size=1, max_size=4),
    st.fixed_dictionaries({}, optional=CHECKED),
    st.dictionaries(st.sampled_from(ANY_JSON), json_values, max_size=6),
)

token_ids = st.lists(st.integers(0, 200_000), min_size=1, max_size=4)
embedding_bodies = st.fixed_dictionaries(
    {
        "input": st.one_of(
            texts.filter(bool),
            st.lists(texts.filter(bool), min_size=1, max_size=3),
            token_ids,
            st.lists(token_ids, min_size=1, max_size=2),
        )
    },
    optional={
        "dimensions": st.integers(1, 3072),
        "encoding_format": st.sampled_from(["float", "base64"]),
        "instruction": st.none() | texts,
        "input_type": texts,
        "user": texts,
    },
)

logprobs = object_of({"token": texts, "logprob": numbers, "bytes": st.none() | token_ids})
answered = object_of(
    {"role": st.just("assistant"), "content": st.none() | texts | st.lists(parts, max_size=2)},
    {
        "tool_calls": st.lists(tool_calls, max_size=2),
        "reasoning_content": st.none() | texts,
        "refusal": st.none() | texts,
        "annotations": st.lists(json_values, max_size=2),
    },
)
usages = object_of(
    {"prompt_tokens": st.integers(1, 500), "completion_tokens": st.integers(0, 500)},
    {"prompt_tokens_details": object_of({"cached_tokens": st.just(0)})},
)
answers = object_of(
    {
        "choices": st.lists(
            object_of(
                {"index": st.integers(0, 2), "message": answered, "finish_reason": st.just("stop")},
                {"logprobs": st.none() | st.fixed_dictionaries({"content": st.lists(logprobs)})},
            ),
            max_size=2,
        ),
        "usage": usages,
    },
    {"id": texts, "object": texts, "created": st.integers(), "model": texts},
)
