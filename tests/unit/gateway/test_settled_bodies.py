"""What a settlement is told by: usage, a model's answer, or a body that is neither."""

from typing import Any

import pytest
from tests.unit.gateway.two_phases import COST_NANO, USAGE, Open, code, end, held


@pytest.mark.parametrize(
    "answer", [{"usag": USAGE}, {"choices": "none"}, {"output_tokens": 5}, {"id": "x"}], ids=str
)
def test_a_body_without_usage_that_is_no_answer_leaves_the_hold_open(
    gate: Open, answer: dict[str, Any]
) -> None:
    opened = gate()
    hold = held(opened)
    full = opened.held_nano

    refused = end(opened, hold["hold_id"], answer=answer)

    assert code(refused) == (400, "invalid_request", "usage")
    assert (opened.spent_nano, opened.held_nano) == (0, full)
    assert end(opened, hold["hold_id"], usage=USAGE).body["changed"] is True
    assert opened.spent_nano == COST_NANO


@pytest.mark.parametrize("name", ["usage", "answer"])
def test_a_report_beside_custom_inputs_is_refused_and_leaves_the_hold_open(
    gate: Open, name: str
) -> None:
    opened = gate()
    hold = held(opened)
    own = {"operation": "settle", "hold_id": hold["hold_id"]}

    refused = opened.send({"messages": [], name: USAGE, "custom_inputs": own})

    assert code(refused) == (400, "invalid_request", name)
    assert opened.spent_nano == 0
    assert opened.held_nano > 0
