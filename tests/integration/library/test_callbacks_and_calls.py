"""Callbacks hear of each crossing once; enforced calls go through the gate's own upstream."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.library.conftest import MESSAGES, SONNET, open_budgets, spent_usd

from spendgate import BudgetExceededError, Budgets, UpstreamError
from spendgate.errors import InvalidRequestError
from spendgate.library.watch import BudgetEvent


def spend_usd(budgets: Budgets, usd: str) -> None:
    tokens = int(Decimal(usd) / Decimal("0.000003"))  # of input, at 3 USD per million
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
        step.report({"prompt_tokens": tokens, "completion_tokens": 0})


def body(agent: str = "a", **more: Any) -> dict[str, Any]:
    return {"model": SONNET, "messages": MESSAGES, "custom_inputs": {"agent": agent}, **more}


def test_each_threshold_is_told_once(budgets: Budgets) -> None:
    heard: list[BudgetEvent] = []
    budgets.on("threshold-breach", heard.append)

    for usd in ("0.06", "0.06", "0.06", "0.36", "0.03"):
        spend_usd(budgets, usd)

    assert [one.threshold for one in heard] == [Decimal("0.1"), Decimal("0.5")]
    assert [one.spent_usd for one in heard] == [Decimal("0.12"), Decimal("0.54")]
    assert {(one.budget_id, one.scope, one.limit_usd) for one in heard} == {
        ("agents", "agent:a", 1)
    }


def test_what_was_passed_before_this_process_looked_is_no_news(tmp_path: Path) -> None:
    with open_budgets(tmp_path) as before:
        spend_usd(before, "0.3")
    heard: list[BudgetEvent] = []

    with open_budgets(tmp_path) as after:
        after.on("threshold-breach", heard.append)
        spend_usd(after, "0.03")
        spend_usd(after, "0.3")

    assert [one.threshold for one in heard] == [Decimal("0.5")]


def test_a_hard_stop_is_told_once_a_window(budgets: Budgets) -> None:
    heard: list[BudgetEvent] = []
    budgets.on("hard-stop", heard.append)

    for _ in range(3):
        step = budgets.step(agent="tiny", model=SONNET, messages=MESSAGES)
        with pytest.raises(BudgetExceededError), step:
            pass

    assert [(one.moment, one.budget_id) for one in heard] == [("hard-stop", "tiny")]


def test_money_that_other_calls_hold_is_no_hard_stop(budgets: Budgets) -> None:
    heard: list[BudgetEvent] = []
    budgets.on("hard-stop", heard.append)

    def refusal() -> BudgetExceededError:
        step = budgets.step(agent="a", model=SONNET, messages=MESSAGES, max_tokens=40_000)
        with pytest.raises(BudgetExceededError) as refused, step:
            pass
        return refused.value

    with budgets.step(agent="a", model=SONNET, messages=MESSAGES, max_tokens=40_000):
        assert refusal().retryable
        assert heard == []

    assert not refusal().retryable  # the call above is charged in full
    assert [(one.moment, one.budget_id) for one in heard] == [("hard-stop", "agents")]


def test_a_callback_that_raises_breaks_nothing(
    budgets: Budgets, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[BudgetEvent] = []

    def broken(event: BudgetEvent) -> None:
        raise RuntimeError("no pager")

    budgets.on("threshold-breach", broken)
    budgets.on("threshold-breach", heard.append)
    spend_usd(budgets, "0.12")

    assert len(heard) == 1
    assert "a callback for threshold-breach of agents failed" in caplog.text
    assert spent_usd(budgets) == Decimal("0.12")


def test_a_callback_must_fit(budgets: Budgets) -> None:
    async def awaited(event: BudgetEvent) -> None: ...

    with pytest.raises(InvalidRequestError, match="known: threshold-breach, hard-stop"):
        budgets.on("breach", print)  # pyright: ignore[reportArgumentType] - what a typo does
    with pytest.raises(InvalidRequestError, match="not awaited"):
        budgets.on("hard-stop", awaited)
    for nothing in (None, "print", 5):
        with pytest.raises(InvalidRequestError, match="can't be") as refused:
            budgets.on("hard-stop", nothing)  # pyright: ignore[reportArgumentType] - a caller's slip
        assert refused.value.field == "on"
    for moment in (None, ["hard-stop"]):
        with pytest.raises(InvalidRequestError, match="known: threshold-breach, hard-stop"):
            budgets.on(moment, print)  # pyright: ignore[reportArgumentType] - a caller's slip


def test_an_enforced_call_goes_through_the_gates_upstream(
    tmp_path: Path, simulator: str, billed_usd: Callable[[], Decimal]
) -> None:
    with open_budgets(tmp_path, upstream_url=simulator) as budgets:
        answer = budgets.call(body())
        again = asyncio.run(budgets.call_async(body()))

        assert answer["choices"]
        assert again["spend"]
        assert spent_usd(budgets) == billed_usd() > 0
        with pytest.raises(BudgetExceededError, match="budget 'tiny'"):
            budgets.call(body("tiny"))


@pytest.mark.parametrize("odd", [None, "x", [1], 5])
def test_a_call_that_is_no_object_is_refused(budgets: Budgets, odd: Any) -> None:
    with pytest.raises(InvalidRequestError, match="body must be an object, not ") as refused:
        budgets.call(odd)
    with pytest.raises(InvalidRequestError, match="body must be an object, not "):
        asyncio.run(budgets.call_async(odd))

    assert refused.value.field == "body"


def test_an_upstreams_failure_says_what_it_cost(tmp_path: Path, simulator: str) -> None:
    with open_budgets(tmp_path, upstream_url=simulator) as budgets:
        with pytest.raises(UpstreamError, match="answered 503") as failed:
            budgets.call(body(simulate={"status": 503}))

        assert failed.value.status == 503
        assert Decimal(str(failed.value.spend["cost_usd"])) == spent_usd(budgets) > 0


def test_without_an_upstream_an_enforced_call_says_what_to_set(budgets: Budgets) -> None:
    with pytest.raises(UpstreamError, match="SPENDGATE_UPSTREAM_URL"):
        budgets.call(body())

    assert spent_usd(budgets) == 0
