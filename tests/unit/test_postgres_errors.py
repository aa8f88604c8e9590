"""What a driver's text may tell: one line, and never the password that it may quote."""

import psycopg
import pytest

from spendgate.adapters.postgres_errors import connect_problem

SECRET = "a password with = and spaces"


@pytest.mark.parametrize(
    "said",
    [
        f'invalid connection option "{SECRET}"',
        f"connection failed:\n  password={SECRET}\n  host=db",
    ],
)
def test_a_password_that_the_driver_quotes_is_blotted_out(said: str) -> None:
    told = connect_problem(psycopg.OperationalError(said), "db:5432/ledger", SECRET)

    assert SECRET not in told
    assert "***" in told
    assert "\n" not in told
    assert told.startswith("the ledger at db:5432/ledger can't be reached: ")


def test_a_server_that_is_full_is_told_with_the_way_out() -> None:
    full = psycopg.OperationalError("FATAL: sorry, too many clients already")

    assert "lower SPENDGATE_LEDGER_POOL_MAX" in connect_problem(full, "db/ledger", None)
