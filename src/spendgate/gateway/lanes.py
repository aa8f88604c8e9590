"""How a host reaches the ledger, so that the money's path is written once for threads and for an
event loop.

The path is made of coroutines. Where nothing has to be waited for on a loop, `run_now` runs them in
the caller's own thread: every lane answers at once or blocks, and none ever suspends.
"""

import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from spendgate.domain.decision import Position
from spendgate.domain.reservation import ReserveRequest, Verdict
from spendgate.gateway.hold_end import HoldEnd, HoldEnds
from spendgate.gateway.ports import Ledger

Answer = TypeVar("Answer")
WOKEN = 4
"""Waiters that one settlement wakes; all would only queue for the ledger, and each looks again
after a moment by itself."""


class Lanes(Protocol):
    """The ledger's verbs as one call needs them."""

    async def reserve(self, request: ReserveRequest) -> Verdict:
        """Ask for one hold."""
        ...

    async def end(self, end: HoldEnd) -> tuple[Position, ...] | None:
        """End one hold and wake who waits for money; return where its budgets stand, if known."""
        ...

    def hand_over(self) -> None:
        """Say of a hold that was granted here that its end may come to another process."""
        ...

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Do what may block: a rare look at the ledger, or much arithmetic."""
        ...

    async def released(self, seconds: float) -> None:
        """Wait until money was released, but not longer than so many seconds."""
        ...

    async def rest(self, seconds: float) -> None:
        """Wait so long, whatever happens."""
        ...

    async def protected(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Finish work also where its caller is cancelled meanwhile."""
        ...

    def later(self, work: Callable[[], None]) -> None:
        """Do what no answer waits for; it is quick, and raises nothing."""
        ...


class ThreadLanes:
    """The ledger from a thread of the caller's own."""

    def __init__(self, ledger: Ledger, ends: HoldEnds) -> None:
        self._ledger = ledger
        self._ends = ends
        self._releases = threading.Condition()

    async def reserve(self, request: ReserveRequest) -> Verdict:
        """Ask for one hold."""
        (verdict,) = self._ledger.reserve([request])
        return verdict

    async def end(self, end: HoldEnd) -> tuple[Position, ...] | None:
        """End one hold and wake who waits for money."""
        (positions,) = self._ends.end([end])
        with self._releases:
            self._releases.notify(WOKEN)
        return positions

    def hand_over(self) -> None:
        """Do nothing: holds aren't counted here."""

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Do it here."""
        return work()

    async def released(self, seconds: float) -> None:
        """Wait for a settlement of this process."""
        with self._releases:
            self._releases.wait(seconds)

    async def rest(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    async def protected(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do it: a thread isn't cancelled."""
        return await work

    def later(self, work: Callable[[], None]) -> None:
        """Do it: a thread has no later."""
        work()


def run_now(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a coroutine over ThreadLanes to its end, in this thread and without an event loop."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    work.close()
    raise AssertionError("a coroutine over ThreadLanes has waited for an event loop")
