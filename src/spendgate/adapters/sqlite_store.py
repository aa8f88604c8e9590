"""One SQLite file for many threads and processes: WAL, a file lock before every write, checkpoints
aside.

The recipe is measured (reference/ledger.md §2.A). A `flock` in front of `BEGIN IMMEDIATE` bounds
the wait where SQLite's own busy handler starves a writer for seconds, and a checkpoint inside
somebody's commit is most of the p99, so a background thread does it.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from spendgate.adapters.statements import sql_text
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError

SCHEMA_VERSION = 1
CHECKPOINT_SECONDS = 0.25
_POLL_SECONDS = (0.00005, 0.0001, 0.0002, 0.0004)
_CACHED_STATEMENTS = 256

Row = tuple[object, ...]


class SqliteStore:
    """A ledger file with one writing and one reading connection per process.

    Connections belong to a process id: after a fork they are opened anew, never shared.
    """

    def __init__(
        self, path: Path, *, synchronous: str = "NORMAL", busy_seconds: float = 5.0
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._busy_seconds = busy_seconds
        self._opening = threading.Lock()
        self._session: _Session | None = None

    def session(self) -> "_Session":
        """Return this process's connections, opening them and creating the schema if needed.

        Raises:
            LedgerUnavailableError: if the file can't be opened now.
            LedgerBrokenError: if it is no ledger of this version.
        """
        current = self._session
        if current is not None and current.pid == os.getpid():
            return current
        with self._opening:
            current = self._session
            if current is None or current.pid != os.getpid():
                with self._errors():
                    current = self._open()
                self._session = current
            return current

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """Run one transaction alone; it commits at the end of the block or leaves nothing."""
        session = self.session()
        with self._errors(), session.writing(self._busy_seconds) as connection:
            yield connection

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one query on the last committed state, without waiting for writers."""
        session = self.session()
        with self._errors(), session.read_lock:
            return session.reader.execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Generator[sqlite3.Connection]:
        """Run several queries on one committed state."""
        session = self.session()
        with self._errors(), session.read_lock:
            session.reader.execute("BEGIN")
            try:
                yield session.reader
            finally:
                session.reader.execute("COMMIT")

    def close(self) -> None:
        """Stop the checkpointer and close this process's connections."""
        session, self._session = self._session, None
        if session is not None and session.pid == os.getpid():
            session.close()

    def _open(self) -> "_Session":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            guard = open(f"{self.path}.lock", "a+b")  # noqa: PTH123, SIM115 - kept open for its lock
        except OSError as error:
            raise LedgerUnavailableError(
                f"the ledger's folder {self.path.parent} can't be written: {error.strerror}"
            ) from error
        session = _Session(self.path, guard, self._synchronous)
        with session.writing(self._busy_seconds, begin=False) as connection:
            self._check_schema(connection)
        return session

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'"
        ).fetchone()
        if found is None:
            any_table = connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
            if any_table is not None:
                raise LedgerBrokenError(f"{self.path} is a SQLite file but no spendgate ledger")
            script = sql_text("sqlite/0001_ledger.sql")
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        version = row[0] if row else "none"
        if version != str(SCHEMA_VERSION):
            raise LedgerBrokenError(
                f"{self.path} has ledger schema {version}, this spendgate knows {SCHEMA_VERSION}; "
                "use the spendgate version that wrote it"
            )

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "no such" in str(error):
                raise LedgerBrokenError(f"{self.path} is damaged: {error}") from error
            raise LedgerUnavailableError(f"the ledger {self.path} can't answer: {error}") from error
        except sqlite3.DatabaseError as error:
            raise LedgerBrokenError(
                f"{self.path} can't be read as a ledger: {error}; restore it from a copy, it is "
                "never started afresh by itself"
            ) from error


class _Session:
    """The connections of one process."""

    def __init__(self, path: Path, guard: IO[bytes], synchronous: str) -> None:
        self.pid = os.getpid()
        self.read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._guard = guard
        self._writer = _connect(path, synchronous)
        self.reader = _connect(path, synchronous)
        self._stopped = threading.Event()
        self._path, self._synchronous = path, synchronous
        self._checkpointer = threading.Thread(
            target=self._checkpoint_forever, name="spendgate-checkpoint", daemon=True
        )
        self._checkpointer.start()

    @contextmanager
    def writing(self, busy_seconds: float, *, begin: bool = True) -> Generator[sqlite3.Connection]:
        deadline = time.monotonic() + busy_seconds
        if not self._write_lock.acquire(timeout=busy_seconds):
            raise LedgerUnavailableError(f"the ledger was busy for {busy_seconds} s")
        try:
            self._take_guard(deadline, busy_seconds)
            try:
                yield from self._transaction(begin)
            finally:
                fcntl.flock(self._guard, fcntl.LOCK_UN)
        finally:
            self._write_lock.release()

    def _transaction(self, begin: bool) -> Generator[sqlite3.Connection]:
        if begin:
            self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        if begin:
            try:
                self._writer.execute("COMMIT")
            except sqlite3.Error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _take_guard(self, deadline: float, busy_seconds: float) -> None:
        """Take the file lock by polling: a blocking flock never times out on a stopped holder."""
        attempt = 0
        while True:
            try:
                fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LedgerUnavailableError(
                        f"another process held the ledger for {busy_seconds} s"
                    ) from None
                time.sleep(_POLL_SECONDS[min(attempt, len(_POLL_SECONDS) - 1)])
                attempt += 1
            else:
                return

    def _checkpoint_forever(self) -> None:
        """Move the log into the file off everybody's path; truncate it when all is quiet."""
        connection = _connect(self._path, self._synchronous)
        last_moved, was_truncated = -1, False
        while not self._stopped.wait(CHECKPOINT_SECONDS):
            # A checkpoint that fails (a full disk, a busy reader) only leaves the log longer;
            # the writer meets the same trouble and reports it.
            try:
                _, log_frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if log_frames != last_moved:
                    last_moved, was_truncated = log_frames, False
                elif not was_truncated and log_frames > 0:
                    connection.execute("PRAGMA busy_timeout = 0")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    last_moved, was_truncated = -1, True
            except sqlite3.Error:
                last_moved = -1
        connection.close()

    def close(self) -> None:
        self._stopped.set()
        self._checkpointer.join(timeout=5)
        self._writer.close()
        self.reader.close()
        self._guard.close()


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
        timeout=1.0,
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection
