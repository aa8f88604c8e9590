"""One job at a time on the tables of a home: Delta would end one of two with an error half-way.

On Databricks the bundle's `max_concurrent_runs: 1` and the runs' retries stand for this.
"""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from spendgate.errors import HostError

_FILE = "jobs.lock"


@contextmanager
def home_lock(home: Path) -> Generator[None]:
    """Keep other jobs off a home; one that isn't there is left for the job to tell of.

    Raises:
        HostError: if another job works on it, or it can't be written.
    """
    if not home.is_dir():
        yield
        return
    try:
        lock = (home / _FILE).open("a")
    except OSError as error:
        raise HostError(f"the home {home} can't be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(
                f"another job works on the tables of {home}; run this one again when it has ended"
            ) from None
        yield
