"""The spend sink on Delta tables, written by delta-rs without Spark.

A batch's number is the transaction version of the ledger's application in the table's log. So a
batch that is appended again changes nothing, and two writers of one batch conflict.
"""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from spendgate.adapters.event_rows import arrow_schema, decision_table, event_table
from spendgate.domain.table import DECISIONS, SPEND_EVENTS, Table
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.ports import EventBatch

COMMIT_ATTEMPTS_MAX = 3
"""Tries of one append: another writer may create the table or commit the same batch meanwhile."""


class DeltaSink:
    """The Delta tables `spend_events` and `decisions` below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._has_tables = False

    def prepare(self) -> None:
        """Import what the first append would, which takes seconds; Arrow brings pandas along."""
        event_table(())

    def create_tables(self) -> None:
        """Create the tables that aren't there yet; an append makes one anew that is removed later.

        Raises:
            SinkUnavailableError: if the folder can't be written.
        """
        if self._has_tables:
            return  # to open them takes as long as to append to them
        with _as_unavailable("create the tables"):
            for table in (SPEND_EVENTS, DECISIONS):
                self._opened(table)
        self._has_tables = True

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        """Append a batch exactly once, events before decisions; a repeat goes on where it stopped.

        Raises:
            SinkUnavailableError: if a table can't take it now.
        """
        with _as_unavailable(f"append batch {batch.number}"):
            self._append(SPEND_EVENTS, ledger_id, batch.number, event_table(batch.events))
            self._append(DECISIONS, ledger_id, batch.number, decision_table(batch.decisions))

    @contextmanager
    def sole_flusher(self) -> Generator[bool, None, None]:
        """Hold the folder's flush lock; yields False if another process has it.

        Raises:
            SinkUnavailableError: if the folder can't be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "flush.lock").open("a")
        except OSError as error:
            raise SinkUnavailableError(
                f"can't lock the sink in {self._folder}: {error.strerror}; "
                "give another home with --home or SPENDGATE_HOME"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _append(self, table: Table, ledger_id: str, number: int, rows: pa.Table) -> None:
        if rows.num_rows == 0:
            return
        application = f"spendgate/{ledger_id}/{table.name}"
        mark = CommitProperties(app_transactions=[Transaction(application, number)])
        for attempts_left in reversed(range(COMMIT_ATTEMPTS_MAX)):
            try:
                target = self._opened(table)
                # From a fresh snapshot delta-rs takes the same transaction twice, so ask first;
                # from a stale one it raises CommitFailedError, and the next round sees why.
                delivered = target.transaction_version(application)
                if delivered is not None and delivered >= number:
                    return
                write_deltalake(target, rows, mode="append", commit_properties=mark)
            except CommitFailedError:
                if not attempts_left:
                    raise
            else:
                return

    def _opened(self, table: Table) -> DeltaTable:
        path, schema = self._folder / table.name, Schema.from_arrow(arrow_schema(table))
        try:
            found = DeltaTable(path)
        except TableNotFoundError:
            return DeltaTable.create(
                path, schema=schema, mode="ignore", name=table.name, description=table.comment
            )
        known = {field.name for field in found.schema().fields}
        if missing := [field for field in schema.fields if field.name not in known]:
            # A table of an earlier version: its rows have nulls in what is new.
            found.alter.add_columns(missing)
        return found


@contextmanager
def _as_unavailable(what: str) -> Generator[None, None, None]:
    try:
        yield
    # ValueError is Arrow's for a value that doesn't fit its column.
    except (DeltaError, OSError, ValueError) as error:
        raise SinkUnavailableError(f"can't {what}: {type(error).__name__}: {error}") from error
