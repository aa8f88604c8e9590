"""The loop guard: how often one caller may make the very same request within one task or session.

A budget stops a runaway when its money is gone; this stops it as soon as it repeats itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class LoopGuard:
    """At most `repeats` calls with the same request within any `minutes`."""

    repeats: int
    minutes: int

    def counted(self, times: Sequence[datetime], at: datetime) -> tuple[datetime, ...]:
        """Return the calls that still count at a time; one that is `minutes` old doesn't.

        A call that another thread made a moment later than `at` counts too.
        """
        start = at - timedelta(minutes=self.minutes)
        return tuple(time for time in times if time > start)

    def allows(self, times: Sequence[datetime], at: datetime) -> bool:
        """Tell whether one more call may be made at a time after those at `times`."""
        return len(self.counted(times, at)) < self.repeats
