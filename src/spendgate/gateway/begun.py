"""Work that is begun at once, and waited for only where it doesn't end at once."""

from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class Begun(Generic[Answer]):
    """A coroutine, run up to where it first waits; what it raises until then is raised here.

    Most work on a call's way never waits, and a task or a time-out around it costs more than to
    find that out.
    """

    def __init__(self, work: Coroutine[Any, Any, Answer]) -> None:
        self._work = work
        self._waits_for: object = None
        self._ended: tuple[Answer] | None = None
        try:
            self._waits_for = work.send(None)
        except StopIteration as ended:
            self._ended = (ended.value,)

    @property
    def is_over(self) -> bool:
        """Whether it has ended already; if not, it is to be awaited once."""
        return self._ended is not None

    @property
    def answer(self) -> Answer:
        """What it returned when it was begun."""
        assert self._ended is not None  # noqa: S101 - the caller asks first; this tells the types
        return self._ended[0]

    async def rest(self) -> Answer:
        """Do what is left."""
        return await self

    def __await__(self) -> Generator[Any, Any, Answer]:
        """Wait where it waits, and go on with it in the caller's task."""
        waits_for = self._waits_for
        while True:
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - the work's to handle, where it waits
                step = partial(self._work.throw, error)
            else:
                step = partial(self._work.send, None)
            try:
                waits_for = step()
            except StopIteration as ended:
                return ended.value
