"""The two ways to make a reserve durable on Postgres, and which one a connection takes.

Locks are kept until a commit is on the disk. An org's balance is in every call, so all processes
together would make one commit per sync: where that takes milliseconds, it is what a ledger can do.
There the balances are let go at a commit that waits for nothing, and a second transaction of a
single log record waits for the disk, in the same round trip; the grant is answered after both.
Whoever saw the first decides on it and commits later in the same log, so that a crash which takes
it back takes that back too, and neither was answered (DeWitt et al., SIGMOD 1984: pre-committed
transactions). The second transaction costs more than a local disk takes, so it isn't for those.
"""

import time
from dataclasses import dataclass

from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.postgres_wire import Command
from spendgate.adapters.statements import statements

_SQL = statements("postgres/store.sql")
_BEGIN: Command = (_SQL["begin"], ())
_COMMIT: Command = (_SQL["commit"], ())
_PING: Command = (_SQL["ping"], ())
WAIT_FOR_DISK: Command = (_SQL["wait_for_disk"], ())
"""Returns when all that was committed before it, by anybody, is on the disk."""

SLOW_DISK_SECONDS = 0.001
"""From so long a wait on, balances are let go before it (measured, docs/benchmarks.md)."""
_MEASUREMENTS = 3


@dataclass(frozen=True, slots=True)
class DurableCommit:
    """What goes before and after the statements of a transaction that has to be durable."""

    begin: tuple[Command, ...]
    end: tuple[Command, ...]


_AT_ONCE = DurableCommit((_BEGIN,), (_COMMIT,))
_LET_GO_FIRST = DurableCommit((_BEGIN, (_SQL["without_waiting"], ())), (_COMMIT, WAIT_FOR_DISK))


def durable_commit(session: PostgresSession, lets_go_first: bool | None = None) -> DurableCommit:
    """Return how a connection commits; None measures at its first question how slow its disk is."""
    if lets_go_first is None:
        if session.disk_seconds is None:
            session.disk_seconds = _fastest(session, WAIT_FOR_DISK) - _fastest(session, _PING)
        lets_go_first = session.disk_seconds >= SLOW_DISK_SECONDS
    return _LET_GO_FIRST if lets_go_first else _AT_ONCE


def commit_seconds(session: PostgresSession) -> float:
    """Measure one durable commit."""
    return _taken(session, WAIT_FOR_DISK)


def _fastest(session: PostgresSession, command: Command) -> float:
    return min(_taken(session, command) for _ in range(_MEASUREMENTS))


def _taken(session: PostgresSession, command: Command) -> float:
    started = time.perf_counter()
    session.round_trip(command)
    return time.perf_counter() - started
