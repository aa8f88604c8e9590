"""A few Postgres connections of one process: opened when needed, waited for briefly, renewed.

psycopg's own pool opens connections in threads of its own and tells a caller of a wrong password
only that nothing came in time; here the caller opens the connection and hears the reason.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import Any, TypeVar

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

from spendgate.adapters.postgres_errors import CONFLICTS, ConnectionLostError, ledger_errors
from spendgate.adapters.postgres_wire import Command, PostgresWire, Row
from spendgate.adapters.statements import statements
from spendgate.errors import LedgerUnavailableError

Result = TypeVar("Result")
CONFLICTS_MAX = 10
"""Times that a transaction is done anew because another was in its way."""
LOSSES_MAX = 3
"""Times that a transaction is done anew on another connection, if none of its commits was sent."""
_COMMIT = statements("postgres/store.sql")["commit"]
_ROLLBACK = (statements("postgres/store.sql")["rollback"], ())
_OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
_LOOK_SECONDS = 0.1
_PAUSE_SECONDS = (0.0, 0.01, 0.05, 0.1, 0.25)


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that hangs up when an answer doesn't come.

    The server bounds its statements itself; this is for networks that swallow what is sent, where
    psycopg would wait without end.
    """

    answer_seconds: float | None = None

    def wait(
        self, gen: PQGen[RV], interval: float = _LOOK_SECONDS, timeout: float | None = None
    ) -> RV:
        """Wait for one answer of the server."""
        if self.answer_seconds is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(_until(time.monotonic() + self.answer_seconds, gen), interval)
        except TimeoutError:
            self.close()
            raise psycopg.OperationalError("the server doesn't answer") from None


def _until(deadline: float, gen: PQGen[RV]) -> PQGen[RV]:
    """Pass on what a wait asks for and gets; it gets nothing ready every now and then."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError
            wanted = gen.send(ready)
    except StopIteration as ended:
        return ended.value


class PostgresSession:
    """One connection in somebody's hands."""

    def __init__(self, connection: BoundedConnection, place: str) -> None:
        self.made_at = time.monotonic()
        self.may_have_committed = False
        """Whether a commit was sent since this was last taken from its pool."""
        self.disk_seconds: float | None = None
        """What a commit waits for the disk, once somebody has measured it."""
        self._connection = connection
        self._wire = PostgresWire(connection)
        self._place = place

    def round_trip(self, *commands: Command) -> list[list[Row]]:
        """Run several statements at the price of one; return each one's rows."""
        self.may_have_committed |= any(sql == _COMMIT for sql, _ in commands)
        with self.errors():
            return self._wire.exchange(commands)

    def execute(
        self, sql: str, parameters: Sequence[Any] = (), /
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement."""
        self.may_have_committed |= sql == _COMMIT
        return self._connection.execute(sql.encode(), parameters or None)

    @contextmanager
    def errors(self) -> Generator[None]:
        """Speak of errors as the ledger does."""
        with ledger_errors(self._place, self._connection):
            yield

    @contextmanager
    def patient(self) -> Generator[None]:
        """Wait for answers as long as they take."""
        seconds, self._connection.answer_seconds = self._connection.answer_seconds, None
        try:
            yield
        finally:
            self._connection.answer_seconds = seconds

    @property
    def is_idle(self) -> bool:
        """True if it is open and outside of a transaction."""
        return self._connection.info.transaction_status == TransactionStatus.IDLE

    def is_reset(self) -> bool:
        """Leave any transaction; False, and hung up, where that can't be done."""
        if self._connection.info.transaction_status in _OPEN:
            with suppress(psycopg.Error):
                # Not through a cursor: psycopg would then drop all prepared statements.
                self._wire.exchange([_ROLLBACK])
        if not self.is_idle:
            self.close()
        return self.is_idle

    def close(self) -> None:
        """Hang up; the server rolls back what wasn't committed."""
        self._connection.close()


class PostgresPool:
    """At most `size_max` sessions at once; the one used last is used next."""

    def __init__(
        self,
        connect: Callable[[], PostgresSession],
        *,
        size_max: int,
        timeout_seconds: float,
        lifetime_seconds: float,
    ) -> None:
        self._connect = connect
        self._size_max = size_max
        self._timeout_seconds = timeout_seconds
        self._lifetime_seconds = lifetime_seconds
        self._free = threading.BoundedSemaphore(size_max)
        self._idle: deque[PostgresSession] = deque()
        self._is_closed = False

    def run(self, work: Callable[[PostgresSession], Result]) -> Result:
        """Do a whole transaction, anew after a conflict or a lost connection.

        `work` must be safe to repeat: when a connection is lost, its commit may have arrived.

        Raises:
            LedgerUnavailableError: if it wasn't done in time; a commit may still have arrived.
            LedgerBrokenError: if it can never be done.
        """
        deadline = time.monotonic() + self._timeout_seconds
        conflicts = losses = 0
        session: PostgresSession | None = None
        while True:
            try:
                with self.session() as session:
                    return work(session)
            except CONFLICTS as error:
                conflicts += 1
                if conflicts > CONFLICTS_MAX:
                    message = f"the ledger's transactions kept colliding: {type(error).__name__}"
                    raise LedgerUnavailableError(message) from error
                time.sleep(_PAUSE_SECONDS[min(conflicts, len(_PAUSE_SECONDS)) - 1])
            except ConnectionLostError as error:
                losses += 1
                self._forget_idle()  # what broke one connection has mostly broken them all
                if session is not None and session.may_have_committed:
                    self._wait_for_server(deadline, error)
                elif losses > LOSSES_MAX:
                    raise LedgerUnavailableError(
                        f"the ledger's connection broke: {error}"
                    ) from error

    @contextmanager
    def session(self) -> Generator[PostgresSession]:
        """Take a session for a while; what it left open is rolled back.

        Raises:
            LedgerUnavailableError: if none is free in time or none can be opened.
        """
        if not self._free.acquire(timeout=self._timeout_seconds):
            raise LedgerUnavailableError(
                f"the ledger's {self._size_max} connections were busy for {self._timeout_seconds} s"
            )
        try:
            session = self._idle_session() or self._connect()
            session.may_have_committed = False
            try:
                yield session
            finally:
                if session.is_reset():
                    self._put_back(session)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self._is_closed = True
        self._forget_idle()

    def _idle_session(self) -> PostgresSession | None:
        with suppress(IndexError):  # another thread may take the last one
            while True:
                session = self._idle.pop()
                if session.is_idle and self._is_young(session):
                    return session
                session.close()
        return None

    def _put_back(self, session: PostgresSession) -> None:
        self._idle.append(session)
        if self._is_closed:
            self._forget_idle()

    def _is_young(self, session: PostgresSession) -> bool:
        return time.monotonic() - session.made_at < self._lifetime_seconds

    def _forget_idle(self) -> None:
        with suppress(IndexError):  # another thread may take the last one
            while True:
                self._idle.pop().close()

    def _wait_for_server(self, deadline: float, error: ConnectionLostError) -> None:
        """Open a connection to go on with; a server that restarts is waited for until `deadline`.

        Giving up at once would answer a commit that did arrive as if it had not.
        """
        for pause in chain(_PAUSE_SECONDS, repeat(_PAUSE_SECONDS[-1])):
            if time.monotonic() >= deadline:
                raise LedgerUnavailableError(f"the ledger's connection broke: {error}") from error
            time.sleep(pause)
            with suppress(LedgerUnavailableError), self.session():
                return
