"""What can't be bounded or attributed is refused before money moves, naming the field."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.gateway.wire import CHAT, EMBEDDINGS, Host

CANARY = "CANARY-5d2f"
MESSAGES = [{"role": "user", "content": CANARY}]
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "f-1"}}


def nested(levels: int) -> object:
    value: object = CANARY
    for _ in range(levels):
        value = [value]
    return value


def user(part: object) -> list[object]:
    return [{"role": "user", "content": [{"type": "text", "text": CANARY}, part]}]


MALFORMED: list[tuple[dict[str, Any], str]] = [
    # The parts of a body that the money depends on.
    ({"messages": ...}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": CANARY}, "messages"),
    ({"messages": {"role": "user"}}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [CANARY]}, "messages[0]"),
    ({"messages": [{"content": CANARY}]}, "messages[0].role"),
    ({"messages": [{"role": 7, "content": CANARY}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [CANARY]}]}, "messages[0].content[0]"),
    ({"tools": CANARY}, "tools"),
    ({"tools": [CANARY]}, "tools[0]"),
    ({"n": 0}, "n"),
    ({"n": 10**6}, "n"),
    ({"n": "2"}, "n"),
    ({"best_of": -1}, "best_of"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 10**12}, "max_tokens"),
    ({"max_tokens": float("nan")}, "max_tokens"),
    ({"max_tokens": float("inf")}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": "100"}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"stream": "yes"}, "stream"),
    # Who pays.
    ({"custom_inputs": CANARY}, "custom_inputs"),
    ({"own": {"agent": f"{CANARY}\n"}}, "custom_inputs.agent"),
    ({"own": {"agent": "\x00"}}, "custom_inputs.agent"),
    ({"own": {"agent": "\ud800"}}, "custom_inputs.agent"),
    ({"own": {"agent": CANARY * 1000}}, "custom_inputs.agent"),
    ({"own": {"agent": "*"}}, "custom_inputs.agent"),
    ({"own": {"agent": " "}}, "custom_inputs.agent"),
    ({"own": {"agent": 7}}, "custom_inputs.agent"),
    ({"own": {"agent": [CANARY]}}, "custom_inputs.agent"),
    ({"own": {"agnet": CANARY}}, "custom_inputs.agnet"),
    ({"own": {"tags": [CANARY]}}, "custom_inputs.tags"),
    ({"own": {"tags": {"a": 7}}}, "tags.a"),
    ({"own": {"tags": {str(one): "x" for one in range(17)}}}, "custom_inputs.tags"),
    ({"own": {"idempotency_key": ""}}, "custom_inputs.idempotency_key"),
    ({"own": {"idempotency_key": 7}}, "custom_inputs.idempotency_key"),
    ({"own": {"idempotency_key": "k" * 256}}, "custom_inputs.idempotency_key"),
    # Which model.
    ({"own": {"model": None}}, "model"),
    ({"own": {"model": ""}}, "custom_inputs.model"),
    ({"own": {"model": ["big"]}}, "custom_inputs.model"),
    ({"own": {"model": "m" * 257}}, "custom_inputs.model"),
    # Where ours and the upstream's meet.
    ({"own": {"extra_body": CANARY}}, "custom_inputs.extra_body"),
    ({"own": {"extra_body": {"max_tokens": 9}}}, "custom_inputs.extra_body.max_tokens"),
    ({"own": {"extra_body": {"model": "small"}}}, "custom_inputs.extra_body.model"),
    ({"own": {"extra_body": {"custom_inputs": {}}}}, "custom_inputs.extra_body.custom_inputs"),
    ({"own": {"extra_body": {"n": 0}}}, "n"),
    # What has no bound.
    ({"messages": user(IMAGE)}, "messages[0].content[1]"),
    ({"messages": user(AUDIO)}, "messages[0].content[1]"),
    ({"messages": user(FILE)}, "messages[0].content[1]"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"metadata": nested(70)}, "metadata"),
    ({"messages": [{"role": "user", "content": None, "x": nested(70)}]}, "messages"),
    ({"own": {"extra_body": {"deep": nested(70)}}}, "deep"),
]


@pytest.mark.parametrize("host", Host)
@pytest.mark.parametrize(("fields", "param"), MALFORMED, ids=lambda value: str(value)[:40])
def test_a_malformed_request_is_refused_by_field_without_a_call_or_a_hold(
    gate: Callable[..., Any], host: Host, fields: dict[str, Any], param: str
) -> None:
    opened = gate()

    reply = opened.chat(host=host, **{"messages": MESSAGES, **fields})

    assert (reply.status, reply.body["error"]["code"]) == (400, "invalid_request")
    assert reply.body["error"]["param"] == param
    assert reply.body["error_code"] == "INVALID_REQUEST"
    assert reply.body["retryable"] is False
    assert CANARY not in str(reply.body)
    assert opened.upstream.bodies == []
    assert opened.ledger.balances() == []
    assert opened.events == []


@pytest.mark.parametrize("levels", [100, 5000])
def test_nesting_without_end_is_refused_and_not_followed(
    gate: Callable[..., Any], levels: int
) -> None:
    opened = gate()

    reply = opened.gateway.handle(
        CHAT,
        {
            "messages": [{"role": "user", "content": "hi", "x": nested(levels)}],
            "custom_inputs": {"model": "big", "idempotency_key": "k"},
        },
        host=Host.ENDPOINT,
    )

    assert (reply.status, reply.body["error"]["param"]) == (400, "messages")


@pytest.mark.parametrize("value", [None, "", [], 7, {"text": "x"}])
def test_an_embedding_needs_an_input(gate: Callable[..., Any], value: object) -> None:
    opened = gate()
    body = {"input": value, "custom_inputs": {"model": "embed"}}

    reply = opened.send(body, route=EMBEDDINGS)

    assert (reply.status, reply.body["error"]["param"]) == (400, "input")


def test_a_scope_in_a_header_is_checked_like_one_in_the_body(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(host=Host.ASGI, headers={"x-spend-agent": "a" * 10_000})

    assert (reply.status, reply.body["error"]["param"]) == (400, "custom_inputs.agent")


def test_an_idempotency_key_in_a_header_is_checked(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(host=Host.ASGI, headers={"idempotency-key": "k" * 1000})

    assert (reply.status, reply.body["error"]["param"]) == (400, "idempotency-key")


def test_an_image_is_accepted_under_a_cap_and_costs_it(gate: Callable[..., Any]) -> None:
    opened = gate(models={"big": {"image_tokens": 1000}})

    with_image = opened.chat(messages=user(IMAGE))

    assert with_image.status == 200
    # 1,000 tokens at $3 per million are $0.003, on top of the text's own bound.
    assert float(with_image.body["spend"]["reserved_usd"]) > 0.003 + 100 * 15e-6


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scopeType": "planet", "scopeKey": "x"}, "scopeType"),
        ({"scopeType": ["agent"], "scopeKey": "x"}, "scopeType"),
        ({"scopeType": "agent"}, "scopeKey"),
        ({"scopeType": "agent", "scopeKey": 7}, "scopeKey"),
        ({"scopeKey": "x"}, "scopeType"),
        ({"prompt": CANARY}, "scopeType"),
        ({"prompt": 7, "scopeType": "agent", "scopeKey": "x"}, "prompt"),
        ({"prompt": "", "scopeType": "agent", "scopeKey": "x"}, "prompt"),
        ({"messages": MESSAGES, "scopeType": "agent", "scopeKey": "x"}, "prompt"),
        ({"prompt": None, "scopeType": "agent", "scopeKey": "x"}, "prompt"),
        ({"modelId": 7, "scopeType": "agent", "scopeKey": "x"}, "modelId"),
        ({"modelId": " ", "scopeType": "agent", "scopeKey": "x"}, "modelId"),
        ({"modelId": "m" * 257, "scopeType": "agent", "scopeKey": "x"}, "modelId"),
        ({"modelId": None, "scopeType": "agent", "scopeKey": "x"}, "modelId"),
    ],
)
def test_a_seed_request_that_cant_be_attributed_is_refused(
    gate: Callable[..., Any], fields: dict[str, object], param: str
) -> None:
    opened = gate()

    reply = opened.send({"prompt": CANARY, "modelId": "big", **fields})

    assert (reply.status, reply.body["error"]["param"]) == (400, param)
    assert CANARY not in str(reply.body)
    assert opened.upstream.bodies == []


def test_a_seed_request_is_served_like_a_chat(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(scope={"agent": "*"}))

    reply = opened.send(
        {
            "prompt": "hi",
            "scopeType": "agent",
            "scopeKey": "triage",
            "modelId": "big",
            "tools": ["lookup"],
        }
    )

    assert reply.status == 200
    assert reply.body["spend"]["budgets"][0]["scope"] == "agent:triage"
    (sent,) = opened.upstream.bodies
    assert sent["messages"] == [{"role": "user", "content": "hi"}]
    assert sent["tools"][0]["function"]["name"] == "lookup"
    assert not {"prompt", "scopeType", "scopeKey", "modelId"} & set(sent)


def test_seed_fields_that_are_null_leave_a_chat_as_it_is(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.send(
        {
            "messages": [{"role": "user", "content": "hi"}],
            "prompt": None,
            "scopeType": None,
            "scopeKey": None,
            "modelId": None,
            "custom_inputs": {"model": "big"},
        }
    )

    assert reply.status == 200
    assert reply.body["spend"]["budgets"][0]["scope"] == "user:anonymous"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("top_p", {}),
        ("presence_penalty", True),
        ("stop", 5),
        ("logit_bias", "x"),
        ("response_format", []),
        ("usage_context", "x"),
    ],
)
def test_a_field_of_another_type_is_named_and_nothing_is_sent(
    gate: Callable[..., Any], field: str, value: object
) -> None:
    opened = gate()

    reply = opened.chat(**{field: value})

    assert reply.status == 400
    assert reply.body["error"]["code"] == "invalid_request"
    assert reply.body["error"]["param"] == field
    assert opened.upstream.bodies == []
    assert opened.held_nano == 0


def test_numbers_and_nulls_of_sampling_fields_pass(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(temperature=0, top_p=0.5, stop=["x"], logit_bias=None, stream_options=None)

    assert reply.status == 200
