"""Group commit without a database: who leads, who waits, and what happens to the others' errors."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from spendgate.adapters import group_commit
from spendgate.adapters.group_commit import GroupCommit, Outcome, Turn
from spendgate.errors import LedgerUnavailableError

PATIENCE_SECONDS = 60


class Gate:
    """A commit that doubles numbers, and waits inside until it is let through."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.entered = threading.Semaphore(0)
        self.may_pass = threading.Semaphore(0)
        self.failure: BaseException | None = None

    def commit(self, callers: Sequence[Sequence[int]]) -> list[Outcome[int]]:
        self.batches.append([list(jobs) for jobs in callers])
        self.entered.release()
        assert self.may_pass.acquire(timeout=PATIENCE_SECONDS)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return [[2 * job for job in jobs] for jobs in callers]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def lane(
    gate: Gate, *, jobs_max: int = 100, wait_seconds: float = 60, turn: Turn | None = None
) -> GroupCommit[int, int]:
    return GroupCommit(gate.commit, jobs_max=jobs_max, wait_seconds=wait_seconds, turn=turn)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)


def test_a_caller_that_is_alone_leads_itself(gate: Gate) -> None:
    gate.may_pass.release()

    assert lane(gate).submit([1, 2]) == [2, 4]
    assert gate.batches == [[[1, 2]]]


def test_nothing_to_do_takes_no_transaction(gate: Gate) -> None:
    assert lane(gate).submit([]) == []
    assert gate.batches == []


def test_those_that_wait_share_the_next_transaction_in_their_order(gate: Gate) -> None:
    committing = lane(gate)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(committing.submit, [0])
        gate.entered.acquire()
        others = []
        for number in range(1, 8):
            others.append(pool.submit(committing.submit, [number]))
            wait_until(lambda number=number: committing.depth == number)
        gate.may_pass.release(2)

    assert first.result() == [0]
    assert [one.result() for one in others] == [[2 * number] for number in range(1, 8)]
    assert gate.batches == [[[0]], [[number] for number in range(1, 8)]]


def test_a_batch_has_a_largest_size_but_takes_a_large_caller_whole(gate: Gate) -> None:
    committing = lane(gate, jobs_max=3)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(committing.submit, [0])]
        gate.entered.acquire()
        for number, jobs in enumerate(([1, 2], [3], [4, 5, 6, 7]), start=1):
            futures.append(pool.submit(committing.submit, jobs))
            wait_until(lambda number=number: committing.depth == number)
        gate.may_pass.release(3)
        answers = [one.result() for one in futures]

    assert gate.batches == [[[0]], [[1, 2], [3]], [[4, 5, 6, 7]]]
    assert answers[3] == [8, 10, 12, 14]


def test_who_waits_too_long_leaves_and_does_nothing(gate: Gate) -> None:
    committing = lane(gate, wait_seconds=0.05)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(committing.submit, [1])
        gate.entered.acquire()
        with pytest.raises(LedgerUnavailableError):
            committing.submit([2])
        gate.may_pass.release(2)

    assert first.result() == [2]
    assert committing.submit([3]) == [6]
    assert gate.batches == [[[1]], [[3]]]


def test_an_error_of_the_batch_is_everybody_s_and_the_lane_goes_on(gate: Gate) -> None:
    committing = lane(gate)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(committing.submit, [0])
        gate.entered.acquire()
        others = [pool.submit(committing.submit, [number]) for number in (1, 2)]
        wait_until(lambda: committing.depth == 2)
        gate.may_pass.release()
        gate.entered.acquire()
        gate.failure = LedgerUnavailableError("away")
        gate.may_pass.release()
        errors = [one.exception() for one in others]

    gate.may_pass.release()
    assert first.result() == [0]
    assert [str(error) for error in errors] == ["away", "away"]
    assert errors[0] is not errors[1]
    assert committing.submit([5]) == [10]


def test_a_leader_that_is_told_to_die_leaves_the_lane_to_the_others(gate: Gate) -> None:
    committing = lane(gate)
    gate.failure = KeyboardInterrupt()
    gate.may_pass.release()

    with pytest.raises(KeyboardInterrupt):
        committing.submit([1])
    gate.may_pass.release()

    assert committing.submit([2]) == [4]


def test_many_threads_get_each_their_own_answers() -> None:
    def double(callers: Sequence[Sequence[int]]) -> list[Outcome[int]]:
        return [[2 * job for job in jobs] for jobs in callers]

    committing = GroupCommit(double, jobs_max=7, wait_seconds=60)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: committing.submit([number, -number]), range(2000)))

    assert answers == [[2 * number, -2 * number] for number in range(2000)]
    assert committing.depth == 0


def test_two_lanes_go_by_turns_and_those_behind_gather_meanwhile(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_TURN_SECONDS", PATIENCE_SECONDS)
    turn, other_gate = Turn(), Gate()
    first, second = lane(gate, turn=turn), lane(other_gate, turn=turn)

    with ThreadPoolExecutor(4) as pool:
        leading = pool.submit(first.submit, [0])
        gate.entered.acquire()
        others = [pool.submit(second.submit, [number]) for number in (1, 2, 3)]
        wait_until(lambda: second.depth == 3)
        assert other_gate.batches == []
        gate.may_pass.release()
        other_gate.may_pass.release()

    assert leading.result() == [0]
    assert sorted(one.result() for one in others) == [[2], [4], [6]]
    assert len(other_gate.batches) == 1


def test_a_lane_waits_for_another_one_s_turn_no_longer_than_it_has_to(gate: Gate) -> None:
    turn, other_gate = Turn(), Gate()
    first, second = lane(gate, turn=turn), lane(other_gate, turn=turn)
    other_gate.may_pass.release()

    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(first.submit, [1])
        gate.entered.acquire()
        assert second.submit([2]) == [4]
        gate.may_pass.release()

    assert stuck.result() == [2]


def test_a_leader_in_a_crowd_waits_for_those_who_keep_coming(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Turn()
    turn.is_crowded = True
    committing = lane(gate, turn=turn)
    gate.may_pass.release(2)

    with ThreadPoolExecutor(3) as pool:
        coming = iter([1, 2])

        def let_one_come(_: float) -> None:
            if (number := next(coming, None)) is not None:
                later.append(pool.submit(committing.submit, [number]))
                wait_until(lambda: committing.depth == number + 1)

        later: list[Future[list[int]]] = []
        with monkeypatch.context() as patched:
            patched.setattr(group_commit, "time", SimpleNamespace(sleep=let_one_come))
            answers = [committing.submit([0]), *(one.result() for one in later)]

    assert answers == [[0], [2], [4]]
    assert gate.batches == [[[0], [1], [2]]]
    assert committing.submit([7]) == [14]
    assert not turn.is_crowded
