"""What went wrong in Postgres, in the ledger's words: try again, not now, or not at all."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg

from spendgate.adapters.postgres_url import without_secret
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError

CONFLICTS = (pg.SerializationFailure, pg.DeadlockDetected, pg.UniqueViolation)
"""Another transaction was in the way and this one was undone: do it anew.

A unique key that is suddenly taken is one of them: both first sights of a value insert its row.
"""
_GONE_STATES = ("08", "57P0")
"""Connection failures; a server that shuts down, has crashed, or is still starting."""
_PASSING = (pg.ReadOnlySqlTransaction, pg.IdleInTransactionSessionTimeout)
_FULL = "; lower SPENDGATE_LEDGER_POOL_MAX or let the server take more connections"


class ConnectionLostError(Exception):
    """The connection broke in the middle: whether a commit arrived is unknown."""


def connect_problem(error: psycopg.Error, place: str, secret: str | None) -> str:
    """Say why a connection can't be made."""
    text = without_secret(str(error), secret)
    hint = _FULL if "too many" in text or "connection slots" in text else ""
    return f"the ledger at {place} can't be reached: {text}{hint}"


@contextmanager
def ledger_errors(place: str, connection: "psycopg.Connection[Any]") -> Generator[None]:
    """Turn what the driver raises into the ledger's errors; conflicts pass as they are.

    Only the server's own first line is told: its details repeat values of rows.

    Raises:
        ConnectionLostError: if the connection is gone.
        LedgerUnavailableError: if the server can't do it now.
        LedgerBrokenError: if the tables aren't a ledger's, or a number doesn't fit.
    """
    try:
        yield
    except CONFLICTS:
        raise
    except psycopg.Error as error:
        text = error.diag.message_primary or type(error).__name__
        if connection.closed or _is_lost(error):
            connection.close()
            raise ConnectionLostError(text) from error
        if isinstance(error, (psycopg.OperationalError, *_PASSING)):
            raise LedgerUnavailableError(f"the ledger at {place} can't answer: {text}") from error
        raise LedgerBrokenError(f"the ledger at {place} can't be used: {text}") from error


def _is_lost(error: psycopg.Error) -> bool:
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_GONE_STATES)
    # The server's own errors have a state: this one is the driver's, about the connection.
    return isinstance(error, psycopg.OperationalError) and not isinstance(error, pg.PipelineAborted)
