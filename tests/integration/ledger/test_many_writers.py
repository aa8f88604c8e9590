"""One ledger, many processes and threads: limits hold, and a stopped writer harms nobody."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.decision import Granted, RefusalCode, Refused
from spendgate.domain.reservation import ReserveRequest, Verdict
from spendgate.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Helper, Till

    OpenTill = Callable[..., Till]
    StartHelper = Callable[..., Helper]

PUT_META = "INSERT INTO meta VALUES (?, ?)"


def outcome(verdict: Verdict) -> str:
    return verdict.code.value if isinstance(verdict, Refused) else type(verdict).__name__


def name_ledger(pipe: Connection, open_till: "OpenTill") -> None:
    """Make or open the ledger when told to, and say its name."""
    pipe.recv()
    pipe.send(open_till(busy_seconds=60).ledger.ledger_id)


def reserve_all(
    pipe: Connection, till: "Till", requests: list[ReserveRequest], threads: int
) -> None:
    """Reserve one by one from several threads when told to, and say how it went."""
    ledger = till.again(busy_seconds=60).ledger
    pipe.recv()
    with ThreadPoolExecutor(threads) as pool:
        verdicts = list(pool.map(lambda one: ledger.reserve([one])[0], requests))
    pipe.send([outcome(one) for one in verdicts])


on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def hold_transaction(pipe: Connection, path: Path) -> None:
    """Stay inside a write transaction from one word to the next."""
    pipe.recv()
    with SqliteStore(path).write() as connection:
        connection.execute(PUT_META, ("stopped", "yes"))
        pipe.send("inside")
        pipe.recv()
    pipe.send("done")


def test_eight_processes_that_open_a_new_ledger_make_one(
    open_till: "OpenTill", start_helper: "StartHelper"
) -> None:
    helpers = [start_helper(name_ledger, open_till) for _ in range(8)]

    for helper in helpers:
        helper.pipe.send("go")
    names = {helper.hear() for helper in helpers}

    assert names == {open_till().ledger.ledger_id}


def test_scenario_17_parallel_first_requests_of_a_session_make_one_balance_and_keep_its_limit(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("each-session", "session:*", 100)
    requests = [till.request(f"h#{number}", 40, scopes={"session": "s"}) for number in range(8)]
    helpers = [start_helper(reserve_all, till, [one], 1) for one in requests]

    for helper in helpers:
        helper.pipe.send("go")
    outcomes = Counter(one for helper in helpers for one in helper.hear())

    assert outcomes == {"Granted": 2, "budget_held": 6}
    assert till.standing() == {("each-session", "s", "2026-03-14"): (0, 80)}
    till.assert_sound()


def test_scenario_18_of_a_thousand_parallel_reserves_exactly_those_that_fit_are_granted(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 72)
    one = till.request("h", 7)
    shares = [
        [replace(one, hold_id=f"h{process}.{number}") for number in range(250)]
        for process in range(4)
    ]
    helpers = [start_helper(reserve_all, till, share, 5) for share in shares]

    for helper in helpers:
        helper.pipe.send("go")
    outcomes = Counter(one for helper in helpers for one in helper.hear())

    # 72 affords ten; the last 2 nano-dollars fit nobody.
    assert outcomes == {"Granted": 10, "budget_held": 990}
    assert till.totals("day") == (0, 70)
    till.assert_sound()


def test_what_in_flight_calls_give_back_is_granted_to_the_others(till: "Till") -> None:
    till.budget("day", "user:ann", 100)

    def call(number: int) -> int:
        while not isinstance(verdict := till.reserve(f"h#{number}", 30), Granted):
            assert isinstance(verdict, Refused)
            if verdict.code is RefusalCode.EXHAUSTED:
                return 0
        return till.settle(f"h#{number}", 5).charged_nano

    with ThreadPoolExecutor(8) as pool:
        spent = sum(pool.map(call, range(40)))

    # A call needs 30 to start, so the last one starts while at most 70 are spent.
    assert spent == 75
    assert till.totals("day") == (75, 0)
    till.assert_sound()


@on_sqlite
def test_a_stopped_writer_makes_others_fail_closed_until_it_goes_on(
    till: "Till", open_till: "OpenTill", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 100)
    impatient = open_till(busy_seconds=0.2)
    helper = start_helper(hold_transaction, till.path)
    impatient.reserve("h#1", 10)
    request = till.request("h#2", 10)
    helper.pipe.send("begin")
    helper.hear()
    helper.signal(signal.SIGSTOP)

    with pytest.raises(LedgerUnavailableError):
        impatient.ledger.reserve([request])
    with pytest.raises(LedgerUnavailableError):
        impatient.settle("h#1", 1)
    with pytest.raises(LedgerUnavailableError):
        open_till(busy_seconds=0.2).store.session()
    seen = impatient.totals("day")
    helper.signal(signal.SIGCONT)
    helper.pipe.send("end it")

    assert seen == (0, 10)
    assert helper.hear() == "done"
    assert isinstance(impatient.reserve("h#2", 10), Granted)
    assert till.store.read("SELECT value FROM meta WHERE key = 'stopped'") == [("yes",)]
    till.assert_sound()


@on_sqlite
def test_a_writer_killed_while_stopped_leaves_neither_lock_nor_trace(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 100)
    helper = start_helper(hold_transaction, till.path)
    helper.pipe.send("begin")
    helper.hear()
    helper.signal(signal.SIGSTOP)

    helper.signal(signal.SIGKILL)
    verdict = till.reserve("h#1", 10)

    assert isinstance(verdict, Granted)
    assert till.store.read("SELECT value FROM meta WHERE key = 'stopped'") == []


@on_sqlite
def test_a_busy_thread_makes_other_threads_fail_closed_too(open_till: "OpenTill") -> None:
    till = open_till(busy_seconds=0.2)
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 10)

    with till.store.write(), ThreadPoolExecutor(1) as pool:
        error = pool.submit(till.ledger.reserve, [request]).exception()

    assert isinstance(error, LedgerUnavailableError)


def reserve_one(pipe: Connection, till: "Till", request: ReserveRequest) -> None:
    """Use a ledger that the parent had open."""
    pipe.send(outcome(till.ledger.reserve([request])[0]))
    pipe.recv()
    pipe.send(till.settle(request.hold_id, 5).moved)


def test_a_forked_child_keeps_its_writes_when_the_parent_closes(
    open_till: "OpenTill", start_helper: "StartHelper"
) -> None:
    till = open_till()
    till.budget("day", "user:ann", 100)
    till.reserve("parent", 10)
    child = start_helper(reserve_one, till, till.request("child", 10))
    granted = child.hear()
    till.reserve("parent-2", 10)

    # The last connection to close deletes the log; it must see that the child still uses it.
    till.ledger.close()
    child.pipe.send("settle")

    assert granted == "Granted"
    assert child.hear() is True
    assert open_till().totals("day") == (5, 20)
    open_till().assert_sound()


def test_scenario_42_forks_in_the_middle_of_traffic_lose_nothing(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 10_000)
    ended = threading.Event()
    made: list[str] = []

    def traffic(name: int) -> None:
        while not ended.is_set():
            made.append(f"t{name}.{len(made)}.{os.getpid()}")
            till.reserve(made[-1], 1)
            till.totals("day")

    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(traffic, number) for number in range(2)]
        requests = [till.request(f"child-{number}", 1) for number in range(6)]
        children = [start_helper(reserve_one, till, one) for one in requests]
        answers = [child.hear() for child in children]
        for child in children:
            child.pipe.send("settle")
        settled = [child.hear() for child in children]
        ended.set()
        for thread in threads:
            thread.result()

    assert answers == ["Granted"] * 6
    assert settled == [True] * 6
    assert till.totals("day") == (30, len(set(made)))
    till.assert_sound()


def try_reserve(pipe: Connection, till: "Till", request: ReserveRequest) -> None:
    try:
        till.ledger.reserve([request])
    except LedgerUnavailableError as error:
        pipe.send(str(error))


@on_sqlite
def test_a_child_forked_inside_a_transaction_is_refused(
    open_till: "OpenTill", start_helper: "StartHelper"
) -> None:
    till = open_till(busy_seconds=0.2)
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 10)

    with till.store.write() as connection:
        connection.execute(PUT_META, ("parent", "yes"))
        child = start_helper(try_reserve, till, request)
        refusal = child.hear()

    assert "forked in the middle" in refusal
    assert till.store.read("SELECT value FROM meta WHERE key = 'parent'") == [("yes",)]
    assert isinstance(till.reserve("h#1", 10), Granted)
