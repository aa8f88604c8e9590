"""A replayed call asks for what the trace recorded."""

import pytest

from spendgate.demo.replay import ReplayPlan, make_orders, percentile, prompt_of
from spendgate.demo.trace_file import Arrival
from spendgate.demo.traffic import chat_body
from spendgate.simulator.prompt import count_prompt

ARRIVALS = [Arrival(number / 10, 100 + number, 40 * number) for number in range(50)]


@pytest.mark.parametrize("tokens", [4, 5, 374, 14_050])
def test_a_prompt_is_as_long_as_the_trace_says(tokens: int) -> None:
    assert count_prompt(chat_body(prompt_of(tokens)), bytes_per_token=4).tokens == tokens


def test_the_same_seed_makes_the_same_calls() -> None:
    orders = make_orders(ARRIVALS, ReplayPlan(seed=7))

    assert orders == make_orders(ARRIVALS, ReplayPlan(seed=7))
    assert orders != make_orders(ARRIVALS, ReplayPlan(seed=8))


def test_a_call_may_always_give_as_many_tokens_as_it_did() -> None:
    for arrival, order in zip(ARRIVALS, make_orders(ARRIVALS, ReplayPlan()), strict=True):
        assert order.simulate == {"output_tokens": arrival.generated_tokens}
        limit = order.body["max_tokens"]
        assert isinstance(limit, int)
        assert limit > arrival.generated_tokens


def test_a_model_server_that_takes_no_directives_is_steered_by_max_tokens() -> None:
    plan = ReplayPlan(model="mine", steers_length=False)

    orders = make_orders(ARRIVALS, plan)

    assert {order.model for order in orders} == {"mine"}
    assert all(order.simulate == {} for order in orders)
    assert [order.body["max_tokens"] for order in orders[:3]] == [1, 40, 80]


def test_no_answer_has_no_latency() -> None:
    assert percentile([], 0.99) == 0.0
