"""Connections that are cut and servers that crash: nothing acknowledged is lost or done twice."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.ledger.cable import Cable, Cut

from spendgate.adapters.hold_rows import HoldEnd
from spendgate.adapters.postgres_ends import PostgresEnds
from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.domain.decision import Granted, Refused
from spendgate.domain.event import Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import ReserveRequest, Settled, Settlement
from spendgate.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.ledger.conftest import Helper, Till

    OpenTill = Callable[..., Till]
    StartHelper = Callable[..., Helper]

pytestmark = [
    pytest.mark.parametrize("place", ["postgres"], indirect=True),
    pytest.mark.parametrize("lets_go_first", [True, False]),
]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_caller_whose_commit_was_cut_gets_its_own_grant(
    cabled: "Till", cable: Cable, arrives: bool
) -> None:
    cabled.budget("hour", "user:ann", 100, "rolling:60m")
    request, too_much = cabled.request("h#1", 60), cabled.request("h#2", 60)

    cable.cut = Cut(arrives)
    granted, refused = cabled.ledger.reserve([request, too_much])

    assert cable.cut is None
    assert isinstance(granted, Granted)
    assert isinstance(refused, Refused)
    assert cabled.totals("day") == (0, 60)
    assert cabled.ledger.audit().holds_open == 1
    cabled.assert_sound()


@pytest.mark.parametrize("arrives", [True, False])
def test_a_cut_commit_of_a_call_without_budgets_is_recognised_too(
    cabled: "Till", cable: Cable, arrives: bool
) -> None:
    request = cabled.request("h#1", 60, scopes={})

    cable.cut = Cut(arrives)
    (verdict,) = cabled.ledger.reserve([request])

    assert isinstance(verdict, Granted)
    assert cabled.ledger.audit().holds_open == 1


@pytest.mark.parametrize("arrives", [True, False])
def test_a_settlement_whose_commit_was_cut_is_booked_once_and_alarmed(
    cabled: "Till", cable: Cable, arrives: bool
) -> None:
    cabled.reserve("h#1", 60)

    cable.cut = Cut(arrives)
    settled = cabled.settle("h#1", 70)

    assert cable.cut is None
    assert settled == Settled("h#1", HoldState.SETTLED, 70, moved=True, is_overrun=True)
    assert cabled.totals("day") == (70, 0)
    assert cabled.ledger.audit().events == 1
    cabled.assert_sound()


@pytest.mark.parametrize("arrives", [True, False])
def test_a_server_that_stays_away_is_unavailable_and_asking_again_holds_once(
    cabled: "Till", cable: Cable, open_till: "OpenTill", arrives: bool
) -> None:
    request = cabled.request("h#1", 60)
    cabled.server.terms = type(cabled.server.terms)(timeout_seconds=0.5)
    cabled.ledger.close()
    cabled.reserve("connects the lane", 0)

    cable.cut = Cut(arrives, is_reachable_again=False)
    with pytest.raises(LedgerUnavailableError):
        cabled.ledger.reserve([request])
    cable.cut = None
    (verdict,) = cabled.ledger.reserve([request])

    assert type(verdict).__name__ == ("AlreadyReserved" if arrives else "Granted")
    assert open_till().totals("day") == (0, 60)


def test_a_network_that_swallows_everything_is_not_waited_for_without_end(
    cabled: "Till", cable: Cable
) -> None:
    request = cabled.request("h#1", 60)
    cabled.server.terms = type(cabled.server.terms)(timeout_seconds=0.5)
    cabled.ledger.close()
    cabled.reserve("connects the lane", 0)

    cable.is_stalled = True
    with pytest.raises(LedgerUnavailableError):
        cabled.ledger.reserve([request])
    cable.is_stalled = False

    assert isinstance(cabled.ledger.reserve([request])[0], Granted)


def test_terminated_backends_in_the_middle_of_traffic_harm_no_caller(
    till: "Till", postgres: "PostgresServer"
) -> None:
    till.budget("day", "user:ann", 10**9)
    till.reserve("before", 1)
    request = till.request("any", 10)
    ended = threading.Event()
    made: Counter[str] = Counter()

    def traffic(name: int) -> None:
        while not ended.is_set():
            hold_id = f"{name}.{made[str(name)]}"
            made[str(name)] += 1
            (verdict,) = till.ledger.reserve([replace(request, hold_id=hold_id)])
            assert isinstance(verdict, Granted)
            settled = till.settle(hold_id, 4)
            assert (settled.moved, settled.charged_nano) == (True, 4)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(traffic, name) for name in range(4)]
        for _ in range(15):
            time.sleep(0.02)
            postgres.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{till.database}'"
            )
        ended.set()
        for one in running:
            one.result()

    calls = sum(made.values())
    assert till.totals("day") == (4 * calls, 1)
    assert till.ledger.audit().events == calls
    till.assert_sound()


def insist(verb: Callable[[list[Any]], object], jobs: list[Any]) -> None:
    """Ask again as long as the server is away, as a caller does after a 503."""
    while True:
        try:
            verb(jobs)
        except LedgerUnavailableError:
            time.sleep(0.02)
        else:
            return


def reserve_forever(pipe: Connection, till: "Till", name: str, request: ReserveRequest) -> None:
    """Reserve and settle; say each thing that was answered, and survive the server."""
    ledger = till.again(busy_seconds=20).ledger
    number = 0
    while not pipe.poll():
        number += 1
        hold_id = f"{name}-{number}"
        insist(ledger.reserve, [replace(request, hold_id=hold_id)])
        pipe.send((hold_id, "held"))
        if number % 2:
            settlement = Settlement(hold_id, Charge(cost_nano=3), request.facts.occurred_at)
            insist(ledger.settle, [settlement])
            pipe.send((hold_id, "settled"))
    ledger.close()
    pipe.send("done")


def test_scenario_14_a_server_that_stops_at_once_has_every_hold_and_gets_every_end_again(
    till: "Till", postgres: "PostgresServer", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 10**9)
    till.reserve("before", 1)
    request = till.request("any", 10)
    helpers = [start_helper(reserve_forever, till, f"w{one}", request) for one in range(3)]
    acks: list[Any] = [helper.hear() for helper in helpers for _ in range(40)]

    for _ in range(3):
        postgres.stop_immediately()
        postgres.start()
        acks += [helper.hear() for helper in helpers for _ in range(40)]
    for helper in helpers:
        helper.pipe.send("stop")
    for helper in helpers:
        while (heard := helper.hear()) != "done":
            acks.append(heard)

    state_of = dict(till.query("SELECT hold_id, state FROM hold"))
    settled = {hold_id for hold_id, what in acks if what == "settled"}
    assert len(acks) > 400
    for hold_id, _ in acks:
        assert state_of[hold_id] == ("settled" if hold_id in settled else "held")
    till.assert_sound()


def test_an_end_that_a_crash_took_back_is_repeated(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("lost", 60)
    till.reserve("kept", 10)
    ends = [
        HoldEnd.settled(Settlement(name, Charge(cost_nano=5), till.noon))
        for name in ("lost", "kept")
    ]
    till.settle("kept", 5)

    # The server came back without the settlement of "lost".
    PostgresEnds(till.server.pools.others).confirm(ends)

    assert till.totals("day") == (10, 0)
    assert till.ledger.audit().events == 2
    till.assert_sound()


def test_ends_are_confirmed_behind_the_caller(till: "Till") -> None:
    assert isinstance(till.ledger, PostgresLedger)
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    till.settle("h#1", 5)
    deadline = time.monotonic() + 60
    while till.ledger.lanes().ends_unconfirmed and time.monotonic() < deadline:
        time.sleep(0.01)

    assert till.ledger.lanes().ends_unconfirmed == 0


def test_a_stopped_server_refuses_at_once_and_is_used_again_when_it_is_back(
    till: "Till", postgres: "PostgresServer"
) -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    request = till.request("h#2", 10)
    postgres.stop_immediately()
    try:
        for work in (
            lambda: till.ledger.reserve([request]),
            lambda: till.settle("h#1", 5),
            lambda: till.ledger.positions(request.claims),
            till.ledger.policies.policy,
            lambda: till.ledger.sweep(till.noon),
        ):
            with pytest.raises(LedgerUnavailableError):
                work()
    finally:
        postgres.start()

    assert isinstance(till.ledger.reserve([request])[0], Granted)
    assert till.settle("h#1", 5).moved
    till.assert_sound()
