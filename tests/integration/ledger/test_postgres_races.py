"""Many connections to one Postgres ledger: the last money, first sights, shared commits, sweeps."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.integration.ledger.patience import wait_until

from spendgate.domain.decision import Granted
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import AlreadyReserved, ReserveRequest, Verdict
from spendgate.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Helper, Till

    OpenTill = Callable[..., Till]
    StartHelper = Callable[..., Helper]

pytestmark = pytest.mark.parametrize("place", ["postgres"], indirect=True)


def kinds(verdicts: list[Verdict]) -> Counter[str]:
    return Counter(type(one).__name__ for one in verdicts)


@contextmanager
def rows_locked(till: "Till", sql: str) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """Hold row locks in a connection of the test's own."""
    with psycopg.connect(till.place, options="-csearch_path=spendgate") as connection:
        connection.execute(sql.encode())
        yield connection
        connection.rollback()


def waiting_for_locks(till: "Till") -> int:
    ((count,),) = till.query(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return count


def race(tills: "list[Till]", requests: list[ReserveRequest]) -> list[Verdict]:
    """Reserve with as many connections as there are requests, all at the same moment."""
    start = threading.Barrier(len(requests))

    def one(till: "Till", request: ReserveRequest) -> Verdict:
        till.ledger.policy_version()  # connected before the start
        start.wait()
        return till.ledger.reserve([request])[0]

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, tills, requests))


def test_sixteen_connections_race_for_the_last_money(till: "Till", open_till: "OpenTill") -> None:
    till.budget("day", "user:ann", 100)
    till.budget("all", "all", 100)
    till.reserve("before", 70)
    tills = [open_till() for _ in range(16)]

    for number in range(5):
        requests = [till.request(f"{number}.{one}", 10) for one in range(16)]
        verdicts = race(tills, requests)
        assert kinds(verdicts) == {"Granted": 3, "Refused": 13}
        assert till.totals("day") == till.totals("all") == (0, 100)
        till.ledger.void([one.hold_id for one in requests], till.noon)

    till.assert_sound()


def test_a_rolling_window_s_reserves_go_one_by_one_even_on_its_first_money(
    till: "Till", open_till: "OpenTill"
) -> None:
    # Neither minute has a row yet that the other could wait for.
    till.budget("hour", "user:ann", 100, "rolling:60m")
    first = till.request("first", 60)
    second = till.request("second", 60, at=till.noon + timedelta(minutes=1))

    with ThreadPoolExecutor(2) as pool:
        with rows_locked(till, "LOCK TABLE hold IN SHARE MODE"):
            both = [pool.submit(till.ledger.reserve, [first])]
            wait_until(lambda: waiting_for_locks(till) == 1)
            both.append(pool.submit(open_till().ledger.reserve, [second]))
            wait_until(lambda: waiting_for_locks(till) == 2)
        verdicts = [one.result()[0] for one in both]

    assert [type(one).__name__ for one in verdicts] == ["Granted", "Refused"]
    assert till.totals("hour") == (0, 60)


def test_a_late_clock_waits_for_what_a_fast_one_carries_into_a_day_without_a_row(
    till: "Till", open_till: "OpenTill"
) -> None:
    made = till.budget("each", "user:*", 100)
    till.ledger.policies.put_budgets([replace(made, rollover_max_nano=50)])
    till.reserve("a row for today", 0)
    fast = till.request("fast", 150, at=till.noon + timedelta(days=1))
    slow = till.request("slow", 60)

    with ThreadPoolExecutor(2) as pool:
        with rows_locked(till, "LOCK TABLE hold IN SHARE MODE"):
            both = [pool.submit(till.ledger.reserve, [fast])]
            wait_until(lambda: waiting_for_locks(till) == 1)
            both.append(pool.submit(open_till().ledger.reserve, [slow]))
            wait_until(lambda: waiting_for_locks(till) == 2)
        verdicts = [one.result()[0] for one in both]

    assert [type(one).__name__ for one in verdicts] == ["Granted", "Refused"]
    assert till.totals("each") == (0, 150)


def test_a_balance_that_appears_behind_the_locks_is_locked_before_it_is_trusted(
    till: "Till",
) -> None:
    till.budget("day", "user:ann", 100)
    request = till.request("late", 60)
    key = request.claims[0].keys[0]
    appears = (
        "INSERT INTO balance (bal_id, budget_id, scope_value, period, touched_at)"
        f" VALUES (7, '{key.budget_id}', '{key.scope_value}', '{key.period}', 0)"
    )

    with ThreadPoolExecutor(1) as pool:
        with rows_locked(till, "LOCK TABLE hold IN ACCESS EXCLUSIVE MODE"):
            # It has locked what there is, nothing, and can't go on.
            reserving = pool.submit(till.ledger.reserve, [request])
            wait_until(lambda: waiting_for_locks(till) == 1)
            till.tamper(appears)
            rival = psycopg.connect(till.place, options="-csearch_path=spendgate")
            rival.execute("UPDATE balance SET held = 90")
        with rival:
            wait_until(lambda: waiting_for_locks(till) == 1)  # for the rival's row
        (verdict,) = reserving.result()

    assert type(verdict).__name__ == "Refused"
    assert till.totals("day") == (0, 90)


@pytest.mark.parametrize("amount", [10, 60])
def test_a_batch_that_isn_t_all_sure_is_decided_one_by_one(till: "Till", amount: int) -> None:
    till.budget("day", "user:ann", 100)
    first = [till.request(f"h{number}", amount) for number in range(4)]
    second = [replace(one, hold_id=f"{one.hold_id}+") for one in first]

    verdicts = till.ledger.reserve(first) + till.ledger.reserve(second)

    assert kinds(verdicts)["Granted"] == {10: 8, 60: 1}[amount]
    assert till.totals("day") == (0, {10: 80, 60: 60}[amount])
    till.assert_sound()


def test_a_policy_that_changes_meanwhile_stops_what_was_sure(till: "Till") -> None:
    till.budget("day", "user:ann", 1000)
    till.reserve("first", 10)
    request = till.request("second", 10)

    with ThreadPoolExecutor(1) as pool:
        with rows_locked(till, "SELECT 1 FROM balance FOR UPDATE"):
            reserving = pool.submit(till.ledger.reserve, [request])
            wait_until(lambda: waiting_for_locks(till) == 1)
            till.budget("day", "user:ann", 5)
        (verdict,) = reserving.result()

    assert type(verdict).__name__ == "StalePolicy"
    assert till.totals("day") == (0, 10)


def test_one_hold_id_without_budgets_is_granted_to_one_of_eight(
    till: "Till", open_till: "OpenTill"
) -> None:
    request = till.request("same", 60, scopes={})

    verdicts = race([open_till() for _ in range(8)], [request] * 8)

    assert kinds(verdicts) == {"Granted": 1, "AlreadyReserved": 7}
    assert till.ledger.audit().holds_open == 1


def test_a_thousand_refused_sessions_leave_no_row(till: "Till") -> None:
    till.budget("each-session", "session:*", 10)
    one = till.request("h", 60, scopes={"session": "s"})
    requests = [
        replace(
            one,
            hold_id=f"h{number}",
            claims=till.claims({"session": f"s{number}"}),
        )
        for number in range(1000)
    ]

    verdicts = [till.ledger.reserve([request])[0] for request in requests]

    assert kinds(verdicts) == {"Refused": 1000}
    assert till.standing() == {}
    assert till.query("SELECT count(*) FROM hold") == [(0,)]


def test_callers_that_wait_share_one_commit(till: "Till") -> None:
    till.budget("day", "user:ann", 1000)
    till.reserve("first", 10)
    requests = [till.request(f"h{number}", 10) for number in range(16)]

    with ThreadPoolExecutor(16) as pool:
        with rows_locked(till, "SELECT 1 FROM balance FOR UPDATE"):
            waiting = [pool.submit(till.ledger.reserve, [request]) for request in requests]
            wait_until(lambda: till.ledger.lanes().reserves_waiting == 15)  # type: ignore[union-attr]  # this module is about Postgres
        verdicts = [one.result()[0] for one in waiting]

    # One led alone into the lock; the fifteen that came meanwhile went together.
    (count,) = till.query("SELECT count(DISTINCT origin) FROM hold WHERE hold_id <> 'first'")
    assert kinds(verdicts) == {"Granted": 16}
    assert count == (2,)
    assert till.totals("day") == (0, 170)


def test_one_caller_s_failure_is_not_another_s(till: "Till") -> None:
    till.budget("day", "user:ann", 1000)
    till.reserve("first", 10)
    good, broken = till.request("good", 10), replace(till.request("bad", 10), model="unknown")
    too_large = till.request("large", 2**63, scopes={})
    requests = [till.request("leads", 10), broken, too_large, good]

    with ThreadPoolExecutor(4) as pool:
        futures: list[Future[list[Verdict]]] = []
        with rows_locked(till, "SELECT 1 FROM balance FOR UPDATE"):
            for number, request in enumerate(requests):
                futures.append(pool.submit(till.ledger.reserve, [request]))
                wait_until(
                    lambda number=number: till.ledger.lanes().reserves_waiting == number  # type: ignore[union-attr]  # this module is about Postgres
                )
        errors = [type(one.exception()).__name__ for one in futures]

    assert errors == ["NoneType", "KeyError", "LedgerBrokenError", "NoneType"]
    assert till.totals("day") == (0, 30)
    till.assert_sound()


def test_a_locked_budget_makes_callers_fail_closed_in_time(open_till: "OpenTill") -> None:
    till, impatient = open_till(), open_till(busy_seconds=0.3)
    till.budget("day", "user:ann", 1000)
    till.reserve("first", 10)
    requests = [till.request(f"h{number}", 10) for number in range(4)]

    with (
        rows_locked(till, "SELECT 1 FROM balance FOR UPDATE"),
        ThreadPoolExecutor(4) as pool,
    ):
        waiting = [pool.submit(impatient.ledger.reserve, [request]) for request in requests]
        errors = [type(one.exception()) for one in waiting]
        with pytest.raises(LedgerUnavailableError):
            impatient.settle("first", 5)

    assert errors == [LedgerUnavailableError] * 4
    assert impatient.totals("day") == (0, 10)
    assert impatient.settle("first", 5).moved


def test_a_deadlock_is_tried_again(till: "Till") -> None:
    till.budget("a", "user:ann", 100)
    till.budget("b", "all", 100)
    till.reserve("first", 10)
    lock = "SELECT 1 FROM balance WHERE bal_id = (SELECT {}(bal_id) FROM balance) FOR UPDATE"
    request = till.request("second", 10)

    with ThreadPoolExecutor(2) as pool:
        with rows_locked(till, lock.format("max")) as rival:
            rival.execute("SET LOCAL deadlock_timeout = '60s'")  # so that the ledger loses
            reserving = pool.submit(till.ledger.reserve, [request])
            wait_until(lambda: waiting_for_locks(till) == 1)
            rival.execute(lock.format("min").encode())
        (verdict,) = reserving.result()

    assert isinstance(verdict, Granted)
    assert till.totals("a") == till.totals("b") == (0, 20)


def test_two_sweepers_charge_each_hold_once(till: "Till", open_till: "OpenTill") -> None:
    till.budget("day", "user:ann", 10_000)
    till.ledger.reserve([till.request(f"h{number}", 10) for number in range(200)])
    at = till.noon + timedelta(hours=1)

    def sweep_all(sweeper: "Till") -> int:
        swept = 0
        while count := sweeper.ledger.sweep(at, limit=7):
            swept += count
        return swept

    with ThreadPoolExecutor(2) as pool:
        swept = list(pool.map(sweep_all, [open_till(), open_till()]))

    assert sum(swept) == 200
    assert till.totals("day") == (2000, 0)
    till.assert_sound()


def test_settles_and_sweeps_of_the_same_holds_end_each_once(
    till: "Till", open_till: "OpenTill"
) -> None:
    till.budget("day", "user:ann", 10_000)
    till.ledger.reserve([till.request(f"h{number}", 10) for number in range(100)])
    sweeper, at = open_till(), till.noon + timedelta(hours=1)

    with ThreadPoolExecutor(5) as pool:
        sweeping = pool.submit(lambda: [sweeper.ledger.sweep(at, limit=5) for _ in range(40)])
        settled = list(pool.map(lambda one: till.settle(f"h{one}", 4), range(100)))
        swept = sum(sweeping.result())

    # What the sweeper had first was corrected by the settlement.
    assert {one.state for one in settled} == {HoldState.SETTLED}
    assert till.totals("day") == (400, 0)
    assert till.ledger.audit().events == 100 + swept
    till.assert_sound()


def stay_in_a_transaction(pipe: Connection, till: "Till") -> None:
    with till.again(busy_seconds=0.5).server.write() as session:
        session.execute("SELECT 1 FROM balance FOR UPDATE")
        pipe.send("inside")
        pipe.recv()


def test_a_stopped_worker_loses_its_locks(till: "Till", start_helper: "StartHelper") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("first", 10)
    helper = start_helper(stay_in_a_transaction, till)
    helper.hear()

    helper.signal(signal.SIGSTOP)
    verdict = till.reserve("second", 10)

    assert isinstance(verdict, Granted)


def test_a_repeat_from_another_process_meanwhile_is_told_so(
    till: "Till", open_till: "OpenTill"
) -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("first", 10)
    request = till.request("same", 10)
    other = open_till()

    with ThreadPoolExecutor(2) as pool:
        with rows_locked(till, "SELECT 1 FROM balance FOR UPDATE"):
            both = [pool.submit(one.ledger.reserve, [request]) for one in (till, other)]
            wait_until(lambda: waiting_for_locks(till) == 2)
        verdicts = [one.result()[0] for one in both]

    assert kinds(verdicts) == {"Granted": 1, "AlreadyReserved": 1}
    assert AlreadyReserved(HoldState.HELD, 10, 0, "m") in verdicts
    assert till.totals("day") == (0, 20)
