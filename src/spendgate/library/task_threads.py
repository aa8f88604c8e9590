"""Threads for tasks of event loops, apart by what they may have to wait for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from spendgate.errors import StepError

Answer = TypeVar("Answer")

THREADS = 16
"""Threads of each kind at most; each is made when it is first needed."""


class TaskThreads:
    """Three kinds, so that none queues behind another: ends give back what admissions wait for."""

    def __init__(self) -> None:
        self._is_shut = False
        self.admissions = _pool("admit")
        """They ask for money; who has to wait for it leaves the thread."""
        self.ends = _pool("end")
        self.calls = _pool("call")
        """They make enforced calls, which also wait for money and for model servers."""

    def check_open(self) -> None:
        """Refuse what would ask for money after the end.

        Raises:
            StepError: if they are shut down.
        """
        if self._is_shut:
            # The ledger's file would be opened again, and nobody would deliver what is charged.
            raise StepError(
                "these budgets are closed; make steps and calls within their with block"
            )

    async def end(self, work: Callable[[], Answer]) -> Answer:
        """Do it in a thread to its end, also where the task is cancelled meanwhile.

        The money of a step that was entered before the shutdown is settled after it too.
        """
        try:
            future = self.ends.submit(work)
        except RuntimeError:
            return await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(work)))
        return await asyncio.shield(asyncio.wrap_future(future))

    def shutdown(self) -> None:
        """Take no more, and let all end what they were given."""
        self._is_shut = True
        for pool in (self.calls, self.admissions, self.ends):
            pool.shutdown()


def _pool(kind: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"spendgate-{kind}")
