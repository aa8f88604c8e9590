"""The file lock in front of every write of a SQLite ledger.

A holder that is stopped or slow is waited for until a deadline, which a blocking flock can't do.
The lock's file also remembers that a ledger was made beside it, so that a ledger which has been
deleted or emptied is missed instead of being started again from zero.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from spendgate.errors import LedgerBusyError, LedgerUnavailableError

_POLL_SECONDS = (0.00005, 0.0001, 0.0002, 0.0004)
_MARK = b"A spendgate ledger was made beside this file.\n"


class SqliteGuard:
    """One process's handle of the lock beside a ledger."""

    def __init__(self, path: Path) -> None:
        """Open the lock's file.

        Raises:
            LedgerUnavailableError: if the folder or the file can't be written.
        """
        self.path = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise LedgerUnavailableError(
                f"the ledger's folder {path.parent} can't be written: {error.strerror}"
            ) from error

    @property
    def is_marked(self) -> bool:
        """True once a ledger was made beside the lock."""
        return os.fstat(self._file.fileno()).st_size > 0

    def mark(self) -> None:
        """Remember that a ledger was made."""
        if not self.is_marked:
            self._file.write(_MARK)
            self._file.flush()

    @contextmanager
    def held(self, deadline: float) -> Generator[None]:
        """Hold the lock; at most one process does.

        Raises:
            LedgerBusyError: if another process still has it at `deadline` (monotonic).
        """
        self.take(deadline)
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def release(self) -> None:
        """Let others have the lock."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def take(self, deadline: float) -> None:
        """Take the lock, for who releases it in any case.

        Raises:
            LedgerBusyError: if another process still has it at `deadline` (monotonic).
        """
        attempt = 0
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LedgerBusyError(
                        f"another process holds the ledger's lock {self.path}"
                    ) from None
                time.sleep(_POLL_SECONDS[min(attempt, len(_POLL_SECONDS) - 1)])
                attempt += 1
            except OSError as error:
                raise LedgerUnavailableError(
                    f"the ledger's lock {self.path} can't be taken: {error.strerror}"
                ) from error
            else:
                return
