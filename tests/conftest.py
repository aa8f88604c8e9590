"""What every test shares: how hypothesis runs here, and a real PostgreSQL server."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from spendgate.prove.postgres_server import PostgresServer as OwnServer

# Two shared cores make single examples slow at random, so that a deadline would fail by chance.
settings.register_profile(
    "spendgate", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("spendgate")


class PostgresServer(OwnServer):
    """The test run's server, with what only tests ask of one."""

    def ask_for_passwords_of(self, role: str, password: str) -> None:
        """Make a role that has to give its password."""
        self.run(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        rules = self.folder / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        self.run("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The run's PostgreSQL server; it starts when the first test asks for it."""
    # Here the server crashes but never the machine, which has all that was written. With many
    # databases a restart would otherwise wait for each of their files.
    with PostgresServer(fsync=False) as server:
        yield server
