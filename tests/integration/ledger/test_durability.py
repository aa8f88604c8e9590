"""Who waits until a crash can't take back what was done, and who doesn't.

The disk that doesn't have it yet is a standby here, which commits wait for and which never comes:
that wait is the same one, and lasts as long as a test needs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.errors import LockNotAvailable
from tests.integration.ledger.cable import Cable, Cut
from tests.integration.ledger.patience import PATIENCE_SECONDS, wait_until

from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.domain.decision import Granted, Refused
from spendgate.domain.reservation import Verdict

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.ledger.conftest import Till

    OpenTill = Callable[..., Till]

pytestmark = [
    pytest.mark.parametrize("place", ["postgres"], indirect=True),
    pytest.mark.parametrize("lets_go_first", [True, False]),
]


@pytest.fixture
def patient(open_till: "OpenTill", lets_go_first: bool) -> "Till":
    """A ledger with a budget of 100, whose lane is connected and waits long for its server."""
    made = open_till(busy_seconds=PATIENCE_SECONDS, lets_go_first=lets_go_first)
    made.budget("day", "user:ann", 100)
    made.reserve("connects the lane", 0)
    return made


@contextmanager
def disk_that_lags(server: "PostgresServer") -> Iterator[None]:
    """Let nothing become durable for a while."""

    def wait_for(standbys: str) -> None:
        server.run(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
        server.run("SELECT pg_reload_conf()")
        wait_until(lambda: server.run("SHOW synchronous_standby_names") == [(standbys,)])

    wait_for("nobody")
    try:
        yield
    finally:
        wait_for("")


def waiting(till: "Till") -> int:
    """Return how many of the ledger's transactions wait until they or others are durable."""
    ((count,),) = till.query(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE (wait_event = 'SyncRep' OR wait_event_type = 'Lock')"
        " AND datname = current_database()"
    )
    return count


def locked_at_once(till: "Till") -> int | None:
    """Lock the balance as the next call would and return what is held in it; None if it can't."""
    with psycopg.connect(till.place, options="-csearch_path=spendgate") as connection:
        try:
            row = connection.execute("SELECT held FROM balance FOR UPDATE NOWAIT").fetchone()
        except LockNotAvailable:
            row = (None,)
        connection.rollback()
    assert row is not None
    return row[0]


def assert_waits(till: "Till", answer: "Future[list[Verdict]]", transactions: int = 1) -> None:
    wait_until(lambda: answer.done() or waiting(till) == transactions)
    assert not answer.done(), answer.exception()


def reserved_while_the_disk_lags(
    till: "Till", server: "PostgresServer", amount_nano: int
) -> tuple[Verdict, int | None]:
    """Return a verdict that waited, and what was held meanwhile if the balance wasn't locked."""
    request = till.request("h#1", amount_nano)
    with ThreadPoolExecutor(1) as pool:
        with disk_that_lags(server):
            answer = pool.submit(till.ledger.reserve, [request])
            assert_waits(till, answer)
            held = locked_at_once(till)
        (verdict,) = answer.result()
    return verdict, held


def test_a_grant_waits_for_the_disk_and_its_balances_need_not(
    patient: "Till", postgres: "PostgresServer", lets_go_first: bool
) -> None:
    verdict, held = reserved_while_the_disk_lags(patient, postgres, 60)

    assert isinstance(verdict, Granted)
    assert held == (60 if lets_go_first else None)
    patient.assert_sound()


def test_a_grant_that_was_looked_at_one_by_one_waits_for_the_disk_too(
    patient: "Till", postgres: "PostgresServer", lets_go_first: bool
) -> None:
    patient.reserve("leaves little", 90)
    assert isinstance(patient.reserve("near the limit", 60), Refused)

    verdict, held = reserved_while_the_disk_lags(patient, postgres, 10)

    assert isinstance(verdict, Granted)
    assert held == (100 if lets_go_first else None)
    patient.assert_sound()


def test_a_grant_found_again_after_its_connection_was_cut_waits_for_the_disk_too(
    cabled: "Till", cable: Cable, patient: "Till", postgres: "PostgresServer"
) -> None:
    request = cabled.request("h#1", 60)
    cabled.reserve("connects the cable", 0)

    with ThreadPoolExecutor(1) as pool:
        with disk_that_lags(postgres):
            cable.cut = Cut(arrives=True)
            answer = pool.submit(cabled.ledger.reserve, [request])
            assert_waits(patient, answer)
            cable.gives_up = True
            # The one that was cut, and the one that finds what that has committed.
            assert_waits(patient, answer, transactions=2)
        (verdict,) = answer.result()

    assert cable.cut is None
    assert isinstance(verdict, Granted)
    assert patient.totals("day") == (0, 60)
    patient.assert_sound()


def test_a_refusal_waits_for_no_disk(patient: "Till", postgres: "PostgresServer") -> None:
    request = patient.request("too much", 101)

    with ThreadPoolExecutor(1) as pool, disk_that_lags(postgres):
        answer = pool.submit(patient.ledger.reserve, [request])
        wait_until(lambda: answer.done() or waiting(patient))
        assert answer.done()

    assert isinstance(answer.result()[0], Refused)


def test_an_end_waits_for_no_disk_and_is_kept_until_it_is_there(
    patient: "Till", postgres: "PostgresServer"
) -> None:
    assert isinstance(patient.ledger, PostgresLedger)
    lanes = patient.ledger.lanes
    patient.reserve("h#1", 60)

    with disk_that_lags(postgres):
        settled = patient.settle("h#1", 5)
        wait_until(lambda: waiting(patient) or not lanes().ends_unconfirmed)
        kept = lanes().ends_unconfirmed
    wait_until(lambda: not lanes().ends_unconfirmed)

    assert (settled.moved, kept) == (True, 1)
    patient.assert_sound()
