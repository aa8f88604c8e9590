"""The round trip below psycopg's cursors: texts arrive as they are, errors leave it usable."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from spendgate.adapters.postgres_errors import ConnectionLostError
from spendgate.adapters.postgres_pool import BoundedConnection, PostgresSession
from spendgate.adapters.postgres_wire import array, text_array
from spendgate.errors import LedgerBrokenError

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

pytestmark = pytest.mark.parametrize("place", ["postgres"], indirect=True)
ODD = ['"', "\\", "{a,b}", "NULL", "", " ", "'; DROP TABLE hold; --", "%s", "$1", "é☃𝄞", "\n\t"]


@pytest.fixture
def session(till: "Till") -> Iterator[PostgresSession]:
    """A session of the ledger's own."""
    till.ledger.policy_version()
    with till.server.pools.others.session() as one:
        yield one


def test_texts_and_numbers_arrive_as_they_are(session: PostgresSession) -> None:
    numbers = [0, -1, 2**63 - 1, -(2**63)]
    texts = [ODD, *([one, one] for one in ODD), ["plain", "é"]]

    for _ in range(2):  # the second time, the statement is prepared
        answers = session.round_trip(
            *(("SELECT unnest(%s::text[])", (text_array(some),)) for some in texts),
            ("SELECT unnest(%s::bigint[])", (array(numbers),)),
            ("SELECT %s::text, %s::bigint", (ODD[0], 7)),
        )
        *arrays, found, pair = answers
        assert arrays == [[(one,) for one in some] for some in texts]
        assert (found, pair) == ([(one,) for one in numbers], [(ODD[0], 7)])


@pytest.mark.parametrize("values", [[], [""]])
def test_an_array_of_nothing_isn_t_one_of_an_empty_text(
    session: PostgresSession, values: list[str]
) -> None:
    ((length,),) = session.round_trip(("SELECT cardinality(%s::text[])", (text_array(values),)))[0]

    assert length == len(values)


def test_after_an_error_the_others_aren_t_run_and_the_connection_goes_on(
    session: PostgresSession,
) -> None:
    asked = "SELECT %s::integer"

    with pytest.raises(LedgerBrokenError, match="invalid input syntax"):
        session.round_trip(("BEGIN", ()), (asked, ("x",)), ("SELECT %s + 1", (2,)), ("COMMIT", ()))

    assert session.is_reset()
    assert session.round_trip((asked, (5,)), ("SELECT %s + 1", (2,))) == [[(5,)], [(3,)]]


def test_a_text_that_can_t_be_stored_isn_t_cut_short(session: PostgresSession) -> None:
    with pytest.raises(LedgerBrokenError):
        session.round_trip(("SELECT %s::text", ("a\0b",)))


def test_prepared_statements_survive_a_rollback(session: PostgresSession) -> None:
    for _ in range(8):  # psycopg prepares what it has seen a few times
        session.execute("SELECT 1")
    session.round_trip(("SELECT %s + 1", (1,)))
    session.execute("BEGIN")
    assert session.is_reset()

    session.execute("SELECT 1")
    assert session.round_trip(("SELECT %s + 1", (1,))) == [[(2,)]]


def test_who_is_interrupted_in_the_middle_hangs_up(
    session: PostgresSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BoundedConnection, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.round_trip(("SELECT pg_sleep(%s)", (0,)))

    assert not session.is_idle
    with pytest.raises((ConnectionLostError, psycopg.OperationalError)):
        session.round_trip(("SELECT %s + 1", (1,)))


def test_a_scope_s_value_may_be_any_text(till: "Till") -> None:
    till.budget("day", "user:*", 100)
    for number, value in enumerate(ODD):
        if value.strip() and value.isprintable():
            scopes = {"user": value}
            till.reserve(f"h{number}{value}", 10, scopes=scopes, fingerprint=value)
            assert till.settle(f"h{number}{value}", 4).moved
            (position,) = till.ledger.positions(till.claims(scopes))
            assert (position.spent_nano, position.held_nano) == (4, 0)
    till.assert_sound()
