"""Which of a model's APIs a body is for, where no path says it."""

from collections.abc import Mapping

from spendgate.gateway.wire import CHAT, EMBEDDINGS


def route_of(body: Mapping[str, object]) -> str:
    """Return the upstream route that a body is for."""
    has_chat = body.get("messages") is not None or body.get("prompt") is not None
    return EMBEDDINGS if body.get("input") is not None and not has_chat else CHAT
