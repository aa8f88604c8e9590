"""Tools that budgets drop are neither sent nor paid for, and what is sent is held for in full."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.properties.test_gateway_properties import (
    Opened,
    budget,
    granted_tokens,
    open_gate,
)

from spendgate.domain.bound import input_tokens_max
from spendgate.domain.budget import Policy
from spendgate.gateway.ports import UpstreamAnswer, UpstreamNotSent

MODEL = "databricks-claude-sonnet-4-5"
LISTS = {"all": {"search", "browse"}, "day": {"browse", "count"}, "user": set[str]()}
"""What each budget drops; those of the first two from a tenth of a cent on."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """One gate whose budgets are past their soft caps for calls that expect to cost something."""
    rows = [
        budget(id=name, limit_usd=1000, soft_cap=0.000001, disable_tools=sorted(tools))
        for name, tools in LISTS.items()
    ]
    with open_gate(tmp_path_factory.mktemp("ledger"), Policy(budgets=tuple(rows))) as gate:
        yield gate


functions = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["search", "browse", "count", "look"]),
        "description": st.text(max_size=60),
    }
)
tools = st.one_of(
    functions.map(lambda one: {"type": "function", "function": one}),
    functions.map(lambda one: {"type": "function", **one}),
)


@given(
    offered=st.dictionaries(
        st.sampled_from(["tools", "functions"]), st.lists(tools | functions, max_size=4), max_size=2
    ),
    wanted=st.integers(1, 2000),
    output=st.integers(0, 100),
)
def test_what_is_sent_without_dropped_tools_costs_no_more_than_its_hold(
    opened: Opened, offered: dict[str, Any], wanted: int, output: int
) -> None:
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": wanted,
        **offered,
        "custom_inputs": {"model": MODEL, "user": "ann"},
    }
    opened.upstream.outcome = UpstreamNotSent("first, to see what is sent")
    first: Any = opened.chat(body).body["spend"]
    sent = opened.upstream.bodies[-1]

    used = input_tokens_max(sent)
    completion = granted_tokens(sent) * output // 100
    usage = {
        "prompt_tokens": used,
        "completion_tokens": completion,
        "total_tokens": used + completion,
    }
    opened.upstream.outcome = UpstreamAnswer(200, {"usage": usage})
    spend: Any = opened.chat(body).body["spend"]

    assert Decimal(spend["cost_usd"]) <= Decimal(spend["reserved_usd"])
    dropped = set(first["tools_disabled"])
    assert not dropped & {name for one in offered_names(sent) for name in one}
    # The same call without those tools holds the same, wherever the soft cap stands.
    bare = {name: value for name, value in body.items() if name not in offered}
    bare |= {name: value for name, value in sent.items() if name in offered}
    opened.upstream.outcome = UpstreamNotSent("once more, without them")
    again: Any = opened.chat(bare).body["spend"]
    if set(again["tools_disabled"]) == dropped:
        assert again["reserved_usd"] == first["reserved_usd"]
    assert opened.total("held_nano") == 0


def offered_names(body: dict[str, Any]) -> list[set[str]]:
    listed = [one for name in ("tools", "functions") for one in body.get(name) or []]
    return [{one.get("name"), one.get("function", {}).get("name")} - {None} for one in listed]
