"""The ledger from an event loop: what comes while a batch is under way shares the next one.

A thread per waiting call would stop at hundreds of calls and spend most of the time on changing
threads; so one thread works for all that wait, and every verb of the ledger takes a batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Generic, TypeVar

from spendgate.domain.decision import Granted, Position
from spendgate.domain.event import Charge
from spendgate.domain.reservation import ReserveRequest, Settlement, Verdict
from spendgate.errors import LedgerBrokenError, LedgerBusyError, LedgerUnavailableError
from spendgate.gateway.begun import Begun
from spendgate.gateway.hold_end import HoldEnd, HoldEnds
from spendgate.gateway.lanes import WOKEN
from spendgate.gateway.late_work import LateWork
from spendgate.gateway.outcome import Verb
from spendgate.gateway.ports import Clock, Ledger

Job = TypeVar("Job")
Answer = TypeVar("Answer")
QUIET_HOLDS_MAX = 4
"""Up to so many calls in flight each transaction of an embedded ledger (0.2 ms) is done where it is
asked for. Beyond, what comes in one turn of the loop shares one."""

JOBS_MAX = 64
"""Jobs in one transaction: a lone call behind a full batch waits a few milliseconds."""

JOBS_AT_ONCE_MAX = 16
"""Jobs in one transaction on the loop itself, which serves nobody else for 2 ms then."""

_AWAY = (LedgerUnavailableError, LedgerBrokenError)


class AsyncLane(Generic[Job, Answer]):
    """One batch at a time; all on one event loop.

    `at_once` does a batch without waiting, or raises LedgerBusyError: then a thread does it. It is
    done on the loop, because each statement of an embedded ledger gives the interpreter away and a
    thread gets it back from a busy loop after up to 5 ms only.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Job]], Sequence[Answer]],
        threads: Executor,
        *,
        at_once: Callable[[Sequence[Job]], Sequence[Answer]] | None = None,
        orphan: Callable[[Job, Answer], None] | None = None,
    ) -> None:
        self._do = do
        self._threads = threads
        self._at_once = at_once
        self._orphan = orphan
        self._waiting: deque[tuple[Job, asyncio.Future[Answer]]] = deque()
        self._is_working = False

    async def submit(self, job: Job) -> Answer:
        """Do one job with whatever else waits; who is cancelled meanwhile leaves an orphan."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if not self._is_working:
            self._begin()
        return await future

    def _begin(self) -> None:
        self._is_working = True
        loop = asyncio.get_running_loop()
        if self._at_once is not None:
            # Whoever else comes in this turn of the loop shares the transaction.
            loop.call_soon(self._work_here, self._at_once)
        else:
            self._work_in_thread(self._taken(JOBS_MAX))

    def _taken(self, most: int) -> "list[tuple[Job, asyncio.Future[Answer]]]":
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]

    def _work_here(self, do: Callable[[Sequence[Job]], Sequence[Answer]]) -> None:
        batch = self._taken(JOBS_AT_ONCE_MAX)
        jobs = [job for job, _ in batch]
        answers: Sequence[Answer | Exception] | None = None
        try:
            answers = do(jobs)
        except LedgerBusyError:
            pass  # nothing was done
        except _AWAY as error:
            answers = _told(error, jobs)
        except Exception:  # noqa: BLE001, S110 - nothing was done; a thread finds out whose fault it is
            pass
        if answers is None:
            self._work_in_thread(batch)
        else:
            self._deliver(batch, answers)

    def _work_in_thread(self, batch: "list[tuple[Job, asyncio.Future[Answer]]]") -> None:
        loop = asyncio.get_running_loop()
        jobs = [job for job, _ in batch]
        done = loop.run_in_executor(self._threads, _outcomes, self._do, jobs)
        done.add_done_callback(lambda ended: self._deliver(batch, ended.result()))

    def _deliver(
        self,
        batch: "Sequence[tuple[Job, asyncio.Future[Answer]]]",
        answers: Sequence[Answer | Exception],
    ) -> None:
        self._is_working = False
        if self._waiting:
            self._begin()
        for (job, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                if not future.done():
                    future.set_exception(answer)
            elif not future.done():
                future.set_result(answer)
            elif self._orphan is not None:
                self._orphan(job, answer)


def _outcomes(
    do: Callable[[Sequence[Job]], Sequence[Answer]], jobs: Sequence[Job]
) -> Sequence[Answer | Exception]:
    """Do a batch; what goes wrong is the answer of those whom it concerns."""
    try:
        return do(jobs)
    except _AWAY as error:
        return _told(error, jobs)
    except Exception as error:  # noqa: BLE001 - a fault of a job; whoever brought it raises it
        if len(jobs) == 1:
            return [error]
    # Nothing of the batch was done; alone, each meets only its own fault.
    return [answer for job in jobs for answer in _outcomes(do, [job])]


def _told(error: Exception, jobs: Sequence[object]) -> list[Exception]:
    """Answer all of a batch, of which perhaps all was done; each raises an error of its own."""
    return [type(error)(str(error)) for _ in jobs]


class AsyncLanes:
    """Lanes for calls that run as tasks of one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        ends: HoldEnds,
        clock: Clock,
        threads: Executor,
        at_once: Ledger | None = None,
    ) -> None:
        self._clock = clock
        self._hold_ends = ends
        self._at_once = at_once
        self._open_holds = 0
        self._threads = threads
        self._reserves = AsyncLane[ReserveRequest, Verdict](
            ledger.reserve,
            threads,
            at_once=None if at_once is None else at_once.reserve,
            orphan=self._release_orphan,
        )
        self._ends = AsyncLane[HoldEnd, tuple[Position, ...] | None](
            ends.end, threads, at_once=None if at_once is None else partial(self._end_here, at_once)
        )
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._late = LateWork()

    async def reserve(self, request: ReserveRequest) -> Verdict:
        """Ask for one hold."""
        verdict = await self._reserved(request)
        self._open_holds += isinstance(verdict, Granted)
        return verdict

    async def end(self, end: HoldEnd) -> tuple[Position, ...] | None:
        """End one hold and wake who waits for money."""
        is_quiet = self._is_quiet
        self.hand_over()
        positions = await self._ended(end, is_quiet)
        woken = 0
        while self._waiting and woken < WOKEN:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                woken += 1
        return positions

    def hand_over(self) -> None:
        """Count a hold no longer as a call in flight here."""
        self._open_holds = max(0, self._open_holds - 1)

    @property
    def _is_quiet(self) -> bool:
        """Whether a transaction of one's own takes no longer than to wait for others."""
        return self._at_once is not None and self._open_holds <= QUIET_HOLDS_MAX

    async def _reserved(self, request: ReserveRequest) -> Verdict:
        if self._at_once is not None and self._is_quiet:
            try:
                (verdict,) = self._at_once.reserve([request])
            except LedgerBusyError:
                pass  # others are in the middle of theirs: a thread waits for them
            else:
                return verdict
        return await self._reserves.submit(request)

    async def _ended(self, end: HoldEnd, is_quiet: bool) -> tuple[Position, ...] | None:
        if self._at_once is not None and is_quiet:
            try:
                (positions,) = self._hold_ends.end_at_once([end], self._at_once)
            except _AWAY:
                pass  # a thread tries it again, or remembers it
            else:
                return positions
        return await self._ends.submit(end)

    def _end_here(self, ledger: Ledger, ends: Sequence[HoldEnd]) -> list[tuple[Position, ...]]:
        try:
            return self._hold_ends.end_at_once(ends, ledger)
        except _AWAY as error:
            raise LedgerBusyError("a thread ends them, or remembers them") from error

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Do it in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def released(self, seconds: float) -> None:
        """Wait for a settlement of this process, without a thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        timer = loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            timer.cancel()
            future.cancel()

    async def rest(self, seconds: float) -> None:
        """Wait without a thread."""
        await asyncio.sleep(seconds)

    async def protected(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Finish work also where its caller is cancelled meanwhile; `close` waits for it.

        Nobody is cancelled before work first waits, so it gets a task of its own only then: most
        ends of holds never wait, and a task costs as much as the half of such an end.
        """
        begun = Begun(work)
        if begun.is_over:
            return begun.answer
        return await asyncio.shield(self.start(begun.rest()))

    def later(self, work: Callable[[], None]) -> None:
        """Do it in a moment, with what comes until then."""
        self._late.add(work)

    def do_late(self) -> None:
        """Do now what was left for later; any thread may ask for it."""
        self._late.do()

    def start(self, work: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
        """Begin work that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, seconds: float) -> int:
        """Wait for what is under way, but not longer; return how many tasks were left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        self.do_late()
        return len(self._tasks)

    def _release_orphan(self, request: ReserveRequest, verdict: Verdict) -> None:
        """Give back what was held for a call that was cancelled while it waited."""
        if isinstance(verdict, Granted):
            settlement = Settlement(request.hold_id, Charge(), self._clock())
            self.start(self.end(HoldEnd(Verb.VOID, settlement)))


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
