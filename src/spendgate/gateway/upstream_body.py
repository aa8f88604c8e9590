"""The body that goes upstream: the client's own, but for what the policy changes."""

from collections.abc import Mapping, Sequence

from spendgate.gateway.json_object import json_list, json_object
from spendgate.gateway.wire import CHAT, EMBEDDINGS, MAX_TOKENS_FIELDS, RESPONSES, Call

_CHAT_FIELDS = frozenset({"max_tokens", "max_completion_tokens"})
_OFFERS = (
    ("tools", "tool_choice", ("parallel_tool_calls",)),
    ("functions", "function_call", ()),  # the form before tools; servers still read it
)
"""Where a body lists tools, where it chooses one, and what else it says of them."""


def upstream_body(
    call: Call,
    model: str,
    tokens: int,
    tools_disabled: Sequence[str],
    scopes: Mapping[str, str],
    hold_id: str,
) -> dict[str, object]:
    """Return what is sent upstream.

    The granted `max_tokens` is always there, under the name the client used; `usage_context` and
    `client_request_id` let Databricks' own tables be joined with the ledger.
    """
    body = dict(call.body)
    body["model"] = model
    if call.route == CHAT:
        used = {name for name in MAX_TOKENS_FIELDS if body.get(name) is not None}
        if not used & _CHAT_FIELDS:
            used.add("max_tokens")  # a chat server may not know the Responses API's name
        body |= dict.fromkeys(used, tokens)
    elif call.route == RESPONSES:
        used = {name for name in MAX_TOKENS_FIELDS if body.get(name) is not None}
        body |= dict.fromkeys({*used, "max_output_tokens"}, tokens)
    if tools_disabled and call.route != EMBEDDINGS:
        drop_tools(body, frozenset(tools_disabled))
    if call.is_stream and call.route == CHAT:
        options = json_object(body.get("stream_options"))
        body["stream_options"] = {**options, "include_usage": True}
    body["usage_context"] = {**json_object(body.get("usage_context")), **scopes}
    body["client_request_id"] = hold_id
    return body


def offers_tools(body: Mapping[str, object]) -> bool:
    """Tell whether a body has a list of tools."""
    return any(tools in body for tools, _, _ in _OFFERS)


def drop_tools(body: dict[str, object], disabled: frozenset[str]) -> bool:
    """Take tools out of a body, and what is said about them; return whether it had any."""
    has_any = False
    for tools, choice, more in _OFFERS:
        offered = json_list(body.get(tools))
        kept = [one for one in offered if not (_names(one) & disabled)]
        if len(kept) == len(offered):
            continue
        has_any = True
        if kept:
            body[tools] = kept
        dropped = () if kept else (tools, *more)
        if not kept or _names(body.get(choice)) & disabled:
            dropped = (*dropped, choice)
        for name in dropped:
            body.pop(name, None)
    return has_any


def _names(tool: object) -> set[object]:
    """Return what a tool is called: its function's name, or its type for a server-side tool."""
    entry = json_object(tool)
    found = (json_object(entry.get("function")).get("name"), entry.get("name"), entry.get("type"))
    return {name for name in found if isinstance(name, str)}
