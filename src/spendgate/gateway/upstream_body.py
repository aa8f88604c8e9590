"""The body that goes upstream: the client's own, but for what the policy changes."""

from collections.abc import Mapping, Sequence

from spendgate.gateway.json_object import json_list, json_object
from spendgate.gateway.wire import CHAT, MAX_TOKENS_FIELDS, Call


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
        used = [name for name in MAX_TOKENS_FIELDS if body.get(name) is not None]
        for name in used or ["max_tokens"]:
            body[name] = tokens
        if tools_disabled:
            _drop_tools(body, frozenset(tools_disabled))
    body["usage_context"] = {**json_object(body.get("usage_context")), **scopes}
    body["client_request_id"] = hold_id
    return body


def _drop_tools(body: dict[str, object], disabled: frozenset[str]) -> None:
    tools = json_list(body.get("tools"))
    kept = [one for one in tools if not (_names(one) & disabled)]
    if not kept:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(name, None)
        return
    body["tools"] = kept
    if _names(body.get("tool_choice")) & disabled:
        body.pop("tool_choice", None)


def _names(tool: object) -> set[object]:
    """Return what a tool is called: its function's name, or its type for a server-side tool."""
    entry = json_object(tool)
    found = (json_object(entry.get("function")).get("name"), entry.get("name"), entry.get("type"))
    return {name for name in found if isinstance(name, str)}
