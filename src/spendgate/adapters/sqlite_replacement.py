"""A new ledger file in the place of a lost one: built beside it, put there whole or not at all."""

import os
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from spendgate.adapters.sqlite_guard import SqliteGuard
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.errors import LedgerUnavailableError

_SUFFIX = ".restoring"
_BESIDE = ("-wal", "-shm", ".lock")


def is_lost(path: Path) -> bool:
    """Tell whether there is no ledger, or an empty file where one was."""
    return not path.exists() or path.stat().st_size == 0


@contextmanager
def replacement(path: Path, synchronous: str, busy_seconds: float) -> Generator[SqliteLedger]:
    """Build a ledger that takes the place of the lost one when the block has ended well.

    A host that starts meanwhile finds the lost ledger, and refuses; none finds half of the new one.

    Raises:
        LedgerUnavailableError: if the folder can't be written, or a ledger has appeared meanwhile.
    """
    made = path.with_name(f"{path.name}{_SUFFIX}")
    _remove(made)
    with closing(SqliteGuard(path)) as guard:
        was_marked = guard.is_marked
        guard.mark()
        ledger = SqliteLedger(SqliteStore(made, synchronous=synchronous, busy_seconds=busy_seconds))
        try:
            yield ledger
            ledger.close()
            with guard.held(time.monotonic() + busy_seconds):
                _put(made, path)
        except BaseException:
            if not was_marked:  # what was never there isn't missed
                guard.path.unlink(missing_ok=True)
            raise
        finally:
            ledger.close()
            _remove(made)


def _put(made: Path, path: Path) -> None:
    if not is_lost(path):
        raise LedgerUnavailableError(f"a ledger has appeared at {path} meanwhile; stop the hosts")
    if made.with_name(f"{made.name}-wal").exists():
        raise LedgerUnavailableError(f"{made} is still in use")
    # The lost ledger's log must not be taken for the new one's.
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    made.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(made: Path) -> None:
    for suffix in ("", *_BESIDE):
        made.with_name(made.name + suffix).unlink(missing_ok=True)
