"""What goes upstream: the client's body, a number of tokens, and what joins the tables."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.gateway.wire import EMBEDDINGS

TOOLS = [
    {"type": "function", "function": {"name": "web_search", "parameters": {}}},
    {"type": "function", "function": {"name": "lookup", "parameters": {}}},
]


def test_a_call_without_a_number_gets_the_default(gate: Callable[..., Any]) -> None:
    opened = gate(defaults={"max_output_tokens": 300})

    reply = opened.chat(max_tokens=...)

    assert opened.upstream.bodies[0]["max_tokens"] == 300
    assert reply.body["spend"]["max_tokens_granted"] == 300
    assert reply.body["spend"]["max_tokens_source"] == "default"


def test_without_a_policy_default_the_setting_holds(gate: Callable[..., Any]) -> None:
    opened = gate(default_max_tokens=77)

    opened.chat(max_tokens=None)

    assert opened.upstream.bodies[0]["max_tokens"] == 77


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_tokens": 50}, {"max_tokens": 50}),
        ({"max_tokens": 50.0}, {"max_tokens": 50}),
        ({"max_tokens": ..., "max_completion_tokens": 60}, {"max_completion_tokens": 60}),
        (
            {"max_tokens": 50, "max_completion_tokens": 60},
            {"max_tokens": 50, "max_completion_tokens": 50},
        ),
        # A chat server may not know the Responses API's name, and would answer without end.
        (
            {"max_tokens": ..., "max_output_tokens": 70},
            {"max_tokens": 70, "max_output_tokens": 70},
        ),
    ],
)
def test_the_number_is_sent_under_the_names_the_client_used(
    gate: Callable[..., Any], fields: dict[str, Any], sent: dict[str, int]
) -> None:
    opened = gate()

    reply = opened.chat(**fields)

    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    body = opened.upstream.bodies[0]
    assert {name: body[name] for name in names if name in body} == sent
    assert reply.body["spend"]["max_tokens_source"] == "client"
    assert reply.body["spend"]["max_tokens_granted"] == min(sent.values())


def test_a_models_ceiling_clips_the_number(gate: Callable[..., Any]) -> None:
    opened = gate(models={"mid": {"max_output_tokens": 40}})

    opened.chat(max_tokens=5000, own={"model": "short"})
    opened.chat(max_tokens=5000, own={"model": "mid"})
    opened.chat(max_tokens=5000)

    assert [body["max_tokens"] for body in opened.upstream.bodies] == [100, 40, 5000]


@pytest.mark.parametrize("field", ["n", "best_of"])
def test_every_choice_is_held(gate: Callable[..., Any], field: str) -> None:
    opened = gate()

    one = opened.chat(max_tokens=1000).body["spend"]["reserved_usd"]
    four = opened.chat(max_tokens=1000, **{field: 4}).body["spend"]["reserved_usd"]

    assert opened.upstream.bodies[1][field] == 4
    assert float(four) - float(one) == pytest.approx(3 * 1000 * 15e-6)


def test_ours_is_not_sent_and_the_rest_is_untouched(gate: Callable[..., Any]) -> None:
    opened = gate()
    fields = {
        "temperature": 0.3,
        "response_format": {"type": "json_object"},
        "an_unknown_field": {"a": [1, None, "é"]},
    }

    opened.chat(**fields, own={"tags": {"team": "x"}, "session": "s-1"})

    sent = opened.upstream.bodies[0]
    assert sent.pop("usage_context") == {"user": "alice", "session": "s-1"}
    assert sent.pop("client_request_id") == "call-1#1"
    assert sent == {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "big",
        "max_tokens": 100,
        **fields,
    }


def test_a_usage_context_of_the_client_is_kept_under_ours(gate: Callable[..., Any]) -> None:
    opened = gate()

    opened.chat(usage_context={"project": "p", "user": "mallory"}, client_request_id="mine")

    sent = opened.upstream.bodies[0]
    assert sent["usage_context"] == {"project": "p", "user": "alice"}
    assert sent["client_request_id"] == "call-1#1"


def test_extra_body_is_merged_into_the_upstreams_body(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat(max_tokens=..., own={"extra_body": {"top_k": 5, "max_tokens": 30}})

    sent = opened.upstream.bodies[0]
    assert (sent["top_k"], sent["max_tokens"]) == (5, 30)
    assert reply.body["spend"]["max_tokens_source"] == "client"


def test_the_clients_body_is_not_changed(gate: Callable[..., Any]) -> None:
    opened = gate()
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "custom_inputs": {"model": "big", "extra_body": {"top_k": 5}},
    }
    before = repr(body)

    opened.send(body)

    assert repr(body) == before


def test_an_embedding_has_no_output_to_limit(gate: Callable[..., Any], answer: Any) -> None:
    opened = gate()
    opened.upstream.script.append(answer({"prompt_tokens": 8, "total_tokens": 8}))

    reply = opened.send({"input": "text", "custom_inputs": {"model": "embed"}}, route=EMBEDDINGS)

    assert reply.body["spend"]["cost_usd"] == "0.000000800"
    assert reply.body["spend"]["max_tokens_granted"] == 0
    assert opened.upstream.routes == [EMBEDDINGS]
    assert "max_tokens" not in opened.upstream.bodies[0]


@pytest.fixture
def soft_gate(gate: Callable[..., Any], budget: Callable[..., Any]) -> Any:
    """A gate past its soft cap, whose budget disables web_search."""
    return gate(budget(soft_cap=0.0001, disable_tools=["web_search"]))


def test_a_disabled_tool_is_dropped_at_the_soft_cap(soft_gate: Any) -> None:
    choice = {"type": "function", "function": {"name": "web_search"}}

    reply = soft_gate.chat(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)

    sent = soft_gate.upstream.bodies[0]
    assert sent["tools"] == [TOOLS[1]]
    assert "tool_choice" not in sent
    assert sent["parallel_tool_calls"] is False
    assert reply.body["spend"]["tools_disabled"] == ["web_search"]


def test_a_choice_of_a_tool_that_stays_is_kept(soft_gate: Any) -> None:
    choice = {"type": "function", "function": {"name": "lookup"}}

    soft_gate.chat(tools=TOOLS, tool_choice=choice)

    assert soft_gate.upstream.bodies[0]["tool_choice"] == choice


def test_without_a_tool_left_no_choice_is_sent(soft_gate: Any) -> None:
    soft_gate.chat(tools=TOOLS[:1], tool_choice="required", parallel_tool_calls=True)

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(soft_gate.upstream.bodies[0])


def test_a_disabled_function_of_the_old_form_is_dropped(soft_gate: Any) -> None:
    functions = [{"name": "web_search"}, {"name": "lookup"}]

    soft_gate.chat(functions=functions, function_call={"name": "web_search"})

    sent = soft_gate.upstream.bodies[0]
    assert sent["functions"] == [{"name": "lookup"}]
    assert "function_call" not in sent


def test_before_the_soft_cap_all_tools_stay(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(disable_tools=["web_search"]))

    reply = opened.chat(tools=TOOLS)

    assert opened.upstream.bodies[0]["tools"] == TOOLS
    assert reply.body["spend"]["tools_disabled"] == []


def test_a_thinking_budget_must_be_inside_max_tokens(gate: Callable[..., Any]) -> None:
    opened = gate()
    thinking = {"type": "enabled", "budget_tokens": 2000}

    refused = opened.chat(max_tokens=2000, thinking=thinking)
    allowed = opened.chat(max_tokens=2001, thinking=thinking)

    assert (refused.status, refused.body["error"]["param"]) == (400, "thinking.budget_tokens")
    assert "at least 2001" in refused.body["error"]["message"]
    assert allowed.status == 200


def test_a_call_is_never_shrunk_below_its_thinking_budget(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    # $0.02 pays for about 1,300 tokens of output: enough for the call, too few for its thoughts.
    opened = gate(budget(limit_usd="0.02", min_output_tokens=100))

    fitted = opened.chat(max_tokens=4000)
    refused = opened.chat(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})

    assert fitted.body["spend"]["decision"] == "fit"
    assert refused.status == 402
    assert len(opened.upstream.bodies) == 1
