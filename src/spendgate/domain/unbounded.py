"""What a request can ask for that no bound covers: refused by the name of its field.

A provider may read or write what isn't in the body, answer more often than `n` says, or serve at
a price that isn't in the book. Names that are not in these tables pass, as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from spendgate.domain.json_tree import children, fields, items

NESTING_MAX = 64
"""Deepest nesting of a field; real requests stay below 20, and parsers recurse."""

_WAY_OUT = "leave it out"
_OFF: tuple[object, ...] = (None, False, [])  # not `{}`, which switches web search on


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


@dataclass(frozen=True, slots=True)
class _Rule:
    """Why fields are refused, and the values of them that cost nothing."""

    reason: str
    harmless: tuple[object, ...]
    names: tuple[str, ...]


_RULES = (
    _Rule(f"audio output has its own price; {_WAY_OUT}", _OFF, ("audio",)),
    _Rule(f"a background answer is billed after the call; {_WAY_OUT}", _OFF, ("background",)),
    _Rule(f"a template can repeat the prompt without end; {_WAY_OUT}", _OFF, ("chat_template",)),
    _Rule(
        f"the provider adds what it finds or keeps; {_WAY_OUT}",
        _OFF,
        (
            *("assistant_id", "attachments", "connectors", "container", "conversation"),
            *("cachedContent", "cached_content", "data_sources", "enable_search", "file_ids"),
            *("grounding", "mcp_servers", "plugins"),
            *("previous_response_id", "retrieval", "search_parameters", "thread_id"),
            *("tool_resources", "vector_store_ids", "web_search", "web_search_options"),
        ),
    ),
    _Rule(
        f"it changes what an image costs; {_WAY_OUT}",
        _OFF,
        ("media_io_kwargs", "mm_processor_kwargs"),
    ),
    _Rule("only media inside messages can be counted; put it there", _OFF, ("images", "videos")),
    _Rule(f"rejected predicted tokens are billed as output; {_WAY_OUT}", _OFF, ("prediction",)),
    _Rule(
        f"what the provider sums up for it is billed beside the answer; {_WAY_OUT}",
        _OFF,
        ("context_management",),
    ),
    _Rule(
        f"another model checks the call at a price that isn't in the book; {_WAY_OUT}",
        _OFF,
        ("enable_safety_filter", "guardrails", "moderation"),
    ),
    # LiteLLM and OpenRouter read these; a retry or another model is a second, unheld bill.
    _Rule(
        f"a retry or another model needs a hold of its own; {_WAY_OUT}",
        _OFF,
        (
            *("content_policy_fallbacks", "context_window_fallbacks", "fallbacks", "max_retries"),
            *("model_list", "models", "num_retries", "preset", "provider", "route"),
        ),
    ),
    _Rule(
        "it multiplies the answers; use n",
        (*_OFF, 1),
        (
            *("beam_width", "candidateCount", "candidate_count", "n_cmpl", "num_beams"),
            *("num_completions", "num_generations", "num_return_sequences"),
        ),
    ),
    # llama.cpp lets n_predict win over max_tokens; -1 is "without end".
    _Rule(
        "it may allow more output than max_tokens; use max_tokens",
        _OFF,
        (
            *("maxOutputTokens", "max_gen_len", "max_length", "max_new_tokens"),
            *("max_tokens_to_sample", "n_predict", "num_predict"),
        ),
    ),
    # Gateways unpack these into the request, past every check.
    _Rule(
        "it can carry any other field; send those fields themselves",
        (*_OFF, {}),
        (
            *("additionalModelRequestFields", "additional_model_request_fields", "extra_body"),
            *("extra_headers", "extra_params", "extra_query", "generationConfig"),
            *("generation_config", "model_kwargs", "options", "parameters", "sampling_params"),
        ),
    ),
    _Rule(f"a beta can change the price; {_WAY_OUT}", _OFF, ("anthropic_beta", "betas")),
    _Rule(
        "its price is not in the book; use default or auto",
        (None, "auto", "default", "standard", "standard_only"),
        ("service_tier",),
    ),
    _Rule(f"only standard speed has a known price; {_WAY_OUT}", (None, "standard"), ("speed",)),
    _Rule(
        "another place has another price; choose it with SPENDGATE_GEO",
        (None, "global"),
        ("inference_geo",),
    ),
    _Rule(f"only text output has a known price; {_WAY_OUT}", (None, [], ["text"]), ("modalities",)),
)
_RULE_OF = {name: rule for rule in _RULES for name in rule.names}
_KEPT_BY_GOOGLE = {"cachedContent", "cached_content"}

_CLIENT_TOOLS = ("function", "custom")
# What else a tool object may switch on, as Gemini's `googleSearch`; compared without underscores.
_HOSTED_TOOLS = frozenset(
    {
        *("codeexecution", "computeruse", "enterprisewebsearch", "filesearch", "googlemaps"),
        *("googlesearch", "googlesearchretrieval", "mcp", "retrieval", "urlcontext", "websearch"),
    }
)

# Items of a Responses input that hold all they stand for, and typed parts of an embedding's input;
# what media cost is looked at elsewhere.
_WHOLE_ITEMS = frozenset(
    {
        *("custom_tool_call", "custom_tool_call_output", "function_call", "function_call_output"),
        *("audio_url", "file", "image", "image_url", "input_audio", "input_file", "input_image"),
        *("input_text", "message", "output_text", "reasoning", "refusal", "text", "video_url"),
    }
)
_CONTAINERS = (dict, list)  # a tuple: against a union, isinstance takes three times as long
_TEMPLATE_SCALARS = (str, int, float, bool, type(None))
_TEMPLATE_NAMES = frozenset({"chat_template", "conversation", "documents", "messages", "tools"})


def refuse_unbounded(body: Mapping[str, object]) -> None:
    """Refuse what lets a call cost more than its text and its `max_tokens`.

    Raises `UnboundedError`, naming the field and the way out. Media inside messages are not looked
    at here, they may have a cap; nor is nesting, see `refuse_deep_nesting`.
    """
    for name, value in body.items():
        rule = _RULE_OF.get(name)
        if rule is not None and value not in rule.harmless:
            raise UnboundedError(name, rule.reason)
    if isinstance(body.get("prompt"), dict):
        raise UnboundedError("prompt", f"the template is kept by the provider; {_WAY_OUT}")
    google = fields(body.get("google"))  # what Gemini's OpenAI form can't say otherwise
    for name in _KEPT_BY_GOOGLE & google.keys():
        rule = _RULE_OF[name]
        if google[name] not in rule.harmless:
            raise UnboundedError(f"google.{name}", rule.reason)
    if fields(body.get("reasoning")).get("mode") not in (None, "standard"):
        raise UnboundedError("reasoning.mode", f"its price is not in the book; {_WAY_OUT}")
    _refuse_server_tools("tools", body.get("tools"))
    _refuse_kept_items(body)
    _refuse_template_arguments(body)


def refuse_deep_nesting(body: Mapping[str, object]) -> None:
    """Refuse a field that is nested beyond `NESTING_MAX`.

    Raises `UnboundedError`.
    """
    if not _is_deep(body):
        return
    # Two steps, because only a body that is refused needs the name of the field.
    name = next(name for name, value in body.items() if _is_deep({name: value}))
    # The client chose the name: an odd or endless one is not echoed.
    field = name if name.isidentifier() and len(name) <= NESTING_MAX else "a field"
    raise UnboundedError(field, f"it is nested deeper than {NESTING_MAX} levels")


def _is_deep(body: Mapping[str, object]) -> bool:
    level: list[object] = [body]
    for _ in range(NESTING_MAX + 1):
        level = [
            child for node in level for child in children(node) if isinstance(child, _CONTAINERS)
        ]
        if not level:
            return False
    return True


def _refuse_server_tools(path: str, tools: object) -> None:
    for index, tool in enumerate(items(tools)):
        place = f"{path}[{index}]"
        entry = fields(tool)
        if entry.get("type") == "namespace":
            _refuse_server_tools(f"{place}.tools", entry.get("tools"))
        elif _is_server_tool(entry):
            reason = f"the provider runs this tool and adds what it answers; {_WAY_OUT}"
            raise UnboundedError(place, reason)


def _is_server_tool(tool: Mapping[str, object]) -> bool:
    if any(name.replace("_", "").lower() in _HOSTED_TOOLS for name in tool):
        return True
    kind = tool.get("type")
    if kind is not None:
        return kind not in _CLIENT_TOOLS
    # Claude's own form of a client tool has a name and no type; an odd tool is nobody's.
    return bool(tool) and "name" not in tool and "function" not in tool


def _refuse_kept_items(body: Mapping[str, object]) -> None:
    for index, item in enumerate(items(body.get("input"))):
        if not isinstance(item, dict):
            continue
        entry = fields(cast(object, item))
        kind = entry.get("type")
        # Without a type it is a message, or a reference by its id alone.
        is_message = "id" not in entry or {"role", "content"} <= entry.keys()
        is_whole = isinstance(kind, str) and kind in _WHOLE_ITEMS
        if not (is_message if kind is None else is_whole):
            reason = "the provider keeps what this item stands for; send the items themselves"
            raise UnboundedError(f"input[{index}]", reason)


def _refuse_template_arguments(body: Mapping[str, object]) -> None:
    given = body.get("chat_template_kwargs")
    for name, value in fields(given).items():
        if name in _TEMPLATE_NAMES or not isinstance(value, _TEMPLATE_SCALARS):
            reason = "a template can repeat it without end; send a text, a number or a boolean"
            raise UnboundedError("chat_template_kwargs", reason)
