"""A step holds money before an agent's own call, and charges what the agent reports of it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration.library.conftest import (
    HAIKU,
    MESSAGES,
    SONNET,
    Provider,
    open_budgets,
    spent_usd,
)

from spendgate import BudgetExceededError, Budgets
from spendgate.errors import ForbiddenError, InvalidRequestError, StepError
from spendgate.library.task_threads import THREADS

ALL_OF_100 = {"prompt_tokens": 100, "completion_tokens": 0, "total_tokens": 100}


def usd(step_spend: object, name: str) -> Decimal:
    assert isinstance(step_spend, dict)
    return Decimal(str(step_spend[name]))


def test_a_reported_call_costs_what_the_provider_bills(
    budgets: Budgets, ask: Provider, billed_usd: Callable[[], Decimal]
) -> None:
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES, max_tokens=400) as step:
        assert step.max_tokens == 400
        step.report(ask(step.body))

    assert billed_usd() > 0
    assert usd(step.spend, "cost_usd") == billed_usd() == spent_usd(budgets)


def test_the_platform_knows_a_call_by_its_steps_hold(budgets: Budgets, ask: Provider) -> None:
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES, max_tokens=400) as step:
        step.report(ask({**step.body, "client_request_id": step.hold_id}))
        hold_id = step.hold_id

    assert isinstance(step.spend, dict)
    assert hold_id == f"{step.spend['request_id']}#1"


def test_a_step_may_say_to_use_a_cheaper_model_and_fewer_tools(
    budgets: Budgets, ask: Provider, billed_usd: Callable[[], Decimal]
) -> None:
    tools = [{"type": "function", "function": {"name": "web_search"}}]

    with budgets.step(agent="careful", model=SONNET, messages=MESSAGES, tools=tools) as step:
        assert (step.model, step.tools_disabled) == (HAIKU, ("web_search",))
        assert step.body["model"] == HAIKU
        assert "tools" not in step.body
        step.report(ask(step.body))

    assert spent_usd(budgets, "careful") == billed_usd() > 0


def test_the_body_of_a_step_is_the_agents_own(budgets: Budgets) -> None:
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES, seed=7) as step:
        body = step.body
        step.not_sent()

    assert body == {"model": SONNET, "messages": MESSAGES, "seed": 7, "max_tokens": 4096}


@pytest.mark.parametrize(
    "report",
    [
        {"usage": {**ALL_OF_100, "cache_creation_input_tokens": 100}},
        {
            "usage_metadata": {
                "input_tokens": 100,
                "output_tokens": 0,
                "input_token_details": {"cache_creation": 100},
            }
        },
    ],
    ids=["chat", "langchain"],
)
@pytest.mark.parametrize(("ttl", "usd_per_million"), [("5m", "3.75"), ("1h", "6")])
def test_cache_writes_cost_what_the_call_asked_for(
    budgets: Budgets, ttl: str, usd_per_million: str, report: dict[str, object]
) -> None:
    cached = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}}

    with budgets.step(
        agent="a", model=SONNET, messages=[{"role": "user", "content": [cached]}], max_tokens=9
    ) as step:
        step.report(report)

    assert spent_usd(budgets) == Decimal(usd_per_million) * 100 / 10**6


@pytest.mark.parametrize("raises", [False, True])
def test_a_call_without_a_report_is_charged_in_full(budgets: Budgets, raises: bool) -> None:
    step = budgets.step(agent="a", model=SONNET, messages=MESSAGES, max_tokens=400)
    try:
        with step:
            if raises:
                raise ConnectionError("the model hung up")
    except ConnectionError:
        assert raises

    assert usd(step.spend, "cost_usd") == usd(step.spend, "reserved_usd") == spent_usd(budgets) > 0


@pytest.mark.parametrize("others", [[], [{"prompt_tokens": 9, "completion_tokens": 1}]])
def test_a_report_that_cannot_be_read_is_charged_in_full(
    budgets: Budgets, others: list[object]
) -> None:
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
        for report in [*others, {"usage": {"prompt_tokens": "many"}}]:
            step.report(report)

    assert usd(step.spend, "cost_usd") == usd(step.spend, "reserved_usd") == spent_usd(budgets) > 0


def test_a_call_that_was_not_sent_is_free(budgets: Budgets) -> None:
    def agent() -> None:
        with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
            step.not_sent()
            raise ConnectionError("no route")

    with pytest.raises(ConnectionError):
        agent()

    assert spent_usd(budgets) == 0


def test_a_report_outweighs_an_exception_and_not_sent(budgets: Budgets) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}

    def agent() -> None:
        with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
            step.not_sent()
            step.report(usage)
            raise ValueError("cannot parse the answer")

    with pytest.raises(ValueError, match="cannot parse"):
        agent()

    assert spent_usd(budgets) == Decimal("0.0045")  # 1000 · 3 USD + 100 · 15 USD per million


@pytest.mark.parametrize(
    "report",
    [
        {"usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}},
        SimpleNamespace(usage={"prompt_tokens": 1000, "completion_tokens": 100}),
        SimpleNamespace(
            usage_metadata={
                "input_tokens": 1000,
                "output_tokens": 100,
                "total_tokens": 1100,
                "output_token_details": {"reasoning": 50},
            }
        ),
    ],
    ids=["responses", "an object", "LangChain"],
)
def test_reports_come_in_the_forms_of_the_clients(budgets: Budgets, report: object) -> None:
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
        step.report(report)

    assert usd(step.spend, "cost_usd") == Decimal("0.0045")


def test_two_reports_of_one_step_add_up(budgets: Budgets) -> None:
    with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
        step.report({"prompt_tokens": 1000, "completion_tokens": 0})
        step.report({"prompt_tokens": 1000, "completion_tokens": 100})

    assert usd(step.spend, "cost_usd") == Decimal("0.0075")


def test_a_budget_refuses_before_the_agent_calls(budgets: Budgets) -> None:
    step = budgets.step(agent="tiny", model=SONNET, messages=MESSAGES)
    with pytest.raises(BudgetExceededError, match="budget 'tiny'") as refused, step:
        pytest.fail("the agent was let through")

    assert refused.value.code == "budget_exhausted"
    assert refused.value.spend["decision"] == "refuse"
    assert refused.value.budget["limit_usd"] == "0.002"
    assert not refused.value.retryable
    assert spent_usd(budgets, "tiny") == 0


def test_many_agents_at_once_never_hold_more_than_the_limit(budgets: Budgets) -> None:
    outcomes: list[str] = []
    everybody = threading.Barrier(8)

    def run() -> None:
        everybody.wait()
        try:  # 1 USD holds 4 calls of 15,000 output tokens (0.225 USD each)
            with budgets.step(agent="a", model=SONNET, messages=MESSAGES, max_tokens=15_000):
                outcomes.append("ran")
        except BudgetExceededError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["ran"] * 4 + ["refused"] * 4
    assert Decimal("0.9") < spent_usd(budgets) <= 1


def test_other_refusals_are_exceptions_of_the_same_tree(budgets: Budgets) -> None:
    empty = budgets.step(agent="a", model=SONNET)
    nobodys = budgets.step(user="nobody", model=SONNET, messages=MESSAGES)

    with pytest.raises(InvalidRequestError, match="messages is missing"), empty:
        pass
    with pytest.raises(ForbiddenError, match="no budget covers") as uncovered, nobodys:
        pass
    with pytest.raises(InvalidRequestError, match="custom_inputs"):
        budgets.step(model=SONNET, messages=MESSAGES, custom_inputs={"agent": "a"})
    assert uncovered.value.code == "no_budget"


def test_a_step_is_used_in_turn(budgets: Budgets) -> None:
    step = budgets.step(agent="a", model=SONNET, messages=MESSAGES)
    with pytest.raises(StepError, match="isn't entered"):
        step.report({})
    with step:
        step.not_sent()
    with pytest.raises(StepError, match="has ended"):
        step.report({})
    with pytest.raises(StepError, match="make a new one"):
        step.__enter__()


@pytest.mark.parametrize("route", ["nonsense", "respones", "chat"])
def test_a_route_that_there_is_not_is_refused(budgets: Budgets, route: Any) -> None:
    with pytest.raises(InvalidRequestError, match="there are: chat/completions, ") as refused:
        budgets.step(agent="a", model=SONNET, input="hi", route=route)
    with pytest.raises(InvalidRequestError, match="there is no such route"):
        budgets.call({"model": SONNET}, route=route)

    assert refused.value.field == "route"


def test_closed_budgets_hold_and_charge_nothing(budgets: Budgets) -> None:
    budgets.close()

    with pytest.raises(StepError, match="these budgets are closed"):
        budgets.step(agent="a", model=SONNET, messages=MESSAGES)
    with pytest.raises(StepError, match="these budgets are closed"):
        asyncio.run(budgets.call_async({"model": SONNET, "messages": MESSAGES}))


def test_a_step_made_before_the_close_is_not_entered_after_it(budgets: Budgets) -> None:
    before, in_a_task = (budgets.step(agent="a", model=SONNET, messages=MESSAGES) for _ in range(2))
    budgets.close()

    with pytest.raises(StepError, match="these budgets are closed"), before:
        pass
    with pytest.raises(StepError, match="these budgets are closed"):
        asyncio.run(in_a_task.__aenter__())


@pytest.mark.parametrize("is_task", [False, True])
def test_a_step_entered_before_the_close_still_ends(tmp_path: Path, is_task: bool) -> None:
    budgets = open_budgets(tmp_path)
    step = budgets.step(agent="a", model=SONNET, messages=MESSAGES)

    async def run() -> None:
        async with step:
            budgets.close()
            step.report(ALL_OF_100)

    if is_task:
        asyncio.run(run())
    else:
        with step:
            budgets.close()
            step.report(ALL_OF_100)

    assert usd(step.spend, "cost_usd") == Decimal("0.0003")
    budgets.close()
    with open_budgets(tmp_path) as again:
        assert spent_usd(again) == Decimal("0.0003")


def test_a_step_works_in_tasks(budgets: Budgets, ask: Provider) -> None:
    async def run() -> Decimal:
        async with budgets.step(agent="a", model=SONNET, messages=MESSAGES) as step:
            step.report(await asyncio.to_thread(ask, step.body))
        return usd(step.spend, "cost_usd")

    async def run_all() -> list[Decimal]:
        return await asyncio.gather(*(run() for _ in range(5)))

    assert sum(asyncio.run(run_all())) == spent_usd(budgets) > 0


def test_a_cancelled_task_is_charged_and_leaves_no_hold(budgets: Budgets) -> None:
    async def run() -> None:
        entered = asyncio.Event()

        async def agent() -> None:
            async with budgets.step(agent="a", model=SONNET, messages=MESSAGES):
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(agent())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())

    assert spent_usd(budgets) > 0


async def cancel_while_it_waits_for_a_thread(
    threads: Executor, work: Coroutine[Any, Any, object]
) -> None:
    is_open = threading.Event()
    for _ in range(THREADS):  # every thread is busy
        threads.submit(is_open.wait)
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    is_open.set()


def test_a_task_cancelled_while_it_reports_is_charged_what_it_reported(budgets: Budgets) -> None:
    async def run() -> None:
        step = budgets.step(agent="a", model=SONNET, messages=MESSAGES)
        await step.__aenter__()
        step.report(ALL_OF_100)
        await cancel_while_it_waits_for_a_thread(
            budgets._threads.ends, step.__aexit__(None, None, None)
        )

    asyncio.run(run())
    budgets._threads.shutdown()

    assert spent_usd(budgets) == Decimal("0.0003")  # 100 tokens at $3 per million


def test_a_task_cancelled_while_it_asks_for_money_pays_nothing(budgets: Budgets) -> None:
    step = budgets.step(agent="a", model=SONNET, messages=MESSAGES)

    asyncio.run(cancel_while_it_waits_for_a_thread(budgets._threads.admissions, step.__aenter__()))
    budgets._threads.shutdown()

    assert spent_usd(budgets) == 0
    assert len(budgets._host.ledger.balances()) > 0  # the money was held, and given back
