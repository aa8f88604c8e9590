"""Work that an interrupt of its caller can't cut in two.

Python raises KeyboardInterrupt, and whatever a signal's handler raises, between any two steps of
the main thread: also in the middle of a transaction, which then stays open and keeps everybody else
out of the ledger, here and in other processes.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

Answer = TypeVar("Answer")


def aside(
    work: Callable[[], Answer], give_back: Callable[[Answer], object] | None = None
) -> Answer:
    """Do work and return what it returns, or raise what it raises.

    Of the main thread only the wait is interrupted: the work is done to its end by a thread of its
    own, and what it then returns is given back, as nobody else gets it.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: Future[Answer] = Future()
    try:
        _begin(_do, work, done)
        return done.result()
    except BaseException:
        if give_back is not None:
            done.add_done_callback(lambda late: _begin(_undo, give_back, late))
        raise


def _begin(target: Callable[..., None], *args: object) -> None:
    # No pool, whose threads a fork would lose; not a daemon, so that a process that ends waits.
    run = copy_context().run
    threading.Thread(target=run, args=(target, *args), name="spendgate-step").start()


def _do(work: Callable[[], Answer], done: "Future[Answer]") -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
        done.set_exception(error)


def _undo(give_back: Callable[[Answer], object], done: "Future[Answer]") -> None:
    if done.exception() is None:
        give_back(done.result())
