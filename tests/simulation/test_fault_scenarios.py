"""The named fault scenarios (reference/ledger.md §5) that one process can show, on every store.

docs/proof.md lists all 42, and where the others are tested.
"""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.ledgers.crashing import (
    AFTER_COMMIT,
    BEFORE_COMMIT,
    CrashingMemoryStore,
    CrashingPostgresStore,
    CrashingSqliteStore,
    ProcessDied,
    Trap,
)
from tests.ledgers.sinks import VersionedSink
from tests.simulation.stage import HOLD_SECONDS, HonestProvider, Stage

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.errors import LedgerUnavailableError, SinkUnavailableError
from spendgate.gateway.admission import Admission
from spendgate.gateway.drain import flush_outbox
from spendgate.gateway.outcome import judge
from spendgate.gateway.ports import EventBatch
from spendgate.gateway.reply import Reply
from spendgate.gateway.wire import CHAT, Host

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
PLENTY = 10**9
TOO_LATE = {"seconds": HOLD_SECONDS + 1}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    trap = Trap()
    if request.param == "memory":
        ledger: Any = MemoryLedger(CrashingMemoryStore(trap))
    elif request.param == "sqlite":
        ledger = SqliteLedger(CrashingSqliteStore(tmp_path / "ledger.db", trap))
    else:
        database = request.getfixturevalue("postgres").new_database()
        ledger = PostgresLedger(CrashingPostgresStore(database, trap))
    yield Stage(ledger, trap, NOON)
    ledger.close()


def test_scenario_01_worker_dies_between_reserve_and_dispatch(stage: Stage) -> None:
    stage.budget(PLENTY)
    admission = stage.admitted(stage.process())

    stage.wait(**TOO_LATE)
    stage.sweep()

    assert (stage.spent, stage.held) == (admission.granted.amount_nano, 0)
    stage.correct(admission.hold_id)
    assert stage.spent == stage.billed == 0
    stage.assert_sound()


def test_scenario_02_worker_dies_while_the_provider_answers(stage: Stage) -> None:
    stage.budget(PLENTY)
    admission = stage.admitted(stage.process())
    stage.provider.call(CHAT, admission.body)

    stage.wait(**TOO_LATE)
    stage.sweep()

    assert stage.spent == admission.granted.amount_nano > stage.billed > 0
    stage.correct(admission.hold_id)
    assert stage.spent == stage.billed
    stage.assert_sound()


@pytest.mark.parametrize("point", [BEFORE_COMMIT, AFTER_COMMIT])
def test_scenario_03_worker_dies_after_the_answer_at_the_settle(stage: Stage, point: str) -> None:
    stage.budget(PLENTY)
    gateway = stage.process()
    admission = stage.admitted(gateway)
    outcome = stage.provider.call(CHAT, admission.body)

    stage.trap.set(point)
    with pytest.raises(ProcessDied):
        gateway.finish(admission, judge(outcome, bills_5xx=True))
    stage.wait(**TOO_LATE)
    stage.sweep()
    stage.correct(admission.hold_id)

    assert stage.spent == stage.billed > 0
    assert stage.held == 0
    stage.assert_sound()


def test_scenario_04_worker_dies_inside_a_commit(stage: Stage) -> None:
    stage.budget(PLENTY)
    before = stage.admitted(stage.process())

    stage.die(BEFORE_COMMIT, stage.process())

    assert (stage.spent, stage.held) == (0, before.granted.amount_nano)
    stage.assert_sound()


def test_scenario_05_worker_dies_after_the_commit_before_its_answer(stage: Stage) -> None:
    stage.budget(PLENTY)
    stage.die(AFTER_COMMIT, stage.process(), key="once")
    held = stage.held

    reply = stage.admit(stage.process(), key="once")

    assert isinstance(reply, Reply)
    assert (reply.status, reply.body["error"]["code"]) == (409, "idempotency_replayed")  # type: ignore[index]  # a reply's body is JSON
    assert stage.held == held > 0
    stage.assert_sound()


def test_scenario_06_worker_paused_past_ttl_then_settles(stage: Stage) -> None:
    stage.budget(PLENTY)
    gateway = stage.process()
    admission = stage.admitted(gateway)
    stage.wait(**TOO_LATE)
    stage.sweep()
    assert stage.spent == admission.granted.amount_nano

    reply = stage.finish(gateway, admission)

    assert reply.status == 200
    assert stage.spent == stage.billed > 0
    stage.wait(**TOO_LATE)
    assert stage.sweep() == 0
    stage.assert_sound()


class StallingStream:
    """Gives an answer in pieces; before the last of them the process stands still for long."""

    def __init__(self, stage: Stage) -> None:
        finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        word = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        texts = [json.dumps(one) for one in (word, finish, {"choices": [], "usage": usage})]
        self._pieces = [f"data: {text}\n\n".encode() for text in (*texts, "[DONE]")]
        self._stage = stage
        self.charged_meanwhile = 0

    def read(self) -> bytes | None:
        if len(self._pieces) == 1:
            self._stage.wait(**TOO_LATE)
            self._stage.sweep()  # another process, which doesn't stand still
            self.charged_meanwhile = self._stage.spent
        return self._pieces.pop(0) if self._pieces else None

    def close(self) -> None:
        pass


class StallingProvider(HonestProvider):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stalling = StallingStream(stage)

    def stream(self, route: str, body: Any) -> Any:
        self.call(route, body)
        return self.stalling


def test_scenario_07_event_loop_stalls_while_streaming(stage: Stage) -> None:
    stage.budget(PLENTY)
    provider = stage.provider = StallingProvider(stage)
    body = stage.body() | {"stream": True}

    chunks = stage.process().stream(CHAT, body, host=Host.ASGI)

    assert not isinstance(chunks, Reply)
    assert len(list(chunks)) > 2
    assert provider.stalling.charged_meanwhile > stage.billed
    assert stage.spent == stage.billed > 0
    assert stage.held == 0
    stage.assert_sound()


class AnswerLost:
    """Does what it is asked, but nobody hears of a reserve."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def reserve(self, requests: Any) -> Any:
        self._ledger.reserve(requests)
        raise LedgerUnavailableError("the connection was cut at the commit")


def test_scenario_12_store_dies_during_the_reserve_commit(stage: Stage) -> None:
    stage.budget(PLENTY)
    cut_off = AnswerLost(stage.ledger)

    unknown = stage.admit(stage.process(cut_off), key="once")
    held = stage.held
    again = stage.admit(stage.process(), key="once")

    assert [reply.status for reply in (unknown, again) if isinstance(reply, Reply)] == [503, 409]
    assert stage.held == held > 0
    assert stage.provider.invoice == {}


@pytest.mark.parametrize(
    "midnight",
    [
        datetime(2026, 3, 8, 5, tzinfo=UTC),  # the night that is an hour short
        datetime(2026, 3, 9, 4, tzinfo=UTC),
        datetime(2026, 11, 1, 4, tzinfo=UTC),  # the night that is an hour long
        datetime(2026, 11, 2, 5, tzinfo=UTC),
    ],
)
def test_scenario_23_reserved_before_midnight_settled_after(
    stage: Stage, midnight: datetime
) -> None:
    stage.at = midnight - timedelta(seconds=0.1)
    stage.budget(PLENTY, "day", "America/New_York")
    gateway = stage.process()
    admission = stage.admitted(gateway)

    stage.at = midnight + timedelta(seconds=1)
    stage.finish(gateway, admission)
    stage.admitted(gateway)

    first, second = sorted(stage.by_period)
    assert stage.by_period[first] == (stage.billed, 0)
    assert stage.by_period[second] == (0, admission.granted.amount_nano)


def test_scenario_24_two_replicas_5_seconds_apart_around_midnight(stage: Stage) -> None:
    stage.at = datetime(2026, 6, 10, 23, 59, 58, tzinfo=UTC)
    stage.budget(6_000_000, "day")
    slow, fast = stage.process(), stage.process(skew_seconds=5.0)

    asked = [stage.admit(gateway) for _ in range(4) for gateway in (slow, fast)]
    admitted = [one for one in asked if isinstance(one, Admission)]

    assert sorted(stage.by_period) == ["2026-06-10", "2026-06-11"]
    assert all(0 < held <= 6_000_000 for _, held in stage.by_period.values())
    assert sum(one.granted.amount_nano for one in admitted) == stage.held
    assert len(admitted) < len(asked)


@pytest.mark.parametrize("jump", [{"days": 1}, {"hours": -1}])
def test_scenario_25_the_clock_jumps(stage: Stage, jump: dict[str, float]) -> None:
    limit = 4_000_000
    stage.budget(limit)
    gateway = stage.process()
    running = stage.admitted(gateway)

    stage.wait(**jump)
    stage.sweep()
    while isinstance(later := stage.admit(gateway), Admission):
        stage.finish(gateway, later)
        assert stage.spent + stage.held <= limit
    stage.finish(gateway, running)

    assert stage.billed == stage.spent <= limit
    stage.assert_sound()


def test_scenario_31_provider_hangs_to_the_time_out_but_bills(stage: Stage) -> None:
    stage.budget(PLENTY)
    stage.provider.is_mute = True
    gateway = stage.process()
    admission = stage.admitted(gateway)

    reply = stage.finish(gateway, admission)

    assert reply.status == 504
    assert stage.spent == admission.granted.amount_nano
    stage.correct(admission.hold_id)
    assert stage.spent == stage.billed > 0
    stage.assert_sound()


class AbsentSink(VersionedSink):
    def append(self, ledger_id: str, batch: EventBatch) -> None:
        raise SinkUnavailableError("away")


def test_scenario_36_the_sink_is_away_for_hours(stage: Stage) -> None:
    limit = 10_000_000
    stage.budget(limit)
    gateway = stage.process()
    began = stage.at
    while isinstance(admission := stage.admit(gateway), Admission):
        stage.finish(gateway, admission)
        with pytest.raises(SinkUnavailableError):
            flush_outbox(stage.ledger.outbox, AbsentSink(), stage.ledger.ledger_id, 10)
        stage.wait(minutes=10)

    waiting = stage.ledger.outbox.state()
    sink = VersionedSink()
    flush_outbox(stage.ledger.outbox, sink, stage.ledger.ledger_id, 10)

    assert stage.at - began > timedelta(hours=3)
    assert stage.billed == stage.spent <= limit
    assert (waiting.waiting_events, waiting.oldest_at) == (len(stage.provider.invoice), began)
    assert sum(event.cost_nano for event in sink.events) == stage.billed


def test_scenario_38_what_is_old_is_collected_while_a_hold_of_its_window_is_open(
    stage: Stage,
) -> None:
    stage.budget(PLENTY, "day")
    gateway = stage.process()
    running = stage.admitted(gateway)
    stage.finish(gateway, stage.admitted(gateway))
    stage.wait(days=10)
    stage.finish(gateway, stage.admitted(gateway))  # traffic, which says what day it is
    flush_outbox(stage.ledger.outbox, VersionedSink(), stage.ledger.ledger_id, 10)

    first = stage.ledger.collect(stage.at, timedelta(days=7))
    held = stage.held
    stage.finish(gateway, running)
    flush_outbox(stage.ledger.outbox, VersionedSink(), stage.ledger.ledger_id, 10)
    stage.wait(days=10)
    stage.finish(gateway, stage.admitted(gateway))
    second = stage.ledger.collect(stage.at, timedelta(days=7))

    assert (first.holds, first.balances) == (1, 0)
    assert held == running.granted.amount_nano
    assert second.balances == 2
    assert stage.billed == stage.ledger.audit().spent_nano
    stage.assert_sound()
    stage.at -= timedelta(days=20)  # a clock that is far behind finds its window again, empty
    again = stage.admitted(gateway)
    assert stage.by_period["2026-06-10"] == (0, again.granted.amount_nano)
    stage.assert_sound()


def test_scenario_39_two_replicas_sweep_at_once(stage: Stage) -> None:
    stage.budget(PLENTY)
    gateway = stage.process()
    amounts = [stage.admitted(gateway).granted.amount_nano for _ in range(20)]
    stage.wait(**TOO_LATE)
    barrier = threading.Barrier(2)
    swept: list[int] = []

    def sweep() -> None:
        barrier.wait()
        swept.append(stage.sweep())

    replicas = [threading.Thread(target=sweep) for _ in range(2)]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join()

    assert sum(swept) == len(amounts)
    assert (stage.spent, stage.held) == (sum(amounts), 0)
    stage.assert_sound()
