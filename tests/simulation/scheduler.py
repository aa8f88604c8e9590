"""One thread, virtual time, and an order of steps that only the seed decides.

Whatever runs is a generator that yields how long it sleeps, in seconds; between two yields nothing
else happens. So a seed is a whole run, and replaying it repeats every step.
"""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random

from tests.ledgers.crashing import ProcessDied

Steps = Generator[float, None, None]
STEPS_MAX = 20_000
_TRACE_KEPT = 60


@dataclass(slots=True)
class _Task:
    owner: str
    steps: Steps
    is_killed: bool = False


class Scheduler:
    """Runs tasks in virtual time; tasks belong to an owner, a process that can be killed."""

    def __init__(self, seed: int, on_death: Callable[[str], None]) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.steps = 0
        self.trace: deque[str] = deque(maxlen=_TRACE_KEPT)
        self._digest = hashlib.sha256()
        self._on_death = on_death
        self._queue: list[tuple[float, float, int, _Task]] = []
        self._spawned = 0

    @property
    def digest(self) -> str:
        """A fingerprint of all that happened so far."""
        return self._digest.hexdigest()[:16]

    def note(self, text: str) -> None:
        """Write a line into the trace."""
        line = f"{self.now:9.1f} {text}"
        self._digest.update(line.encode())
        self.trace.append(line)

    def chance(self, probability: float) -> bool:
        """Throw the dice."""
        return self.random.random() < probability

    def spawn(self, owner: str, steps: Steps, after: float = 0.0) -> None:
        """Start a task of an owner."""
        self._push(_Task(owner, steps), after)

    def kill(self, owner: str) -> None:
        """End all tasks of an owner where they stand: none of them runs another line."""
        for _, _, _, task in self._queue:
            if task.owner == owner:
                task.is_killed = True

    def run(self, until: float) -> None:
        """Run all steps up to a time.

        Raises:
            RuntimeError: if it takes too many steps to end by itself.
        """
        while self._queue and self._queue[0][0] <= until:
            at, _, _, task = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            if task.is_killed:
                continue
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise RuntimeError(f"the simulation doesn't end within {STEPS_MAX} steps")
            try:
                delay = next(task.steps)
            except StopIteration:
                continue
            except ProcessDied as death:
                self.note(f"{task.owner} dies: {death}")
                self._on_death(task.owner)
                continue
            self._push(task, delay)
        self.now = max(self.now, until)

    def _push(self, task: _Task, after: float) -> None:
        self._spawned += 1
        entry = (self.now + max(after, 0.0), self.random.random(), self._spawned, task)
        heapq.heappush(self._queue, entry)
