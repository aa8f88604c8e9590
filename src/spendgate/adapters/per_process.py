"""A value that every process makes for itself: connections and threads don't survive a fork."""

import os
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Generic, TypeVar

Made = TypeVar("Made")


class PerProcess(Generic[Made]):
    """Makes the value at first use in this process, and again after a fork.

    What a parent made is kept in its child, untouched: closing it would end the parent's
    connections. `make` may run twice when threads race, so it must not do anything lasting.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: dict[int, Made] = {}
        _count_forks()

    def get(self) -> Made:
        """Return this process's value."""
        made = self._made.get(_lineage.depth)
        # setdefault is one step for all threads, and needs no lock that a fork could leave taken.
        return made if made is not None else self._made.setdefault(_lineage.depth, self._make())

    def take(self) -> Made | None:
        """Return this process's value if there is one, and forget it."""
        return self._made.pop(_lineage.depth, None)


class _Lineage:
    """How many forks lie between the first process and this one; ids of processes come again."""

    def __init__(self) -> None:
        self._depths = count(1)
        self.depth = 0

    def deepen(self) -> None:
        self.depth = next(self._depths)


_lineage = _Lineage()


@cache
def _count_forks() -> None:
    os.register_at_fork(after_in_child=_lineage.deepen)
