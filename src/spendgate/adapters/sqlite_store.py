"""One SQLite file for many threads and processes: WAL, a file lock before every write, checkpoints
aside.

The recipe is measured (reference/ledger.md §2.A). A `flock` in front of `BEGIN IMMEDIATE` bounds
the wait where SQLite's own busy handler starves a writer for seconds, and a checkpoint inside
somebody's commit is most of the p99, so a background thread does it.
"""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType

from spendgate.adapters.sqlite_guard import SqliteGuard
from spendgate.adapters.sqlite_migrations import migrate, missing_migrations
from spendgate.adapters.sqlite_session import SqliteSession, configure, connect
from spendgate.errors import (
    LedgerBrokenError,
    LedgerBusyError,
    LedgerMovedError,
    LedgerUnavailableError,
)

Row = tuple[object, ...]


class SqliteStore:
    """A ledger file with one writing and one reading connection per process.

    SQLite's connections don't survive a fork, not even to be closed: its locks would be lost and
    the last process to close would delete the log under the others. So they are closed before
    every fork, and both sides open their own when they next need one.
    """

    def __init__(
        self, path: Path, *, synchronous: str = "NORMAL", busy_seconds: float = 5.0
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._busy_seconds = busy_seconds
        self._opening = threading.Lock()
        self._session: SqliteSession | None = None
        self._was_here = False
        _close_before_forks()
        _stores.add(self)

    def session(self) -> SqliteSession:
        """Return this process's connections, opening them and creating the schema if needed.

        Raises:
            LedgerUnavailableError: if the file can't be opened now.
            LedgerBrokenError: if it is no ledger of this version, or has been lost.
        """
        current = self._session
        if current is not None and current.is_open and current.pid == os.getpid():
            return current
        if not self._opening.acquire(timeout=self._busy_seconds):
            raise LedgerUnavailableError(f"the ledger wasn't opened within {self._busy_seconds} s")
        try:
            current = self._session
            if current is not None and current.pid != os.getpid():
                raise LedgerUnavailableError(
                    "this process was forked in the middle of a ledger transaction; fork before it"
                )
            if current is None or not current.is_open:
                with self._errors():
                    current = self._session = self._open()
            return current
        finally:
            self._opening.release()

    def write(
        self, busy_seconds: float | None = None
    ) -> AbstractContextManager[sqlite3.Connection]:
        """Run one transaction alone; it commits at the end of the block or leaves nothing.

        Raises:
            LedgerBusyError: if others are too long in the middle of theirs.
        """
        return _Writing(self, self._busy_seconds if busy_seconds is None else busy_seconds)

    def begin(self, busy_seconds: float) -> tuple[SqliteSession, sqlite3.Connection]:
        """Begin a transaction, for who calls `end` in any case.

        Raises:
            LedgerBusyError: if others are too long in the middle of theirs.
        """
        deadline = time.monotonic() + busy_seconds
        session = self._locked(_write_lock, deadline)
        try:
            return session, session.begin(deadline)
        except BaseException as error:
            session.write_lock.release()
            if isinstance(error, LedgerMovedError):
                self._forget(session)
            self._tell(error)
            raise

    def end(self, session: SqliteSession, error: BaseException | None) -> None:
        """Commit, or leave nothing after an error; raises the error as the ledger's own."""
        try:
            session.end(commits=error is None)
        except sqlite3.DatabaseError as failed:
            self._tell(failed)
            raise
        finally:
            session.write_lock.release()
        if error is not None:
            self._tell(error)

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one query on the last committed state, without waiting for writers."""
        with self._reading() as reader:
            return reader.execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Generator[sqlite3.Connection]:
        """Run several queries on one committed state."""
        with self._reading() as reader:
            reader.execute("BEGIN")
            try:
                yield reader
            finally:
                reader.execute("COMMIT")

    @property
    def waits_for_disk(self) -> bool:
        """Whether every commit waits until the disk has it."""
        return self._synchronous != "NORMAL"

    def close(self) -> None:
        """Stop the checkpointer and close this process's connections."""
        with self._opening:
            session, self._session = self._session, None
            if session is not None and session.pid == os.getpid():
                session.close()

    def pause(self) -> bool:
        """Close the connections until `resume`; False if somebody is too long in the middle."""
        if not self._opening.acquire(timeout=self._busy_seconds):
            return False
        # A session that stays open is left where it is, so that a forked child refuses it.
        session = self._session
        if session is not None and session.pid == os.getpid() and session.close(self._busy_seconds):
            self._session = None
        return True

    def resume(self) -> None:
        """Let the connections be opened again."""
        self._opening.release()

    def _forget(self, session: SqliteSession) -> None:
        """Let the next call open what is there now, or find that it is lost."""
        with self._opening:
            if self._session is session:
                self._session = None
        session.close()

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        deadline = time.monotonic() + self._busy_seconds
        session = self._locked(lambda one: one.read_lock, deadline)
        try:
            with self._errors():
                yield session.reader
        finally:
            session.read_lock.release()

    def _locked(
        self, lock_of: Callable[[SqliteSession], threading.Lock], deadline: float
    ) -> SqliteSession:
        """Return the open session with one of its locks held; a fork may close it meanwhile."""
        while True:
            session = self.session()
            lock = lock_of(session)
            if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise LedgerBusyError(f"the ledger was busy for {self._busy_seconds} s")
            if session.is_open:
                return session
            lock.release()

    def _open(self) -> SqliteSession:
        with ExitStack() as opened:
            guard = opened.enter_context(closing(SqliteGuard(self.path)))
            # Alone: SQLite has no busy handler for the switch to WAL.
            with guard.held(time.monotonic() + self._busy_seconds):
                self._refuse_lost_ledger(guard)
                writer, reader, mover = (
                    opened.enter_context(closing(connect(self.path))) for _ in range(3)
                )
                missing = missing_migrations(writer, self.path)
                for connection in (writer, reader, mover):
                    configure(connection, self._synchronous)
                migrate(writer, missing)
                guard.mark()
                self._was_here = True
            opened.pop_all()
        return SqliteSession(writer, reader, mover, guard, self.path)

    def _refuse_lost_ledger(self, guard: SqliteGuard) -> None:
        is_empty = not self.path.exists() or self.path.stat().st_size == 0
        # A process that had it open misses it even if the lock's file went with it.
        if is_empty and (guard.is_marked or self._was_here):
            raise LedgerBrokenError(
                f"the ledger that was at {self.path} is gone or empty; restore it from a copy, "
                "rebuild it from the tables with `spendgate audit --restore`, or remove "
                f"{guard.path} to start from zero"
            )

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            self._tell(error)
            raise

    def _tell(self, error: BaseException) -> None:
        """Raise an error of SQLite's as one of the ledger's; others stay what they are."""
        if isinstance(error, sqlite3.OperationalError):
            if "no such" in str(error):
                raise LedgerBrokenError(f"{self.path} is damaged: {error}") from error
            raise LedgerUnavailableError(f"the ledger {self.path} can't answer: {error}") from error
        if isinstance(error, sqlite3.DatabaseError):
            raise LedgerBrokenError(
                f"{self.path} can't be read as a ledger: {error}; restore it from a copy, it is "
                "never started afresh by itself"
            ) from error


class _Writing:
    """One transaction of a store, as a block; a class, because it is entered twice per call."""

    def __init__(self, store: SqliteStore, busy_seconds: float) -> None:
        self._store = store
        self._busy_seconds = busy_seconds

    def __enter__(self) -> sqlite3.Connection:
        """Begin."""
        self._session, connection = self._store.begin(self._busy_seconds)
        return connection

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Commit, or leave nothing after an error."""
        self._store.end(self._session, error)


def _write_lock(session: SqliteSession) -> threading.Lock:
    return session.write_lock


_stores: "weakref.WeakSet[SqliteStore]" = weakref.WeakSet()
_paused: list[SqliteStore] = []
_forking = threading.Lock()


@cache
def _close_before_forks() -> None:
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


def _before_fork() -> None:
    _forking.acquire()
    _paused.extend(store for store in list(_stores) if store.pause())


def _after_fork() -> None:
    while _paused:
        _paused.pop().resume()
    _forking.release()
