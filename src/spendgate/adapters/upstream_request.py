"""What is sent to a model server: its URL for a route, its own names, its way of telling who pays.

Databricks has two surfaces that don't mix (reference/databricks.md §2.4): the serving endpoints
read `usage_context` and `client_request_id` in the body, the AI Gateway reads a header of tags.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from spendgate.domain.upstream import UpstreamKind, UpstreamSpec, WorkspacePath
from spendgate.errors import HostError
from spendgate.gateway.json_object import json_object

TAGS_HEADER = "Databricks-Ai-Gateway-Request-Tags"
TAGS_BYTES_MAX = 4096
"""A server refuses headers of more than a few kilobytes, and with them the call."""

INVOCATION_ROUTES = frozenset({"chat/completions", "embeddings"})
_CONTEXT = ("usage_context", "client_request_id")


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One POST, but for the credentials."""

    url: str
    body: Mapping[str, object]
    headers: Mapping[str, str]


def shape_request(
    spec: UpstreamSpec, base: str, route: str, body: Mapping[str, object]
) -> UpstreamRequest:
    """Return what a server of this kind is sent for a route.

    Args:
        spec: the server.
        base: its URL: what `base_url` made of it, or the workspace's alone.
        route: such as `chat/completions`.
        body: as the gate made it, under the gate's names.
    """
    own = spec.own_name(str(body.get("model", "")))
    sent = {**body, "model": own} if "model" in body else dict(body)
    if spec.kind is UpstreamKind.OPENAI:
        if not spec.sends_usage_context:
            sent = _without(sent, *_CONTEXT)
        return UpstreamRequest(f"{base}/{route}", sent, {})
    if spec.path is WorkspacePath.AI_GATEWAY:
        tags = {TAGS_HEADER: _tags(sent)} if spec.sends_usage_context else {}
        return UpstreamRequest(
            f"{base}/ai-gateway/mlflow/v1/{route}", _without(sent, *_CONTEXT), tags
        )
    if not spec.sends_usage_context:
        sent = _without(sent, *_CONTEXT)
    if spec.path is WorkspacePath.INVOCATIONS and route in INVOCATION_ROUTES:
        url = f"{base}/serving-endpoints/{quote(own, safe='')}/invocations"
        return UpstreamRequest(url, _without(sent, "model"), {})  # the endpoint is the model
    return UpstreamRequest(f"{base}/serving-endpoints/{route}", sent, {})


def base_url(url: str, *, what: str = "--upstream") -> str:
    """Return the URL that routes are appended to; a bare host gets the usual `/v1`.

    Raises:
        HostError: if the text is no http(s) URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HostError(f"{what} must be a URL such as http://127.0.0.1:8000/v1, got {url!r}")
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"


def _without(body: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in body.items() if name not in names}


def _tags(body: Mapping[str, object]) -> str:
    """Write the tags as ASCII JSON of strings, as many as a header takes."""
    context = body.get("usage_context")
    # Ours first, and not to be replaced: by it the hold is found again.
    ours = {"client_request_id": body.get("client_request_id")}
    entries = {**ours, **json_object(context), **ours}
    tags: dict[str, str] = {}
    for name, value in entries.items():
        if not isinstance(value, str):
            continue
        if len(_compact({**tags, name: value})) <= TAGS_BYTES_MAX:
            tags[name] = value
    return _compact(tags)


def _compact(tags: Mapping[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=True, separators=(",", ":"))
