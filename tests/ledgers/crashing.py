"""Stores whose process can die at a commit, and nothing else about them is changed.

A store passes two points in every transaction: `before commit`, where a death must leave nothing,
and `after commit`, where the work is done but nobody hears of it. A Postgres ledger may try a verb
in a transaction that turns out empty and do the work in a second one: there only a transaction that
changes rows passes them.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spendgate.adapters.memory_store import MemoryStore
from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.postgres_url import parse_postgres_url
from spendgate.adapters.postgres_wire import Command
from spendgate.adapters.sqlite_store import SqliteStore

BEFORE_COMMIT = "before commit"
AFTER_COMMIT = "after commit"
BEFORE_APPEND = "before append"
AFTER_APPEND = "after append"

_BEGIN, _COMMIT = "BEGIN", "COMMIT"
_CHANGED = """
SELECT COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_xact_user_tables
"""

Passing = Callable[[str], None]
"""Told of each point that is passed; raises where the process is to die."""


class ProcessDied(BaseException):
    """The process is gone: no handler of the product may stop this."""


class Trap:
    """Lets the process die at one point, the n-th time it is passed."""

    def __init__(self) -> None:
        self._point: str | None = None
        self._passes_left = 0
        self.sprung: str | None = None

    def set(self, point: str | None, passes: int = 0) -> None:
        """Arm the trap, or disarm it; what sprang before is forgotten."""
        self._point, self._passes_left, self.sprung = point, passes, None

    def __call__(self, point: str) -> None:
        if point != self._point:
            return
        if self._passes_left:
            self._passes_left -= 1
            return
        self._point, self.sprung = None, point
        raise ProcessDied(point)


class CrashingMemoryStore(MemoryStore):
    """The in-memory store; it outlives its process, as a file would."""

    def __init__(self, passing: Passing, ledger_id: str | None = None) -> None:
        super().__init__(ledger_id)
        self._passing = passing

    @contextmanager
    def write(self) -> Generator[Any]:
        with super().write() as state:
            yield state
            self._passing(BEFORE_COMMIT)
        self._passing(AFTER_COMMIT)


class CrashingSqliteStore(SqliteStore):
    """The real file; a death before the commit rolls the real transaction back."""

    def __init__(self, path: Path, passing: Passing) -> None:
        super().__init__(path)
        self._passing = passing

    @contextmanager
    def write(self, busy_seconds: float | None = None) -> Generator[Any]:
        with super().write(busy_seconds) as connection:
            yield connection
            self._passing(BEFORE_COMMIT)
        self._passing(AFTER_COMMIT)


class CrashingPostgresStore(PostgresStore):
    """A real server's database; a death before the commit leaves the server to roll back."""

    def __init__(self, url: str, passing: Passing, terms: PostgresTerms | None = None) -> None:
        super().__init__(lambda: parse_postgres_url(url), terms)
        caller = threading.current_thread()

        def pass_point(point: str) -> None:
            if threading.current_thread() is caller:  # what goes on behind it isn't its transaction
                passing(point)

        class Session(_CrashingSession):
            passing = staticmethod(pass_point)

        self.session_type = Session


class _CrashingSession(PostgresSession):
    passing: Passing
    _begun = ""
    _changed_before = 0

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        works = sql == _COMMIT and self._begun == _BEGIN and self._changes_rows()
        if works:
            self.passing(BEFORE_COMMIT)
        answer = super().execute(sql, parameters)
        if works:
            self.passing(AFTER_COMMIT)
        if sql.startswith(_BEGIN):
            self._begin(sql)
        return answer

    def round_trip(self, *commands: Command) -> Any:
        """Go in several trips where the one would hide what a transaction does before its end."""
        answers: list[Any] = []
        rest = list(commands)
        if rest[0][0] == _BEGIN:
            answers += super().round_trip(rest.pop(0))
            self._begin(_BEGIN)
        at = next((n for n, (sql, _) in enumerate(rest) if sql == _COMMIT), None)
        if at is None:
            return answers + super().round_trip(*rest)
        if at:
            answers += super().round_trip(*rest[:at])
        works = self._changes_rows()
        if works:
            self.passing(BEFORE_COMMIT)
        answers += super().round_trip(*rest[at:])  # with what waits for the disk after a commit
        if works:
            self.passing(AFTER_COMMIT)
        return answers

    def _begin(self, sql: str) -> None:
        self._begun, self._changed_before = sql, self._changed()

    def _changes_rows(self) -> bool:
        return self._changed() > self._changed_before

    def _changed(self) -> int:
        """Count changed rows: of this transaction, and of those that the server still sums up."""
        (((changed,),),) = super().round_trip((_CHANGED, ()))
        return changed
