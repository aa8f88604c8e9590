"""One seed: the world it draws, its whole run, and the reckoning at the end."""

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from tests.ledgers.broken import SOUND, Parts
from tests.ledgers.crashing import CrashingPostgresStore, CrashingSqliteStore, Trap
from tests.simulation import traffic
from tests.simulation.auditor import Auditor, MoneyError
from tests.simulation.plan import Plan, Weather, draw
from tests.simulation.provider import Provider, price_book
from tests.simulation.scheduler import Scheduler, Steps
from tests.simulation.worker import Worker

from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_store import PostgresTerms
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.gateway.drain import flush_outbox

END_SECONDS = 900.0
_CHECK_SECONDS = 45.0
_BOOK = price_book()
_PATIENT = PostgresTerms(timeout_seconds=60.0)
"""How busy the machine is must not be part of a seed's life."""

MakeLedger = Callable[[Trap], Any]
"""Opens a ledger whose store passes the trap at each commit."""


class SeedFailedError(AssertionError):
    """A seed found wrong money; its message replays it."""


@dataclass(frozen=True)
class Run:
    """What one seed came to."""

    seed: int
    steps: int
    digest: str
    counts: dict[str, int]


class World:
    """Everything of one seed, and nothing outside of it."""

    book = _BOOK

    def __init__(
        self, seed: int, make_ledger: MakeLedger, parts: Parts, auditor: type[Auditor]
    ) -> None:
        self.scheduler = Scheduler(seed, self.die)
        self.plan: Plan = draw(Random(seed))
        self.trap = Trap()
        self.ledger = make_ledger(self.trap)
        self.sink = parts.sink()
        self.provider = Provider(self.scheduler, self.plan.weather)
        self.auditor = auditor(self.plan.budgets)
        self.is_store_out = self.is_sink_out = False
        self.jump_seconds = 0.0
        self._ids = 0
        self._batches: dict[int, int] = {}
        self.ledger.policies.put_budgets([b.as_budget(b.limit_nano) for b in self.plan.budgets])
        self.workers = [Worker(self, n, skew) for n, skew in enumerate(self.plan.skews)]

    def wall(self, skew_seconds: float = 0.0) -> datetime:
        """Return what a clock shows, which isn't the time."""
        seconds = self.scheduler.now + self.jump_seconds + skew_seconds
        return self.plan.start + timedelta(seconds=seconds)

    def new_id(self) -> str:
        """Return an id that no other has."""
        self._ids += 1
        return f"id{self._ids}"

    def batch(self, number: int) -> str:
        """Name a batch by its turn; a server's own numbers skip those that were rolled back."""
        return f"batch {self._batches.setdefault(number, len(self._batches) + 1)}"

    def send(self, body: dict[str, Any], ticket: traffic.Ticket) -> None:
        """Send a request to some worker; to one that is down it is lost."""
        worker = self.scheduler.random.choice(self.workers)
        if worker.is_up:
            after = self.scheduler.random.uniform(0.0, 1.0)
            self.scheduler.spawn(worker.name, worker.serve(body, ticket), after)

    def die(self, name: str) -> None:
        """Kill a process with all that it was doing; it is started again after a while."""
        self.scheduler.kill(name)
        after = self.scheduler.random.uniform(1.0, 20.0)
        for worker in self.workers:
            if worker.name == name and worker.is_up:
                worker.ledger.is_dead = True
                worker.is_up = False
                self.scheduler.note(f"{name} is gone")
                self.scheduler.spawn("world", self._restart(worker), after)
        if name == "flusher":
            self.scheduler.spawn(name, traffic.flusher(self), after)
        if name == "reconciler":
            self.scheduler.spawn(name, traffic.reconciler(self), after)

    def run(self) -> None:
        """Run to the end, and then let everything be settled."""
        for worker in self.workers:
            worker.start()
        for name, work in (
            ("flusher", traffic.flusher(self)),
            ("reconciler", traffic.reconciler(self)),
            ("operator", traffic.operator(self)),
            ("bad luck", traffic.bad_luck(self)),
            ("auditor", self._checks()),
        ):
            self.scheduler.spawn(name, work)
        for number in range(self.plan.clients):
            self.scheduler.spawn(f"client-{number}", traffic.client(self, number))
        self.scheduler.run(END_SECONDS)
        self._settle_all()

    def _settle_all(self) -> None:
        """Lose what is in flight, heal the rest, and compare bill, ledger and sink to the nano."""
        for worker in self.workers:
            self.scheduler.kill(worker.name)
        self.plan.weather = Weather(**dict.fromkeys(vars(self.plan.weather), 0.0))
        self.jump_seconds += 90_000
        at = self.wall()
        self.auditor.swept(at, self.ledger.sweep(at))
        billed = {row.hold_id: row.nano for row in self.provider.invoice}
        for hold_id, hold in self.auditor.holds.items():
            if hold.state == "expired":
                settlement = traffic.evidence(self, hold_id, billed.get(hold_id, 0))
                (said,) = self.ledger.settle([settlement])
                self.auditor.ended("settle", hold_id, settlement.charge.cost_nano, said)
        flush_outbox(self.ledger.outbox, self.sink, self.ledger.ledger_id, self.plan.flush_limit)
        self.auditor.check_ledger(self.ledger)
        self.auditor.check_sink(self.sink.events)
        self.auditor.check_invoice(self.provider.invoice)

    def _checks(self) -> Steps:
        while True:
            yield _CHECK_SECONDS
            self.auditor.check_ledger(self.ledger)

    def _restart(self, worker: Worker) -> Steps:
        worker.start()
        self.scheduler.note(f"{worker.name} is back")
        yield from ()


def simulate(
    seed: int,
    parts: Parts = SOUND,
    store: str = "memory",
    auditor: type[Auditor] = Auditor,
) -> Run:
    """Run one seed in `memory`, on a file (`sqlite`), or in the empty database of a URL.

    Raises:
        SeedFailedError: if the money is wrong; names the seed and shows the last steps.
    """
    with _opening(store, parts) as make_ledger:
        return _simulated(seed, make_ledger, parts, auditor)


@contextmanager
def _opening(store: str, parts: Parts) -> Generator[MakeLedger]:
    if store == "memory":
        yield lambda trap: parts.open(parts.store(trap, "simulated"))
        return
    opened: list[SqliteLedger | PostgresLedger] = []
    with tempfile.TemporaryDirectory() as folder:

        def open_ledger(trap: Trap) -> Any:
            if store == "sqlite":
                file = Path(folder) / "ledger.db"
                opened.append(SqliteLedger(CrashingSqliteStore(file, trap)))
            else:
                opened.append(PostgresLedger(CrashingPostgresStore(store, trap, _PATIENT)))
            return opened[0]

        try:
            yield open_ledger
        finally:
            for ledger in opened:
                ledger.close()
            if store != "sqlite":
                with psycopg.connect(store) as connection:
                    connection.execute("DROP SCHEMA IF EXISTS spendgate CASCADE")


def _simulated(seed: int, make_ledger: MakeLedger, parts: Parts, auditor: type[Auditor]) -> Run:
    world = World(seed, make_ledger, parts, auditor)
    try:
        world.run()
    except MoneyError as error:
        trace = "\n  ".join(world.scheduler.trace)
        raise SeedFailedError(
            f"{error}\n  {trace}\nseed {seed}; replay it with: make seeds SEED={seed}"
        ) from error
    scheduler = world.scheduler
    return Run(seed, scheduler.steps, scheduler.digest, world.auditor.counts)
