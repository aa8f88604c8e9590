"""Short ways to reserve and end holds through a gate, for tests of both phases."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from spendgate.adapters.spend_token import mint_token
from spendgate.gateway.reply import Reply

Open = Callable[..., Any]
KEY = "a key that is long enough for HS256, really"
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
COST_NANO = 20 * 3_000 + 5 * 15_000  # big: 3 and 15 USD per million


def reserve(gate: Any, own: dict[str, Any] | None = None, **fields: Any) -> Reply:
    return gate.chat(own={"operation": "reserve", **(own or {})}, **fields)


def held(gate: Any, own: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    reply = reserve(gate, own, **fields)
    assert reply.status == 200, reply.body
    return reply.body


def end(
    gate: Any, hold_id: object, operation: str = "settle", headers: Any = None, **own: Any
) -> Reply:
    inputs = {"operation": operation, "hold_id": hold_id, **own}
    return gate.send({"custom_inputs": inputs}, headers=headers)


def token(**scopes: str) -> str:
    return mint_token(KEY, scopes, ttl_seconds=600, now=datetime.now(UTC))


def code(reply: Reply) -> tuple[int, str, str | None]:
    error: Any = reply.body["error"]
    return reply.status, error["code"], error["param"]
