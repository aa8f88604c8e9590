"""A bounded wait for a library that may hang: its work runs in a thread that can be left behind."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
STUCK_MAX = 4
"""Threads left behind at once; while they hang, nothing more is started."""


class BoundedWait:
    """Does work for at most so many seconds; safe for many threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._stuck: list[threading.Event] = []

    def __call__(self, work: Callable[[], Answer]) -> Answer:
        """Return what `work` returns, or raise what it raises.

        Raises:
            TimeoutError: if it took too long; it may go on, and what it held may stay held.
        """
        with self._lock:
            self._stuck = [one for one in self._stuck if not one.is_set()]
            if len(self._stuck) >= STUCK_MAX:
                raise TimeoutError(f"{STUCK_MAX} earlier ones still wait")
        work_done: _Work[Answer] = _Work(work)
        threading.Thread(target=work_done.run, name="spendgate-wait", daemon=True).start()
        if not work_done.ended.wait(self._seconds):
            with self._lock:
                self._stuck.append(work_done.ended)
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        return work_done.answer()


class _Work(Generic[Answer]):
    """One piece of work and how it ended."""

    def __init__(self, work: Callable[[], Answer]) -> None:
        self._work = work
        self._answers: list[Answer] = []
        self._error: BaseException | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self._answers.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self.ended.set()

    def answer(self) -> Answer:
        if self._error is not None:
            raise self._error
        return self._answers[0]
