"""Named fault scenarios (reference/ledger.md §5) that need a real process, server or full disk.

docs/proof.md lists all 42, and where the others are tested.
"""

import os
import resource
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from spendgate.adapters.postgres_pool import CONFLICTS_MAX
from spendgate.domain.decision import Granted
from spendgate.domain.reservation import ReserveRequest
from spendgate.domain.scope import Scope
from spendgate.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.ledger.conftest import Helper, Till

    OpenTill = Callable[..., Till]
    StartHelper = Callable[..., Helper]

on_postgres = pytest.mark.parametrize("place", ["postgres"], indirect=True)
on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
SESSIONS = int(os.environ.get("SPENDGATE_TEST_SESSIONS", "100000"))
AT_ONCE = 500


def hold_and_settle(pipe: Connection, till: "Till", requests: list[ReserveRequest]) -> None:
    """Hold all, settle all but the last, and stay in the middle of that call."""
    other = till.again()
    for request in requests:
        other.ledger.reserve([request])
    for request in requests[:-1]:
        other.settle(request.hold_id, 5)
    pipe.send("in the middle of a call")
    pipe.recv()


@on_postgres
def test_scenario_09_container_is_killed_and_only_its_calls_in_flight_are_charged(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 1000)
    till.reserve("mine", 10, ttl_seconds=3600)
    one = till.request("any", 60)
    container = start_helper(
        hold_and_settle, till, [replace(one, hold_id=f"theirs-{number}") for number in range(4)]
    )
    container.hear()

    container.signal(signal.SIGKILL)
    container.join()
    swept = till.ledger.sweep(till.noon + timedelta(seconds=60))

    assert swept == 1
    assert till.totals("day") == (3 * 5 + 60, 10)
    assert till.settle("mine", 4).moved
    till.assert_sound()


def settle_and_drain(pipe: Connection, till: "Till", hold_ids: list[str]) -> None:
    """Settle, and close as a host does that is told to stop."""
    other = till.again()
    for hold_id in hold_ids:
        other.settle(hold_id, 5)
    other.ledger.close()
    pipe.send("closed")


@on_postgres
def test_scenario_10_scale_to_zero_makes_queued_settlements_durable(
    till: "Till", postgres: "PostgresServer", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 10_000)
    hold_ids = [f"h{number}" for number in range(50)]
    till.ledger.reserve([till.request(name, 60) for name in hold_ids])
    host = start_helper(settle_and_drain, till, hold_ids)

    assert host.hear() == "closed"
    postgres.stop_immediately()
    postgres.start()

    assert till.totals("day") == (5 * len(hold_ids), 0)
    till.assert_sound()


def failing_first(till: "Till", times: int, state: str, change: str = "INSERT") -> None:
    """Let so many changes of holds fail with an error of the server's, whatever rolls back."""
    with psycopg.connect(till.place, options="-csearch_path=spendgate") as connection:
        connection.execute("CREATE SEQUENCE failures")
        connection.execute(
            f"""
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF nextval('spendgate.failures') <= {times} THEN
                RAISE EXCEPTION 'injected' USING ERRCODE = '{state}';
              END IF;
              RETURN NEW;
            END $$
            """.encode()
        )
        connection.execute(
            f"CREATE TRIGGER fail BEFORE {change} ON hold EXECUTE FUNCTION fail()".encode()
        )


def failures(till: "Till") -> int:
    ((last,),) = till.query("SELECT last_value FROM failures")
    return last


@on_postgres
@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization", "deadlock"])
def test_scenario_16_a_serialization_error_or_deadlock_is_tried_again(
    till: "Till", state: str
) -> None:
    till.budget("day", "user:ann", 100)
    failing_first(till, 3, state)

    verdict = till.reserve("h#1", 60)

    assert isinstance(verdict, Granted)
    assert failures(till) == 4
    assert till.totals("day") == (0, 60)
    till.assert_sound()


@on_postgres
@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization", "deadlock"])
def test_scenario_16_tries_are_bounded_and_then_nothing_is_held(till: "Till", state: str) -> None:
    till.budget("day", "user:ann", 100)
    failing_first(till, 1000, state)

    with pytest.raises(LedgerUnavailableError, match="kept colliding"):
        till.reserve("h#1", 60)

    assert failures(till) == CONFLICTS_MAX + 1
    assert till.totals("day") == (0, 0)


@on_postgres
def test_scenario_16_tries_of_an_end_are_bounded_and_the_hold_covers_the_call(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    failing_first(till, 1000, "40001", "UPDATE")

    with pytest.raises(LedgerUnavailableError, match="kept colliding"):
        till.settle("h#1", 20)

    assert failures(till) == CONFLICTS_MAX + 1
    assert till.totals("day") == (0, 60)


def fill_the_disk(pipe: Connection, till: "Till", request: ReserveRequest) -> None:
    """Use the ledger while no file may grow any more, and again when it may."""
    other = till.again()
    other.reserve("opened", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = till.path.with_name(f"{till.path.name}-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 65_536, limits[1]))
    held = 0
    try:
        while True:
            other.ledger.reserve([replace(request, hold_id=f"h{held}")])
            held += 1
    except LedgerUnavailableError as error:
        pipe.send((held, str(error)))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (verdict,) = other.ledger.reserve([replace(request, hold_id=f"h{held}")])
    pipe.send(type(verdict).__name__)
    other.ledger.close()


@on_sqlite
def test_scenario_37_a_full_disk_fails_closed_and_loses_nothing(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 10**9)
    till.ledger.close()
    helper = start_helper(fill_the_disk, till, till.request("any", 10))

    held, error = helper.hear()
    seen = till.totals("day")
    after = helper.hear()

    assert held > 0
    assert "disk" in error or "full" in error
    assert seen in {(0, 1 + 10 * held), (0, 1 + 10 * (held + 1))}
    assert after == "Granted"
    assert till.totals("day") == (0, 1 + 10 * (held + 1))
    till.assert_sound()


@on_postgres
def test_scenario_37_a_server_whose_disk_is_full_fails_closed(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    failing_first(till, 1, "53100")

    with pytest.raises(LedgerUnavailableError):
        till.reserve("h#1", 60)

    assert till.totals("day") == (0, 0)
    assert isinstance(till.reserve("h#1", 60), Granted)


def test_scenario_40_random_session_ids_that_are_refused_leave_no_rows(till: "Till") -> None:
    till.budget("each-session", "session:*", 10)
    till.budget("day", "user:ann", 10**9)
    refused = till.request("any", 60, scopes={"user": "ann", "session": "s"})
    till.reserve("before", 10)
    met: Counter[str] = Counter()

    for first in range(0, SESSIONS, AT_ONCE):
        batch = [
            replace(refused, hold_id=f"h{number}", claims=claims_of(refused, f"s{number}"))
            for number in range(first, first + AT_ONCE)
        ]
        met.update(type(one).__name__ for one in till.ledger.reserve(batch))

    assert met == {"Refused": SESSIONS}
    assert list(till.standing()) == [("day", "ann", "2026-03-14")]
    assert till.query("SELECT count(*) FROM hold") == [(1,)]
    till.assert_sound()


def claims_of(request: ReserveRequest, session: str) -> Any:
    """Return the same claims for another session; matching budgets anew would take most time."""
    scope = Scope((("session", session),))
    return tuple(
        replace(claim, scope=scope) if claim.budget.budget_id == "each-session" else claim
        for claim in request.claims
    )
