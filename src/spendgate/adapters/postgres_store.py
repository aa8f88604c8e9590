"""A Postgres database for many processes: a session for each lane, a few for everything else."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from spendgate.adapters.per_process import PerProcess
from spendgate.adapters.postgres_errors import CONFLICTS, ConnectionLostError, connect_problem
from spendgate.adapters.postgres_migrations import migrate
from spendgate.adapters.postgres_pool import (
    LOSSES_MAX,
    BoundedConnection,
    PostgresPool,
    PostgresSession,
)
from spendgate.adapters.postgres_url import address
from spendgate.adapters.sql_store import Row
from spendgate.adapters.statements import statements
from spendgate.errors import LedgerUnavailableError

_SQL = statements("postgres/store.sql")
_CONFIGURE = statements("postgres/migrations.sql")["configure"]
_CONNECT_SECONDS_MIN = 2
"""What libpq rounds shorter waits up to."""
_LANES = 2
_ANSWER_MARGIN_SECONDS = 1.0
"""After the server's own time-outs, so that these speak first and keep the connection."""


@dataclass(frozen=True, slots=True)
class PostgresTerms:
    """How a store uses its server."""

    pool_max: int = 4
    """Connections of one process: one for each lane, the rest for reads and the policy."""
    timeout_seconds: float = 3.0
    lifetime_seconds: float = 1800.0
    lets_go_first: bool | None = None
    """Whether reserves let balances go before the disk has them; None as `durable_commit` finds."""


@dataclass(frozen=True, slots=True)
class Pools:
    """The connections of one process."""

    reserves: PostgresPool
    ends: PostgresPool
    others: PostgresPool


class PostgresStore:
    """The sessions of every process that uses one database.

    `parameters` is asked before each connection, because a password may be a token that expires.
    """

    session_type = PostgresSession

    def __init__(
        self, parameters: Callable[[], Mapping[str, str]], terms: PostgresTerms | None = None
    ) -> None:
        self.terms = terms or PostgresTerms()
        self._parameters = parameters
        self._pools = PerProcess(self._make_pools)
        self._is_migrated = False

    @property
    def pools(self) -> Pools:
        """This process's connections."""
        return self._pools.get()

    def open(self) -> None:
        """Connect once and bring the tables to this version, so that problems are told now.

        Raises:
            LedgerUnavailableError: if the server can't be reached or lets nobody in.
            LedgerBrokenError: if the tables are of a newer version, or can't be made.
        """
        with self.pools.others.session():
            pass

    @contextmanager
    def write(self) -> Generator[PostgresSession]:
        """Run one transaction alone among those that change the policy or number batches."""
        with self._transaction(_SQL["begin"]) as session:
            session.execute(_SQL["lock_writes"])
            yield session

    @contextmanager
    def snapshot(self) -> Generator[PostgresSession]:
        """Run several queries on one committed state."""
        with self._transaction(_SQL["begin_snapshot"]) as session:
            yield session

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one query on the last committed state."""

        def fetch(session: PostgresSession) -> list[Row]:
            with session.errors():
                return session.execute(sql, parameters).fetchall()

        return self.pools.others.run(fetch)

    def close(self) -> None:
        """Close this process's connections; they are opened again when needed."""
        pools = self._pools.take()
        if pools is not None:
            for pool in (pools.reserves, pools.ends, pools.others):
                pool.close()

    @contextmanager
    def _transaction(self, begin: str) -> Generator[PostgresSession]:
        self.read(_SQL["ping"])  # finds out about connections that broke while they were idle
        with self.pools.others.session() as session:
            try:
                with session.errors():
                    session.execute(begin)
                    yield session
                    session.execute(_SQL["commit"])
            except ConnectionLostError as error:
                raise LedgerUnavailableError(f"the ledger's connection broke: {error}") from error
            except CONFLICTS as error:
                raise LedgerUnavailableError(f"a change was in the way: {error}") from error

    def _make_pools(self) -> Pools:
        terms = self.terms
        reserves, ends, others = (
            PostgresPool(
                self._connect,
                size_max=size,
                timeout_seconds=terms.timeout_seconds,
                lifetime_seconds=terms.lifetime_seconds,
            )
            for size in (1, 1, terms.pool_max - _LANES)
        )
        return Pools(reserves, ends, others)

    def _connect(self) -> PostgresSession:
        for _ in range(LOSSES_MAX):
            with suppress(ConnectionLostError):  # cut while it was being set up
                return self._set_up()
        try:
            return self._set_up()
        except ConnectionLostError as error:
            raise LedgerUnavailableError(f"the ledger's connection broke: {error}") from None

    def _set_up(self) -> PostgresSession:
        given = dict(self._parameters())
        place, secret = address(given), given.get("password")
        try:
            connection = BoundedConnection.connect(**self._with_defaults(given), autocommit=True)
        except psycopg.Error as error:
            raise LedgerUnavailableError(connect_problem(error, place, secret)) from None
        connection.answer_seconds = self.terms.timeout_seconds + _ANSWER_MARGIN_SECONDS
        session = self.session_type(connection, place)
        try:
            self._prepare(session)
        except BaseException:
            session.close()
            raise
        return session

    def _with_defaults(self, given: Mapping[str, str]) -> dict[str, Any]:
        seconds = self.terms.timeout_seconds
        defaults = {
            "connect_timeout": str(max(round(seconds), _CONNECT_SECONDS_MIN)),
            # A dead network is noticed by the kernel: psycopg waits for an answer without end.
            "tcp_user_timeout": str(round(seconds * 1000)),
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "2",
            "target_session_attrs": "read-write",
            "application_name": "spendgate",
            "client_encoding": "UTF8",
        }
        return {**defaults, **given}

    def _prepare(self, session: PostgresSession) -> None:
        milliseconds = str(round(self.terms.timeout_seconds * 1000))
        with session.errors():
            session.execute(_CONFIGURE, (milliseconds,) * 3)
        if not self._is_migrated:
            migrate(session)
            self._is_migrated = True
