"""A real ledger in a file or a server, short ways to use it, and real processes that use it."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.integration.ledger.cable import Cable

from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.postgres_url import parse_postgres_url
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import Budget, Claim
from spendgate.domain.decision import Candidate
from spendgate.domain.event import CallFacts, Charge, DecisionRecord
from spendgate.domain.reservation import ReserveRequest, Settled, Settlement, Verdict
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import parse_window

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
FORK = multiprocessing.get_context("fork")


SQLITE = "sqlite:///"


class Till:
    """One ledger, with calls that cost exactly what a test says."""

    noon = NOON

    def __init__(
        self, place: str, *, busy_seconds: float = 10.0, lets_go_first: bool | None = None
    ) -> None:
        self.place = place
        self.lets_go_first = lets_go_first
        self.ledger: SqliteLedger | PostgresLedger
        if place.startswith(SQLITE):
            self.path = Path(place.removeprefix(SQLITE))
            self.store = SqliteStore(self.path, busy_seconds=busy_seconds)
            self.ledger = SqliteLedger(self.store)
        else:
            terms = PostgresTerms(timeout_seconds=busy_seconds, lets_go_first=lets_go_first)
            self.server = PostgresStore(lambda: parse_postgres_url(place), terms)
            self.ledger = PostgresLedger(self.server)

    @property
    def database(self) -> str:
        """The name of a server's database."""
        return parse_postgres_url(self.place)["dbname"]

    def again(self, **options: Any) -> "Till":
        """Open the same ledger once more, as another process would."""
        return Till(self.place, **{"lets_go_first": self.lets_go_first, **options})

    def tamper(self, sql: str) -> int:
        """Change rows behind the ledger's back; returns how many."""
        if self.place.startswith(SQLITE):
            with closing(sqlite3.connect(self.path)) as file:
                changed = file.execute(sql).rowcount
                file.commit()
                return changed
        arrays = sql.replace("'[", "'{").replace("]'", "}'")
        with psycopg.connect(self.place, options="-csearch_path=spendgate") as connection:
            return connection.execute(arrays.encode()).rowcount

    def query(self, sql: str) -> list[Any]:
        """Read the ledger's own tables."""
        store = self.store if self.place.startswith(SQLITE) else self.server
        return store.read(sql)

    def budget(self, budget_id: str, scope: str, limit_nano: int, window: object = "day") -> Budget:
        """Add a budget that takes a call whole or not at all."""
        made = Budget(
            budget_id,
            Scope.parse(scope),
            limit_nano,
            parse_window(window),
            fit=False,
            source="people",
        )
        self.ledger.policies.put_budgets([made])
        return made

    def claims(self, scopes: Mapping[str, str], at: datetime = NOON) -> tuple[Claim, ...]:
        return self.ledger.policies.policy().claims(Identity(values=scopes), at)

    def request(
        self,
        hold_id: str,
        amount_nano: int,
        *,
        at: datetime = NOON,
        scopes: Mapping[str, str] | None = None,
        fingerprint: str = "body",
        ttl_seconds: float = 60,
    ) -> ReserveRequest:
        scopes = {"user": "ann"} if scopes is None else scopes
        policy = self.ledger.policies.policy()
        claims = policy.claims(Identity(values=scopes), at)
        return ReserveRequest(
            hold_id=hold_id,
            fingerprint=fingerprint,
            claims=claims,
            candidates={"m": Candidate("m", 0, 1000, amount_nano, 0, "prices-1")},
            model="m",
            facts=CallFacts(
                attempt=1,
                occurred_at=at,
                scopes=scopes,
                model_requested="m",
                model="",
                upstream="main",
                geo="global",
                price_version="",
                decision="",
                budget_ids=tuple(claim.budget.budget_id for claim in claims),
                tags={"cost_center": "4711"},
            ),
            policy_version=policy.version,
            expires_at=at + timedelta(seconds=ttl_seconds),
        )

    def reserve(self, hold_id: str, amount_nano: int, **more: Any) -> Verdict:  # as `request` says
        (verdict,) = self.ledger.reserve([self.request(hold_id, amount_nano, **more)])
        return verdict

    def settle(self, hold_id: str, cost_nano: int | None, at: datetime = NOON) -> Settled:
        charge = Charge(cost_nano=cost_nano, usage_source="reported", latency_ms=7)
        (settled,) = self.ledger.settle([Settlement(hold_id, charge, at)])
        return settled

    def void(self, hold_id: str, at: datetime = NOON) -> Settled:
        (settled,) = self.ledger.void([hold_id], at)
        return settled

    def expire(self, hold_id: str, at: datetime = NOON) -> Settled:
        (settled,) = self.ledger.expire([hold_id], at)
        return settled

    def decide(self, number: int) -> DecisionRecord:
        """Journal one refusal."""
        record = DecisionRecord(f"d{number}", NOON, {"user": "ann"}, "m", "refuse", "budget_held")
        self.ledger.record([record])
        return record

    def standing(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Return spent and held of every balance."""
        return {
            (row.budget_id, row.scope_value, row.period): (row.spent_nano, row.held_nano)
            for row in self.ledger.balances()
        }

    def totals(self, budget_id: str) -> tuple[int, int]:
        """Return spent and held of a budget over all its values and windows."""
        rows = [row for row in self.ledger.balances() if row.budget_id == budget_id]
        return sum(row.spent_nano for row in rows), sum(row.held_nano for row in rows)

    def assert_sound(self) -> None:
        assert self.ledger.audit().problems == ()
        if self.place.startswith(SQLITE):
            assert self.store.read("PRAGMA integrity_check") == [("ok",)]


class Helper:
    """A process beside the test's own: it runs one function and can be stopped or killed."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self.pipe, theirs = FORK.Pipe()
        self._process = FORK.Process(target=work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def hear(self) -> Any:  # whatever the helper sent
        assert self.pipe.poll(60), "the helper said nothing for a minute"
        return self.pipe.recv()

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def join(self) -> int | None:
        self._process.join(60)
        return self._process.exitcode

    def end(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join(60)
        self._process.close()
        self.pipe.close()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the test's ledger is, a new one; a module about one store says so by its own."""
    if request.param == "sqlite":
        return f"{SQLITE}{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def open_till(place: str) -> Iterator[Callable[..., Till]]:
    """Open the test's ledger, as often as wanted; all are closed at the end."""
    opened: list[Till] = []

    home = place

    def open_one(path: Path | None = None, *, place: str = home, **options: Any) -> Till:
        opened.append(Till(place if path is None else f"{SQLITE}{path}", **options))
        return opened[-1]

    yield open_one
    for till in opened:
        till.ledger.close()


@pytest.fixture
def till(open_till: Callable[..., Till], lets_go_first: bool | None) -> Till:
    """A ledger of its own for the test."""
    return open_till(lets_go_first=lets_go_first)


@pytest.fixture
def cable(postgres: "PostgresServer") -> Iterator[Cable]:
    """A cable to the server."""
    made = Cable(f"{postgres.folder}/.s.PGSQL.5432")
    yield made
    made.close()


@pytest.fixture
def lets_go_first() -> bool | None:
    """Whether reserves let balances go before the disk has them; a module may say so by its own."""
    return None


@pytest.fixture
def cabled(
    place: str, cable: Cable, open_till: Callable[..., Till], lets_go_first: bool | None
) -> Till:
    """The test's ledger over the cable, with a budget; its statements aren't prepared yet."""
    open_till().budget("day", "user:ann", 100)
    database = place.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    url = f"postgresql://postgres@127.0.0.1:{cable.port}/{database}"
    return open_till(place=url, busy_seconds=5, lets_go_first=lets_go_first)


@pytest.fixture
def start_helper() -> Iterator[Callable[..., Helper]]:
    """Start a process; none outlives the test."""
    started: list[Helper] = []

    def start(work: Callable[..., None], *arguments: object) -> Helper:
        started.append(Helper(work, *arguments))
        return started[-1]

    yield start
    for helper in started:
        helper.end()
