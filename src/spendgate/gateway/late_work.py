"""Work that no answer waits for: done a moment later, together, or as soon as somebody looks.

One call's reports take a tenth of what the call takes, in caches that its other steps have emptied.
At the end of a call they would hold up the next one, which has come in the meantime; those of many
calls, one after the other, take half as long.
"""

import asyncio
from collections import deque
from collections.abc import Callable

LATE_SECONDS = 0.01


class LateWork:
    """What waits; one event loop adds to it, any thread may do it."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def add(self, work: Callable[[], None]) -> None:
        """Have something done soon; it is quick, and raises nothing."""
        self._waiting.append(work)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(LATE_SECONDS, self._come_round)

    def do(self) -> None:
        """Do what waits now, each once."""
        while True:
            try:
                work = self._waiting.popleft()
            except IndexError:
                return
            work()

    def _come_round(self) -> None:
        self._is_due = False
        self.do()
