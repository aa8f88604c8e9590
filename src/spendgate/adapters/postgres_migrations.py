"""The tables of the shared ledger: numbered files, applied once, whoever starts first."""

from psycopg import errors as pg

from spendgate.adapters.migration_files import migrations
from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.statements import statements
from spendgate.errors import LedgerBrokenError

SCHEMA = "spendgate"
"""The database schema that holds the ledger's tables."""
_SQL = statements("postgres/migrations.sql")
_TX = statements("postgres/store.sql")


def migrate(session: PostgresSession) -> None:
    """Bring a database to this version's tables; one starter does it, the others wait.

    Raises:
        LedgerBrokenError: if a newer spendgate made the tables, or they can't be made.
    """
    newest = max(migrations("postgres"))
    with session.errors(), session.patient():
        if _version(session) == newest:
            return
        session.execute(_TX["begin"])
        session.execute(_SQL["be_patient"])
        session.execute(_SQL["lock"])
        version = _version(session)
        if version > newest:
            raise LedgerBrokenError(
                f"the ledger's tables are of version {version}, this spendgate knows {newest}; "
                "use the newer spendgate that made them"
            )
        try:
            _apply(session, version)
        except pg.InsufficientPrivilege as error:
            raise LedgerBrokenError(
                f"this role can't make the ledger's tables: {error.diag.message_primary}; let the "
                f"database's owner start once, or run GRANT CREATE ON DATABASE … TO the role"
            ) from error
        session.execute(_TX["commit"])


def _apply(session: PostgresSession, version: int) -> None:
    session.execute(_SQL["create_schema"])
    for number, script in migrations("postgres").items():
        if number > version:
            session.execute(script)
            session.execute(_SQL["put_version"], (str(number),))


def _version(session: PostgresSession) -> int:
    """Return the number of the last migration; 0 where there are no tables yet."""
    (has_meta,) = session.execute(_SQL["has_meta"]).fetchone() or (False,)
    if not has_meta:
        return 0
    row = session.execute(_SQL["version"]).fetchone()
    text = str(row[0]) if row else "0"
    if not text.isdecimal():
        raise LedgerBrokenError(f"the ledger's tables are of version {text!r}, which is no number")
    return int(text)
