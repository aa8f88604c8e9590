"""Tasks that wait for money take nothing that others need, least of all those who give it back."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.library.conftest import MESSAGES, SONNET, spent_usd

from spendgate import Budgets
from spendgate.config import Settings
from spendgate.errors import StepError
from spendgate.library.task_threads import THREADS

# The wait ends a test that would hang; no waiter gets near to it.
POLICY = """
defaults: {held_wait_seconds: 60}
budgets:
  - {id: narrow, scope: {agent: narrow}, limit_usd: 0.01, window: day, fit: false}
  - {id: wide, scope: {agent: wide}, limit_usd: 1, window: day, fit: false}
"""
CALL: dict[str, Any] = {"model": SONNET, "messages": MESSAGES, "max_tokens": 500}  # 0.0075 USD


@pytest.fixture
def budgets(tmp_path: Path, simulator: str) -> Iterator[Budgets]:
    policy = tmp_path / "budgets.yml"
    policy.write_text(POLICY)
    with Budgets(policy, home=tmp_path, settings=Settings(upstream_url=simulator)) as opened:
        yield opened


async def step(budgets: Budgets, agent: str) -> None:
    async with budgets.step(agent=agent, **CALL) as entered:
        entered.not_sent()


@pytest.mark.parametrize("waiters", [THREADS, 4 * THREADS])
def test_an_end_and_a_call_on_another_budget_pass_all_who_wait(
    budgets: Budgets, waiters: int
) -> None:
    async def run() -> None:
        async with budgets.step(agent="narrow", **CALL) as held:
            held.not_sent()
            waiting = [asyncio.create_task(step(budgets, "narrow")) for _ in range(waiters)]
            await asyncio.sleep(0)  # each has asked for a thread by now
            await step(budgets, "wide")
            assert not any(task.done() for task in waiting)
        await asyncio.gather(*waiting)

    asyncio.run(run())

    assert spent_usd(budgets, "narrow") == spent_usd(budgets, "wide") == 0


def test_an_end_passes_enforced_calls_that_wait(budgets: Budgets) -> None:
    short = {"simulate": {"output_tokens": 1}, "custom_inputs": {"agent": "narrow"}}

    async def run() -> list[dict[str, object]]:
        async with budgets.step(agent="narrow", **CALL) as held:
            held.not_sent()
            calls = [
                asyncio.create_task(budgets.call_async({**CALL, **short})) for _ in "x" * THREADS
            ]
            await asyncio.sleep(0)
            await step(budgets, "wide")
        return await asyncio.gather(*calls)

    assert len(asyncio.run(run())) == THREADS


def test_a_task_cancelled_while_it_waits_for_money_leaves_nothing(budgets: Budgets) -> None:
    async def run() -> None:
        async with budgets.step(agent="narrow", **CALL) as held:
            held.not_sent()
            waiting = asyncio.create_task(step(budgets, "narrow"))
            await step(budgets, "wide")
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
        await step(budgets, "narrow")

    asyncio.run(run())
    budgets._threads.shutdown()

    assert spent_usd(budgets, "narrow") == Decimal(0)


def test_a_task_that_waits_for_money_at_the_close_is_told(budgets: Budgets) -> None:
    async def run() -> None:
        async with budgets.step(agent="narrow", **CALL) as held:
            held.not_sent()
            waiting = asyncio.create_task(step(budgets, "narrow"))
            await step(budgets, "wide")
            budgets.close()
            with pytest.raises(StepError, match="these budgets are closed"):
                await waiting

    asyncio.run(run())

    assert spent_usd(budgets, "narrow") == 0
