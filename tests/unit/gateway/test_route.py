"""Which of a model's APIs a body is for, where no path says it."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.gateway.route import BY_MODEL, route_of
from spendgate.gateway.wire import CHAT, EMBEDDINGS, RESPONSES


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({}, CHAT),
        ({"messages": []}, CHAT),
        ({"prompt": "a"}, CHAT),
        ({"messages": [], "input": "a"}, CHAT),
        ({"input": "a"}, BY_MODEL),
        ({"input": "a", "custom_inputs": {}, "user": "u"}, BY_MODEL),
        ({"input": "a", "tools": None}, BY_MODEL),
        ({"input": "a", "instructions": "b"}, RESPONSES),
        ({"input": "a", "max_output_tokens": 5}, RESPONSES),
        ({"input": "a", "stream": True}, RESPONSES),
        ({"input": [{"role": "user", "content": "a"}]}, RESPONSES),
        ({"input": "a", "dimensions": 8}, EMBEDDINGS),
        ({"input": ["a", "b"]}, EMBEDDINGS),
        ({"input": [1, 2]}, EMBEDDINGS),
        ({"input": [[1, 2]]}, EMBEDDINGS),
        ({"input": []}, EMBEDDINGS),
    ],
    ids=str,
)
def test_a_body_tells_its_route(body: dict[str, object], route: str) -> None:
    assert route_of(body) == route


@pytest.mark.parametrize(
    ("model", "route"),
    [("big", RESPONSES), ("embed", EMBEDDINGS), ("auto", RESPONSES), ("unknown", None)],
)
def test_where_it_does_not_the_kind_of_its_model_does(
    gate: Callable[..., Any], model: str, route: str | None
) -> None:
    router = {"strategy": "priority", "candidates": ["big"]}
    opened = gate(router=router)
    body = {"input": "hi", "custom_inputs": {"model": model, "user": "alice"}}

    reply = opened.send(body, route=BY_MODEL)

    if route is None:
        assert reply.body["error"]["code"] == "model_not_priced"
    else:
        assert opened.upstream.routes == [route]


def test_a_hold_finds_its_route_too(gate: Callable[..., Any]) -> None:
    opened = gate()
    own = {"model": "big", "user": "alice", "operation": "reserve"}

    held = opened.send({"input": "hi", "custom_inputs": own}, route=BY_MODEL)

    assert held.body["body"]["max_output_tokens"] == held.body["max_tokens"]


def test_without_rules_it_fails_closed(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.failing.break_down("policies", "reserve", "policy_version")

    reply = opened.send({"input": "hi", "custom_inputs": {"model": "big"}}, route=BY_MODEL)

    assert reply.status == 503
