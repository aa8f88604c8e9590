"""What is done to the gates and to the database while clients call."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from spendgate.prove.fleet import Fleet
from spendgate.prove.postgres_server import PostgresServer

_KILL = "SIGKILL of a gate"
_KILLS_MIN = 2
_STRIKE_AFTER_SECONDS = 3.0
_SECONDS_PER_KILL = 6.0
"""A gate that was killed takes a few seconds to be back."""
_CRASH_SECONDS = 1.0
_PAUSE_MARGIN_SECONDS = 2.0


@dataclass(slots=True)
class Storm:
    """Faults one after the other, in an order that the seed decides; each hits calls in flight."""

    fleet: Fleet
    server: PostgresServer | None
    """A database that may be crashed; None: there is none, or it is somebody's own."""

    hold_seconds: float
    seed: int
    done: Counter[str] = field(default_factory=Counter[str])

    def rage(self, seconds: float) -> None:
        """Spread the faults over a time; takes longer where gates take long to start."""
        draw = random.Random(self.seed)  # noqa: S311 - which gate is hit, no secret
        faults = self._faults(draw, seconds)
        started = time.monotonic()
        for number, (name, fault) in enumerate(faults):
            due = started + seconds * (number + 0.5) / len(faults)
            time.sleep(max(0.0, due - time.monotonic()))
            fault()
            self.done[name] += 1
        time.sleep(max(0.0, started + seconds - time.monotonic()))

    def strike(self) -> None:
        """Kill one more gate, while budgets run out."""
        time.sleep(_STRIKE_AFTER_SECONDS)
        self.fleet.kill(random.Random(self.seed))  # noqa: S311 - as above
        self.done[_KILL] += 1

    def _faults(self, draw: random.Random, seconds: float) -> list[tuple[str, Callable[[], None]]]:
        paused = self.hold_seconds + _PAUSE_MARGIN_SECONDS
        kills = max(_KILLS_MIN, round(seconds / _SECONDS_PER_KILL))
        faults: list[tuple[str, Callable[[], None]]] = [
            (_KILL, lambda: self.fleet.kill(draw)) for _ in range(kills)
        ]
        pause = (
            f"SIGSTOP of a gate for {paused:.0f} s, past the {self.hold_seconds:.0f} s of a hold"
        )
        faults.append((pause, lambda: self.fleet.pause(draw, paused)))
        if self.server is not None:
            faults.append(("immediate stop and restart of PostgreSQL", self._crash))
        draw.shuffle(faults)
        return faults

    def _crash(self) -> None:
        if self.server is not None:
            self.server.stop_immediately()
            time.sleep(_CRASH_SECONDS)
            self.server.start()
