"""A bounded wait: answers and errors pass, what hangs is left behind, and not without end."""

import threading

import pytest

from spendgate.adapters.bounded_wait import STUCK_MAX, BoundedWait


def test_an_answer_and_an_error_pass() -> None:
    wait = BoundedWait(30)

    assert wait(lambda: "answer") == "answer"
    with pytest.raises(ValueError, match="credentials"):
        wait(lambda: int("no credentials"))


def test_what_hangs_is_left_behind_and_only_so_often() -> None:
    wait = BoundedWait(0.01)
    never = threading.Event()
    started: list[None] = []

    def hang() -> None:
        started.append(None)
        never.wait(60)

    for _ in range(STUCK_MAX):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            wait(hang)
    with pytest.raises(TimeoutError, match="earlier ones still wait"):
        wait(hang)
    assert len(started) == STUCK_MAX

    never.set()


def test_what_ended_late_makes_room_again() -> None:
    wait = BoundedWait(0.01)
    go_on, ended = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        go_on.wait(60)
        ended.release()

    for _ in range(STUCK_MAX):
        with pytest.raises(TimeoutError):
            wait(hang)
    go_on.set()
    for _ in range(STUCK_MAX):
        assert ended.acquire(timeout=60)
    for thread in threading.enumerate():
        if thread.name == "spendgate-wait":
            thread.join(60)

    assert BoundedWait.__call__(_patient(wait), lambda: 7) == 7


def _patient(wait: BoundedWait) -> BoundedWait:
    """The same wait with time enough for a slow machine."""
    wait._seconds = 60
    return wait
