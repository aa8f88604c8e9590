"""Work that must be finished: at once where it never waits, else also without its caller."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.gateway.async_lanes import AsyncLanes
from spendgate.gateway.hold_end import HoldEnds


def run(scenario: Any) -> Any:
    ledger = MemoryLedger()

    async def main() -> Any:
        with ThreadPoolExecutor(1) as threads:
            ends = HoldEnds(ledger)
            return await scenario(AsyncLanes(ledger, ends, lambda: datetime.now(UTC), threads))

    return asyncio.run(main())


async def seven(steps: list[object], *waited_for: Coroutine[Any, Any, object]) -> int:
    for one in waited_for:
        try:
            steps.append(await one)
        except ValueError as error:
            steps.append(str(error))
    return 7


async def failing() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


def test_work_that_never_waits_needs_no_task_of_its_own() -> None:
    async def scenario(lanes: AsyncLanes) -> int:
        tasks = len(asyncio.all_tasks())
        answer = await lanes.protected(seven([]))
        assert len(asyncio.all_tasks()) == tasks
        return answer

    assert run(scenario) == 7


def test_work_gets_what_it_waits_for_and_handles_its_own_failures() -> None:
    steps: list[object] = []

    async def scenario(lanes: AsyncLanes) -> int:
        first, second = asyncio.sleep(0, "slept"), asyncio.to_thread(lambda: "thought")
        return await lanes.protected(seven(steps, first, failing(), second))

    assert run(scenario) == 7
    assert steps == ["slept", "no", "thought"]


def test_a_failure_of_the_work_is_its_callers() -> None:
    async def before() -> None:
        raise ValueError("at once")

    async def scenario(lanes: AsyncLanes) -> None:
        with pytest.raises(ValueError, match="at once"):
            await lanes.protected(before())
        with pytest.raises(ValueError, match="no"):
            await lanes.protected(failing())

    run(scenario)


def test_work_whose_caller_is_cancelled_is_finished_and_waited_for() -> None:
    steps: list[object] = []

    async def scenario(lanes: AsyncLanes) -> int:
        go = asyncio.Event()
        caller = asyncio.create_task(lanes.protected(seven(steps, go.wait())))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert steps == []
        go.set()
        return await lanes.close(60)

    assert run(scenario) == 0
    assert steps == [True]


def test_what_no_answer_waits_for_is_done_a_moment_later_in_its_order() -> None:
    done: list[int] = []

    async def scenario(lanes: AsyncLanes) -> list[int]:
        all_done = asyncio.Event()
        for number in range(3):
            lanes.later(partial(done.append, number))
        lanes.later(all_done.set)
        assert done == []
        await all_done.wait()
        lanes.later(all_done.clear)
        while all_done.is_set():
            await asyncio.sleep(0)
        return done

    assert run(scenario) == [0, 1, 2]


@pytest.mark.parametrize("in_thread", [True, False])
def test_what_waits_for_later_is_done_once_by_who_asks_for_it(in_thread: bool) -> None:
    done: list[str] = []

    async def scenario(lanes: AsyncLanes) -> list[str]:
        lanes.later(lambda: done.append("report"))
        if in_thread:
            await asyncio.to_thread(lanes.do_late)
        else:
            lanes.do_late()
        found = [*done]
        await lanes.close(60)
        return found

    assert run(scenario) == done == ["report"]


def test_closing_does_what_was_left_for_later() -> None:
    done: list[str] = []

    async def scenario(lanes: AsyncLanes) -> int:
        lanes.later(lambda: done.append("report"))
        return await lanes.close(60)

    assert run(scenario) == 0
    assert done == ["report"]
