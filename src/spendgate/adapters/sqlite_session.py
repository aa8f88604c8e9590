"""The SQLite connections of one process: one writes, one reads, one moves the log into the file."""

import os
import sqlite3
import threading
import time
from pathlib import Path

from spendgate.adapters.sqlite_guard import SqliteGuard
from spendgate.errors import LedgerMovedError, LedgerUnavailableError

CHECKPOINT_SECONDS = 0.25
LOG_FRAMES_MAX = 16_384
"""Length of the log, in pages of 2 KiB (32 MiB), from which writers wait for it to be emptied.

Without that a ledger that is never idle for a moment never starts its log afresh: 860 MB in six
seconds of writing as fast as possible, measured.
"""
_CLOSE_SECONDS = 5.0
_CACHED_STATEMENTS = 256
_BUSY_SECONDS = 1.0


class SqliteSession:
    """Open connections, usable while `is_open` by whoever holds the lock of the one it uses."""

    def __init__(
        self,
        writer: sqlite3.Connection,
        reader: sqlite3.Connection,
        mover: sqlite3.Connection,
        guard: SqliteGuard,
        path: Path,
    ) -> None:
        self.pid = os.getpid()
        self.is_open = True
        self.write_lock = threading.Lock()
        self.read_lock = threading.Lock()
        self.reader = reader
        self._writer = writer
        self._mover = mover
        self._guard = guard
        self._path = os.fspath(path)
        self._file = _identity(self._path)
        self._stopped = threading.Event()
        self._checkpointer = threading.Thread(
            target=self._checkpoint_forever, name="spendgate-checkpoint", daemon=True
        )
        self._checkpointer.start()

    def begin(self, deadline: float) -> sqlite3.Connection:
        """Begin a transaction alone; the caller holds `write_lock`, and ends what has begun.

        Raises:
            LedgerMovedError: if the file was deleted or replaced: what is written here would be in
                nobody's ledger.
        """
        self._guard.take(deadline)
        try:
            if _identity(self._path) != self._file:
                raise LedgerMovedError(f"the ledger at {self._path} was deleted or replaced")
            self._writer.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._guard.release()
            raise
        return self._writer

    def end(self, *, commits: bool) -> None:
        """End the transaction; one whose commit fails leaves nothing."""
        try:
            if commits:
                self._writer.execute("COMMIT")
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._guard.release()

    def close(self, timeout_seconds: float = _CLOSE_SECONDS) -> bool:
        """Close all once nobody is in the middle of something; False if somebody still is."""
        deadline = time.monotonic() + timeout_seconds
        taken = [lock for lock in (self.write_lock, self.read_lock) if _take(lock, deadline)]
        is_alone = len(taken) == 2
        if is_alone and self.is_open:
            self.is_open = False
            self._stopped.set()
            self._checkpointer.join(timeout_seconds)
            self._writer.close()
            self.reader.close()
            self._guard.close()
        for lock in taken:
            lock.release()
        return is_alone and not self._checkpointer.is_alive()

    def _checkpoint_forever(self) -> None:
        frames_before = 0
        while not self._stopped.wait(CHECKPOINT_SECONDS):
            # A checkpoint that fails (a full disk, a busy reader) only leaves the log longer;
            # the writer meets the same trouble and reports it.
            try:
                frames_before = self._checkpoint(frames_before)
            except (sqlite3.Error, LedgerUnavailableError):
                frames_before = 0
        self._mover.close()

    def _checkpoint(self, frames_before: int) -> int:
        """Move the log into the file off everybody's path; empty it when idle or too long."""
        _, frames, _ = self._mover.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        is_idle = frames == frames_before
        if frames <= 0 or not (is_idle or frames > LOG_FRAMES_MAX):
            return frames
        # Almost everything is moved by now, so the writers are kept out for moments only.
        # A log that can't be emptied now is emptied later: waiting would hold up the writers.
        self._mover.execute("PRAGMA busy_timeout = 0")
        deadline = time.monotonic() + _BUSY_SECONDS
        if not _take(self.write_lock, deadline):
            return 0
        try:
            with self._guard.held(deadline):
                self._mover.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self.write_lock.release()
        return 0


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - twice per call, and half of Path.stat's time
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection without changing anything in the file."""
    return sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
        timeout=_BUSY_SECONDS,
    )


def configure(connection: sqlite3.Connection, synchronous: str) -> None:
    """Switch a connection to the write-ahead log, checkpoints aside.

    Raises:
        LedgerUnavailableError: if the file system can't carry a write-ahead log.
    """
    # Counts for a new file only: a commit's cost is the pages it writes, a dozen scattered ones,
    # and halving them took 12 of 63 µs off it (measured).
    connection.execute("PRAGMA page_size = 2048")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerUnavailableError(
            f"the ledger needs a write-ahead log but its disk only allows {mode!r}; use a local one"
        )
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA temp_store = MEMORY")


def _take(lock: threading.Lock, deadline: float) -> bool:
    return lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
