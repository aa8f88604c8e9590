"""The schema of a ledger file: made, or brought to this version, by whoever opens it first."""

import sqlite3
from pathlib import Path

from spendgate.adapters.migration_files import migrations
from spendgate.adapters.statements import statements
from spendgate.errors import LedgerBrokenError

_SQL = statements("sqlite/migrations.sql")


def missing_migrations(connection: sqlite3.Connection, path: Path) -> list[int]:
    """Return the migrations that a file lacks; changes nothing, it may be another's file.

    Raises:
        LedgerBrokenError: if the file is no ledger, or a newer spendgate's.
    """
    names = {row[0] for row in connection.execute(_SQL["names"])}
    if names and "meta" not in names:
        raise LedgerBrokenError(f"{path} is a SQLite file but no spendgate ledger")
    version = _version(connection, path) if names else 0
    newest = max(migrations("sqlite"))
    if version > newest:
        raise LedgerBrokenError(
            f"{path} has ledger schema {version}, this spendgate knows {newest}; "
            "use the spendgate version that wrote it"
        )
    return [number for number in sorted(migrations("sqlite")) if number > version]


def migrate(connection: sqlite3.Connection, numbers: list[int]) -> None:
    """Apply migrations, all or none; the caller holds the file's lock."""
    if not numbers:
        return
    scripts = "\n".join(migrations("sqlite")[number] for number in numbers)
    version = f"{_SQL['put_version']};".replace("?", f"'{max(numbers)}'")
    connection.executescript(f"BEGIN IMMEDIATE;\n{scripts}\n{version}\nCOMMIT;")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    row = connection.execute(_SQL["version"]).fetchone()
    text = str(row[0]) if row else "none"
    if not text.isdecimal():
        raise LedgerBrokenError(f"{path} has ledger schema {text!r}, which isn't a number")
    return int(text)
