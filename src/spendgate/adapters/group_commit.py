"""Group commit: callers that come while a transaction runs share the next one.

The first caller leads: it takes everything that waits into one transaction, and when that is done
names the oldest waiter as the next leader before it wakes anybody. Everyone sleeps on a lock of
their own. Without this hand-off the thread that releases a common lock is the one that gets it
again, and batches stay at one or two (measured, reference/ledger.md §2.D). For the same reason a
leader in a crowd waits a moment for those who were just answered: the first of them would otherwise
go alone. A caller that is alone leads itself, never changes threads and waits for nobody.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from spendgate.errors import LedgerUnavailableError, SpendgateError

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Outcome = list[Answer] | Exception
"""What one caller gets: an answer for each of its jobs, or an error of its own."""


_TURN_SECONDS = 0.05
"""How long a lane lets another one go first; after that both run, as they safely can."""
_GATHER_SECONDS = 0.0001


class Turn:
    """What the lanes of one process share: one transaction at a time, so that others gather.

    Two lanes that run at once mostly wait for each other's rows, in transactions of half the size:
    16 callers then went in batches of 5, and go in batches of 16 by turns (measured).
    """

    def __init__(self) -> None:
        self.is_crowded = False
        """True if the last transaction had several callers, who may all come again."""
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Generator[None]:
        """Go on when the other lanes are done, or have had their time."""
        has_lock = self._lock.acquire(timeout=_TURN_SECONDS)
        try:
            yield
        finally:
            if has_lock:
                self._lock.release()


class _Caller(Generic[Job, Answer]):
    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.outcome: Outcome[Answer] | None = None
        self.is_leader = False
        self.is_taken = False  # into a batch that is under way: too late to leave
        self.turn = threading.Lock()
        self.turn.acquire()

    def result(self) -> list[Answer]:
        if isinstance(self.outcome, SpendgateError):
            # One error may answer many callers, and each raises its own.
            raise type(self.outcome)(str(self.outcome)) from self.outcome
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is None:
            raise LedgerUnavailableError("the ledger's batch was interrupted; nothing is known")
        return self.outcome


class GroupCommit(Generic[Job, Answer]):
    """One lane to the ledger: at most one transaction at a time, for all callers that wait.

    `commit` takes the jobs of several callers and answers each in turn. An error that it raises is
    every caller's.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Sequence[Job]]], Sequence[Outcome[Answer]]],
        *,
        jobs_max: int,
        wait_seconds: float,
        turn: Turn | None = None,
    ) -> None:
        self._commit = commit
        self._turn = turn or Turn()
        self._jobs_max = jobs_max
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._waiting: deque[_Caller[Job, Answer]] = deque()
        self._is_led = False

    @property
    def depth(self) -> int:
        """How many callers wait for the next transaction."""
        return len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> list[Answer]:
        """Do the jobs of one caller, in order and in one transaction.

        Raises:
            LedgerUnavailableError: if their turn doesn't come in time; nothing was done.
        """
        if not jobs:
            return []
        caller = _Caller[Job, Answer](jobs)
        with self._lock:
            self._waiting.append(caller)
            if not self._is_led:
                self._is_led = caller.is_leader = True
        if not caller.is_leader:
            self._sleep(caller)
        if caller.is_leader:
            self._lead(caller)
        return caller.result()

    def _sleep(self, caller: _Caller[Job, Answer]) -> None:
        try:
            if not caller.turn.acquire(timeout=self._wait_seconds):
                self._leave(caller)
                caller.turn.acquire()  # its batch is under way, or it has just been named leader
        except KeyboardInterrupt:
            with suppress(LedgerUnavailableError):
                self._leave(caller)
            if caller.is_leader:
                self._hand_off(caller)
            raise

    def _leave(self, caller: _Caller[Job, Answer]) -> None:
        with self._lock:
            if not caller.is_leader and not caller.is_taken:
                self._waiting.remove(caller)
                raise LedgerUnavailableError(f"the ledger was busy for {self._wait_seconds} s")

    def _lead(self, leader: _Caller[Job, Answer]) -> None:
        batch: list[_Caller[Job, Answer]] = []
        try:
            with self._turn.taken():
                if self._turn.is_crowded:
                    self._gather()
                with self._lock:
                    batch = self._next_batch()
                self._turn.is_crowded = len(batch) > 1
                for caller, outcome in zip(batch, self._outcomes(batch), strict=True):
                    caller.outcome = outcome
        finally:
            self._hand_off(leader)
            for caller in batch:
                if caller is not leader:
                    caller.turn.release()

    def _gather(self) -> None:
        """Wait for those who were answered a moment ago, as long as they keep coming."""
        seen = 0
        while seen < len(self._waiting) < self._jobs_max:
            seen = len(self._waiting)
            time.sleep(_GATHER_SECONDS)

    def _next_batch(self) -> list[_Caller[Job, Answer]]:
        batch: list[_Caller[Job, Answer]] = []
        jobs = 0
        while self._waiting and (not batch or jobs + len(self._waiting[0].jobs) <= self._jobs_max):
            caller = self._waiting.popleft()
            caller.is_taken = True
            jobs += len(caller.jobs)
            batch.append(caller)
        return batch

    def _outcomes(self, batch: Sequence[_Caller[Job, Answer]]) -> Sequence[Outcome[Answer]]:
        try:
            return self._commit([caller.jobs for caller in batch])
        except Exception as error:  # noqa: BLE001 - every caller of the batch raises it
            return [error] * len(batch)

    def _hand_off(self, leader: _Caller[Job, Answer]) -> None:
        with self._lock:
            if leader in self._waiting:
                self._waiting.remove(leader)  # it gives up before it has led
            if not self._waiting:
                self._is_led = False
                return
            heir = self._waiting[0]
            heir.is_leader = True
        heir.turn.release()
