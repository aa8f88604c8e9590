"""What policy, outbox and audit need of a database, so that each is written once for all stores."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
"""One row; its columns' types are the schema's."""


class SqlCursor(Protocol):
    """What a statement answered."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        ...


class SqlConnection(Protocol):
    """A connection inside a transaction."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> SqlCursor:
        """Run one statement."""
        ...


class SqlStore(Protocol):
    """A database with one writer of policy and outbox numbers at a time."""

    def write(self) -> AbstractContextManager[SqlConnection]:
        """Run one transaction alone; it commits at the end of the block or leaves nothing."""
        ...

    def snapshot(self) -> AbstractContextManager[SqlConnection]:
        """Run several queries on one committed state."""
        ...

    def read(self, sql: str, parameters: Sequence[Any] = ...) -> list[Row]:
        """Run one query on the last committed state."""
        ...
