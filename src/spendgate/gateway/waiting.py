"""Waiting for held money without a thread: work that threads run from wait to wait.

A thread runs the call's path until it would wait; whoever drives it waits as it likes, then hands
it to a thread again.
"""

from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from spendgate.gateway.lanes import ThreadLanes

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Wait:
    """Where work waits for money, and for how long at most."""

    seconds: float

    def __await__(self) -> Generator["Wait"]:
        yield self


class WaitingLanes(ThreadLanes):
    """The ledger from threads that have better to do than to wait."""

    async def released(self, seconds: float) -> None:
        """Leave the thread; whoever drives the work goes on with it then."""
        await Wait(seconds)


def run_on(work: Coroutine[Any, Any, Answer]) -> Wait | Answer:
    """Run a coroutine over WaitingLanes in this thread, to its next wait or to its end."""
    try:
        wait = work.send(None)
    except StopIteration as ended:
        return ended.value
    assert isinstance(wait, Wait)  # noqa: S101 - nothing else suspends over these lanes
    return wait
