"""The model's signature: every request parameter we know, all optional, of any type.

MLflow drops a top-level field that isn't listed here, so the list is wide; what isn't listed
travels in `custom_inputs.extra_body`. Types are checked by the gateway, which can name the field.
"""

from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, Array, ColSpec, Schema, TensorSpec

# https://platform.openai.com/docs/api-reference/chat/create and openai-python's type stubs;
# `reasoning` is what other servers of this API call `reasoning_effort`.
_OPENAI_CHAT = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)

# https://platform.openai.com/docs/api-reference/embeddings/create; `instruction` is Databricks'
# (BGE, GTE), `input_type` that of other embedding servers.
_EMBEDDINGS = frozenset(
    [
        "dimensions",
        "encoding_format",
        "input",
        "input_type",
        "instruction",
    ]
)

# https://platform.openai.com/docs/api-reference/responses/create; some are listed only so that the
# gate refuses them by name, where MLflow would drop them and the call would mean something else.
_RESPONSES = frozenset(
    [
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "include",
        "instructions",
        "max_tool_calls",
        "previous_response_id",
        "text",
        "truncation",
    ]
)

# Foundation Model APIs reference (chat, completions and reasoning pages), and the fields that
# Databricks' clients and agent schemas add.
_DATABRICKS = frozenset(
    [
        "client_request_id",
        "context",
        "databricks_options",
        "enable_safety_filter",
        "enable_thinking",
        "extra_params",
        "max_output_tokens",
        "output_config",
        "thinking",
        "top_k",
        "usage_context",
        "use_raw_prompt",
    ]
)

# vLLM's ChatCompletionRequest (entrypoints/openai/chat_completion/protocol.py) beyond OpenAI's; the
# guided_* are what `structured_outputs` was called before 0.11.
_VLLM = frozenset(
    [
        "add_generation_prompt",
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "best_of",
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "continue_final_message",
        "documents",
        "echo",
        "guided_choice",
        "guided_decoding_backend",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "guided_whitespace_pattern",
        "ignore_eos",
        "include_reasoning",
        "include_stop_str_in_output",
        "kv_transfer_params",
        "length_penalty",
        "logits_processors",
        "logprob_token_ids",
        "media_io_kwargs",
        "min_p",
        "min_tokens",
        "mm_processor_kwargs",
        "priority",
        "prompt_logprobs",
        "repetition_penalty",
        "request_id",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "session_id",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "suffix",
        "thinking_token_budget",
        "top_a",
        "truncate_prompt_tokens",
        "truncation_side",
        "use_beam_search",
        "vllm_xargs",
    ]
)

# The source recipes' own request form; its `tools` is OpenAI's column.
_SEED_FORM = frozenset(
    [
        "modelId",
        "prompt",
        "scopeKey",
        "scopeType",
    ]
)

# Gemini's: listed so that what it keeps is refused by name, and its thinking is passed on.
_GEMINI = frozenset(["cachedContent", "cached_content", "google"])

# Ours; everything else of ours is inside `custom_inputs`. What a settlement has is listed so that
# it is refused beside it: MLflow would drop it, and the hold would be charged in full.
_OWN = frozenset(["answer", "custom_inputs", "usage"])

FIELDS = tuple(
    sorted(
        _OPENAI_CHAT | _RESPONSES | _EMBEDDINGS | _DATABRICKS | _VLLM | _GEMINI | _SEED_FORM | _OWN
    )
)
"""Every optional column but `messages`."""

INPUT_EXAMPLE = {
    "messages": [{"role": "user", "content": "Which plan fits a team of five?"}],
    "max_tokens": 400,
    "custom_inputs": {"model": "databricks-claude-haiku-4-5", "agent": "triage-bot"},
}

TASK_METADATA = {"task": "llm/v1/chat"}
"""Makes the endpoint a chat endpoint for Databricks' clients."""


def served_signature() -> ModelSignature:
    """Return the signature.

    `messages` is an array of anything: with no Array column at all, MLflow builds its DataFrame
    another way and refuses every request that has an object in it (`_enforce_schema`, 3.17).
    """
    columns: list[ColSpec | TensorSpec] = [ColSpec(Array(AnyType()), "messages", required=False)]
    columns += [ColSpec(AnyType(), name, required=False) for name in FIELDS]
    return ModelSignature(
        inputs=Schema(columns),
        outputs=Schema([ColSpec(AnyType(), "choices")]),
    )
