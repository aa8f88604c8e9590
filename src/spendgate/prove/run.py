"""The proof under fire from start to end, on one store after the other."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from rich.console import Console

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import drain_outbox, open_ledger, utc_now
from spendgate.config import Settings
from spendgate.demo.books import Bill, Event, fetch_bill, read_events
from spendgate.demo.home import fresh_home
from spendgate.demo.proof import POLICY_FILE, Check
from spendgate.demo.reckoning import read_limits
from spendgate.demo.screen import Watch, say, step
from spendgate.demo.stage import CLI, Server, start_model_server
from spendgate.errors import HostError, SinkUnavailableError, SpendgateError
from spendgate.prove.account import (
    Accounts,
    before_checks,
    limit_checks,
    line_accounts,
    read_accounts,
    sum_checks,
)
from spendgate.prove.cast import make_clients, policy_text
from spendgate.prove.evidence import Corrected, correct, open_ended
from spendgate.prove.fleet import Fleet
from spendgate.prove.postgres_server import PostgresServer
from spendgate.prove.report import Outcome, show_outcome, write_outcome
from spendgate.prove.storm import Storm
from spendgate.prove.traffic import Caller, Traffic, open_client

LATENCY_MS = 250.0
"""Long enough that most of a call's life is spent at the provider."""
HOLD_SECONDS = 5.0
_UPSTREAM_SECONDS = 4.0
_REST_SECONDS_MAX = 90.0
_CORRECTION_SECONDS = 2.0
_POLL_SECONDS = 0.1


class Store(StrEnum):
    """Which ledger is proven."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class ProvePlan:
    """What to run."""

    home: Path
    store: Store = Store.BOTH
    ledger_url: str | None = None
    """An empty database of one's own, which is used and not crashed, instead of `store`."""

    seconds: float = 25.0
    processes: int = 3
    clients: int = 8
    """Per process."""

    seed: int = 1
    command: Sequence[str] = CLI
    """What starts spendgate; another one tries the proof on a gate that is broken."""


@dataclass(slots=True)
class _Act:
    """One store's run: everything that its parts share."""

    home: Path
    settings: Settings
    ledger: StoredLedger
    fleet: Fleet
    storm: Storm
    model: Server
    traffic: Traffic = field(default_factory=Traffic)
    corrected: Corrected = field(default_factory=Corrected)


def run_prove(plan: ProvePlan, console: Console) -> bool:
    """Prove each store, show it, and tell whether every check holds.

    Raises:
        HostError: if the home or the ledger can't be used, or a process doesn't start.
    """
    for name in ("psycopg", "spendgate"):
        # What they warn of is what is being done to them.
        logging.getLogger(name).addHandler(logging.NullHandler())
    home = fresh_home(plan.home)
    started = time.monotonic()
    holds = True
    for name, url in _ledgers(plan, home):
        folder = home / name
        folder.mkdir()
        with _server(url) as server:
            holds &= _prove(plan, folder, url or _new_database(server), server, console)
    verdict = "Proven" if holds else "NOT PROVEN"
    say(console, f"{verdict}; {time.monotonic() - started:.0f} s; every figure is in {plan.home}")
    return holds


def _ledgers(plan: ProvePlan, home: Path) -> list[tuple[str, str | None]]:
    """Name the ledgers; a URL of None is a database of the run's own."""
    if plan.ledger_url is not None:
        return [("given", plan.ledger_url)]
    stores = {
        Store.SQLITE: f"sqlite:///{home / Store.SQLITE / 'ledger.db'}",
        Store.POSTGRES: None,
    }
    return [(one.value, url) for one, url in stores.items() if plan.store in (one, Store.BOTH)]


@contextmanager
def _server(url: str | None) -> Generator[PostgresServer | None]:
    with PostgresServer() if url is None else nullcontext() as server:
        yield server


def _new_database(server: PostgresServer | None) -> str:
    assert server is not None  # noqa: S101 - a ledger without a URL has a server
    return server.new_database()


def _prove(
    plan: ProvePlan, home: Path, url: str, server: PostgresServer | None, console: Console
) -> bool:
    clients = make_clients(plan.processes * plan.clients)
    (home / POLICY_FILE).write_text(policy_text(clients, plan.seconds), encoding="utf-8")
    settings = Settings(home=home, ledger_url=url)
    say(
        console,
        f"\n{home.name}: {plan.processes} gates on one ledger, {len(clients)} clients that repeat "
        f"calls under idempotency keys, holds of {HOLD_SECONDS:.0f} s",
    )
    with closing(open_ledger(settings)) as ledger:
        if ledger.balances() or ledger.policies.policy().budgets:
            raise HostError(
                "this ledger is in use: the proof needs an empty database, because its sums are "
                "compared with the whole bill"
            )
        with start_model_server(home, LATENCY_MS) as model:
            environment = _gate_settings(home, url, model)
            fleet = Fleet(home, environment, plan.processes, plan.command)
            storm = Storm(fleet, server, HOLD_SECONDS, plan.seed)
            act = _Act(home, settings, ledger, fleet, storm, model)
            with step(console, f"{plan.processes} gates start: spendgate app"):
                fleet.start()
            try:
                outcome = _play(plan, act, console)
            finally:
                fleet.end()
    write_outcome(home, outcome)
    show_outcome(outcome, console)
    return outcome.holds


def _play(plan: ProvePlan, act: _Act, console: Console) -> Outcome:
    started = time.monotonic()
    _traffic(plan, act, console)
    with step(console, "gates stop by SIGTERM; holds that nobody ended run out and are charged"):
        statuses = act.fleet.stop()
        swept = _sweep_all(act)
        events = _drained(act)
        before = read_accounts(act.ledger, events)
        bill = _bill(act)
    checks = [_stopped(statuses), *before_checks(bill, before)]
    with step(console, "corrections by the provider's bill; everything is drained to Delta"):
        unknown = open_ended(before.events)
        act.corrected += correct(act.ledger, before.events, bill.by_call, utc_now())
        after = read_accounts(act.ledger, _drained(act))
    limits = read_limits(act.home / POLICY_FILE)
    calls = act.traffic.log.records
    lines = line_accounts(limits, bill, calls, after, list(act.traffic.refused_at_last.values()))
    return Outcome(
        name=act.home.name,
        lines=tuple(lines),
        checks=(
            *limit_checks(limits, lines),
            *sum_checks(bill, calls, after, lines),
            *checks,
            *_story_checks(act, after),
        ),
        faults=dict(act.storm.done),
        outcomes=dict(act.traffic.log.outcomes.most_common()),
        retries=dict(act.traffic.retries.most_common()),
        corrected=act.corrected,
        unknown_at_end=len(unknown),
        swept_at_end=swept,
        seconds=time.monotonic() - started,
    )


def _gate_settings(home: Path, url: str, model: Server) -> dict[str, str]:
    """Write the settings of the gates: short times, so that what takes hours takes seconds."""
    return {
        "SPENDGATE_HOME": str(home),
        "SPENDGATE_LEDGER_URL": url,
        "SPENDGATE_BUDGETS_FILE": str(home / POLICY_FILE),
        "SPENDGATE_UPSTREAM_URL": model.url,
        "SPENDGATE_UPSTREAM_TIMEOUT_SECONDS": str(_UPSTREAM_SECONDS),
        "SPENDGATE_HOLD_TTL_SECONDS": str(HOLD_SECONDS),
        "SPENDGATE_SWEEP_SECONDS": "1",
        "SPENDGATE_FLUSH_SECONDS": "1",
        "SPENDGATE_HOST_FLUSHES": "true",  # so that kills hit deliveries to Delta too
        "SPENDGATE_HELD_WAIT_SECONDS": "1",
        "SPENDGATE_LEDGER_TIMEOUT_SECONDS": "2",
        "SPENDGATE_SQLITE_BUSY_SECONDS": "2",
    }


def _traffic(plan: ProvePlan, act: _Act, console: Console) -> None:
    """Run the storm, and then let clients spend what is left, with one more death on the way."""
    clients = make_clients(plan.processes * plan.clients)
    with open_client(len(clients)) as http:
        callers = [Caller(one, act.fleet, act.traffic, http, plan.seed) for one in clients]
        over = threading.Event()
        working = [_Work(partial(one.work, over.is_set)) for one in callers]
        with Watch(console, act.traffic.log, "storm").running() as watch:
            _run(act, [_Work(lambda: act.storm.rage(plan.seconds), then=over.set), *working], watch)
        _clear_up(act, console)
        with Watch(console, act.traffic.log, "budgets run out").running() as watch:
            _spend_the_rest(act, callers, watch, act.storm.strike)
        _clear_up(act, console)
        with Watch(console, act.traffic.log, "what came free is spent").running() as watch:
            _spend_the_rest(act, callers, watch)


def _clear_up(act: _Act, console: Console) -> None:
    """Let the holds of dead gates run out, and correct them; every gate runs, and none is stopped.

    No gate waits so long between its hold and its call: what isn't on the bill then never was made.
    """
    since = utc_now()
    with step(console, "holds of the dead run out, and are corrected by the provider's bill"):
        time.sleep(HOLD_SECONDS)
        _sweep_all(act)
        act.corrected += correct(act.ledger, _drained(act), _bill(act).by_call, since)


def _spend_the_rest(
    act: _Act, callers: Sequence[Caller], watch: Watch, beside: Callable[[], None] | None = None
) -> None:
    """Let teams spend until a budget is empty, and the company's rest last."""
    for is_whole in (False, True):
        deadline = time.monotonic() + _REST_SECONDS_MAX
        spending = [
            _Work(partial(one.spend_the_rest, deadline))
            for one in callers
            if one.spends_the_whole is is_whole
        ]
        _run(act, [*spending, *([_Work(beside)] if beside and not is_whole else [])], watch)


class _Work(threading.Thread):
    """One of the things that go on at the same time."""

    def __init__(self, work: Callable[[], None], then: Callable[[], None] = lambda: None) -> None:
        super().__init__(daemon=True)  # an interrupted run ends at once
        self._work = work
        self._then = then
        self.error: Exception | None = None

    def run(self) -> None:
        """Do it, and keep what goes wrong for who waits."""
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised by who waits for it
            self.error = error
        finally:
            self._then()


def _run(act: _Act, works: Sequence[_Work], watch: Watch) -> None:
    """Do all at once; meanwhile the bill's evidence comes in, as a reconciling job brings it."""
    for work in works:
        work.start()
    corrected_at = time.monotonic()
    while any(work.is_alive() for work in works):
        watch.tick()
        time.sleep(_POLL_SECONDS)
        if time.monotonic() - corrected_at >= _CORRECTION_SECONDS:
            corrected_at = time.monotonic()
            _correct_some(act)
    for work in works:
        if work.error is not None:
            raise work.error


def _correct_some(act: _Act) -> None:
    try:
        events = read_events(act.settings.delta_folder)
        act.corrected += correct(act.ledger, events, _bill(act).by_call, None)
    except SpendgateError:
        return  # the ledger is down or the tables aren't there yet: the next round has it too


def _sweep_all(act: _Act) -> int:
    """Charge what is past its time, once every hold is."""
    swept = 0
    deadline = utc_now().timestamp() + HOLD_SECONDS
    while act.ledger.audit().holds_open and utc_now().timestamp() <= deadline + 1:
        swept += act.ledger.sweep(utc_now())
        time.sleep(_POLL_SECONDS)
    return swept


def _drained(act: _Act) -> tuple[Event, ...]:
    """Deliver what waits and read Delta; a gate that is at it is waited for."""
    deadline = time.monotonic() + _REST_SECONDS_MAX
    while drain_outbox(act.ledger, act.settings) is None:
        if time.monotonic() >= deadline:
            raise SinkUnavailableError("somebody else delivers this home's events without end")
        time.sleep(_POLL_SECONDS)
    return read_events(act.settings.delta_folder)


def _bill(act: _Act) -> Bill:
    bill = fetch_bill(act.model.url)
    if bill is None:
        raise HostError("the model server keeps no bill")
    return bill


def _stopped(statuses: Sequence[int]) -> Check:
    return Check(
        "SIGTERM ends each gate in order",
        all(status == 0 for status in statuses),
        f"exit statuses {', '.join(map(str, statuses))}",
    )


def _story_checks(act: _Act, after: Accounts) -> list[Check]:
    """Check that the faults did what they are for, and that clients heard nothing strange."""
    known = {None, "budget_exhausted", "idempotency_replayed", "upstream_error"}
    strange = [one for one in act.traffic.log.records if one.code not in known]
    codes = ", ".join(sorted({str(one.code) for one in strange})) or "none"
    expired = sum(event.kind == "expired" for event in after.events)
    return [
        Check(
            "faults left calls whose end nobody knew, and evidence corrected them",
            expired > 0 and not open_ended(after.events),
            f"{expired} charged in full, {len(open_ended(after.events))} not corrected",
        ),
        Check(
            "every call had an end that its client was told",
            not strange,
            f"{len(act.traffic.log.records)} calls, {len(strange)} otherwise: {codes}",
        ),
    ]
