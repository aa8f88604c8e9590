"""Random lives of every store, and proof that the machine notices a broken one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.ledgers.broken import BROKEN, SOUND, Parts
from tests.ledgers.broken_adjustments import BROKEN_ADJUSTMENTS
from tests.ledgers.broken_collections import BROKEN_COLLECTIONS
from tests.ledgers.crashing import AFTER_COMMIT, CrashingPostgresStore, CrashingSqliteStore, Passing
from tests.properties.adjusting_machine import AdjustingMachine
from tests.properties.collecting_machine import CollectingMachine
from tests.properties.ledger_machine import LedgerMachine

from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_url import parse_postgres_url
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.gateway.ports import SpendSink

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

ALL_BROKEN = BROKEN | BROKEN_ADJUSTMENTS | BROKEN_COLLECTIONS
EARLY_SEEDS = {
    "undelivered entries collected": 7,
    "void after expiry frees": 3,
    "any collector's clock believed": 4,
    "new payer not remembered": 7,
}
"""Lives that meet a rare fault early; other seeds take minutes."""
LIVES = settings(max_examples=50, stateful_step_count=40)
FEW_LIVES = settings(max_examples=8, stateful_step_count=25)


class MemoryLife:
    """The in-memory specification; a subclass is made of other parts."""

    parts: Parts = SOUND

    def __init__(self, folder: Path, passing: Passing) -> None:
        self._store = self.parts.store(passing)

    def open(self) -> MemoryLedger:
        return self.parts.open(self._store)

    def close(self) -> None:
        pass


class SqliteLife:
    """The embedded ledger on its file."""

    def __init__(self, folder: Path, passing: Passing) -> None:
        self._path, self._passing = folder / "ledger.db", passing
        self._open: list[SqliteLedger] = []

    def open(self) -> SqliteLedger:
        self.close()  # what a dead process held open; its file is as it left it
        self._open.append(SqliteLedger(CrashingSqliteStore(self._path, self._passing)))
        return self._open[-1]

    def close(self) -> None:
        while self._open:
            self._open.pop().close()


STORES = [MemoryLife, SqliteLife]


class PostgresLife:
    """The shared ledger in a database of the run's own server."""

    server: "PostgresServer"
    url: str

    def __init__(self, folder: Path, passing: Passing) -> None:
        self._passing = passing
        self._open: list[PostgresLedger] = []

    def open(self) -> PostgresLedger:
        self._end()
        self._open.append(PostgresLedger(CrashingPostgresStore(self.url, self._passing)))
        return self._open[-1]

    def close(self) -> None:
        self._end()
        database = parse_postgres_url(self.url)["dbname"]
        self.server.run("DROP SCHEMA spendgate CASCADE", database)

    def _end(self) -> None:
        while self._open:
            self._open.pop().close()


class DeltaMachine(CollectingMachine):
    """Flushes into real Delta tables."""

    sink_in = staticmethod(lambda folder: DeltaSink(folder / "delta"))

    def rows_of_the_tables(self) -> list[tuple[str, str, int]]:
        path = self.folder / "delta" / "spend_events"
        if not path.exists():
            return []
        rows = DeltaTable(path).to_pyarrow_table(columns=["event_id", "hold_id", "cost_usd"])
        return [
            (row["event_id"], row["hold_id"], int(row["cost_usd"].scaleb(9)))
            for row in rows.to_pylist()
        ]


@pytest.mark.parametrize("store", STORES)
def test_a_ledger_does_what_the_model_does(store: Any) -> None:
    class Machine(CollectingMachine):
        life = store

    run_state_machine_as_test(Machine, settings=LIVES)


@pytest.mark.parametrize("store", STORES)
def test_a_bill_above_its_bound_is_booked_as_it_is(store: Any) -> None:
    class Machine(CollectingMachine):
        life = store
        overrun_max = 40

    run_state_machine_as_test(Machine, settings=settings(LIVES, max_examples=25))


@pytest.mark.parametrize("overrun", [0, 40])
def test_the_same_lives_on_a_server(postgres: "PostgresServer", overrun: int) -> None:
    class Life(PostgresLife):
        server, url = postgres, postgres.new_database()

    class Machine(CollectingMachine):
        life = Life
        overrun_max = overrun

    run_state_machine_as_test(Machine, settings=settings(LIVES, max_examples=12))


@pytest.mark.parametrize("store", [*STORES, PostgresLife])
def test_a_late_settlement_nobody_heard_of_is_not_made_again(
    request: pytest.FixtureRequest, store: Any
) -> None:
    if store is PostgresLife:
        one = request.getfixturevalue("postgres")
        store = type("Life", (store,), {"server": one, "url": one.new_database()})
    life = type("Machine", (LedgerMachine,), {"life": store})()
    life.be_born()
    reserve = {"again": None, "body": "a", "user": "ann", "session": None, "death": None}
    life.reserve(**reserve, amount=10, ttl=1)
    life.step_the_clock(86_400)
    life.sweep(death=None)
    life.reserve(**reserve, amount=10, ttl=1)

    life.settle(which=1, share=50, extra=0, death=AFTER_COMMIT)
    sprung = life.trap.sprung
    life.settle(which=1, share=50, extra=0, death=None)

    assert sprung == AFTER_COMMIT
    life.balances_are_the_model_s()
    life.the_journal_adds_up()
    life.teardown()


def test_real_delta_tables_hold_what_the_ledger_holds() -> None:
    class Machine(DeltaMachine):
        life = SqliteLife

    run_state_machine_as_test(Machine, settings=FEW_LIVES)


@pytest.mark.parametrize("name", ALL_BROKEN)
def test_a_broken_ledger_is_caught(name: str) -> None:
    parts = ALL_BROKEN[name]

    class BrokenLife(MemoryLife):
        pass

    BrokenLife.parts = parts

    machine = CollectingMachine if name in BROKEN_COLLECTIONS else AdjustingMachine

    class Machine(machine):  # type: ignore[valid-type, misc]  # chosen above
        life = BrokenLife

        @staticmethod
        def sink_in(folder: Path) -> SpendSink:
            return parts.sink()

    lives = settings(
        LIVES, max_examples=2000, derandomize=True, database=None, phases=[Phase.generate]
    )

    if name in EARLY_SEEDS:
        seed(EARLY_SEEDS[name])(Machine)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=lives)
