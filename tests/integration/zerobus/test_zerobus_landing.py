"""Events into Zerobus by the real SDK, to a server on loopback that speaks its protocol."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr
from tests.integration.zerobus.stand_in import ZerobusServer

from spendgate.adapters.telemetry import TelemetryFanOut
from spendgate.adapters.watchers import open_watchers
from spendgate.adapters.zerobus_landing import ZerobusLanding, record_of, stream_opener
from spendgate.bootstrap import open_ledger
from spendgate.config import Settings
from spendgate.domain.adjustment import Adjustment, Booking
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.errors import HostError, SinkUnavailableError
from spendgate.gateway.call_report import CallReport

AT = datetime(2026, 3, 10, 12, 30, 0, 123456, tzinfo=UTC)
FACTS = CallFacts(
    1, AT, {"user": "zoë"}, "m", "m", "main", "global", "v1", "allow", ("users",), {"a": "b"}
)


def event(hold_id: str) -> SpendEvent:
    charge = Charge(cost_nano=1_500_000_001, usage_source="reported")
    return SpendEvent(
        f"{hold_id}:1", hold_id, EventKind.SETTLED, AT, FACTS, charge, 2 * 10**9, 1_500_000_001
    )


def report(hold_id: str) -> CallReport:
    return CallReport(
        hold_id, "r", 1, "chat/completions", False, {}, {}, "m", "m", "main", "allow", 200, None,
        None, "reported", 1, 1, None, {}, None, None, (), (), AT, AT,
    )  # fmt: skip


class Journal:
    """Has the events of holds once they are committed."""

    def __init__(self, *hold_ids: str) -> None:
        self.known = {hold_id: event(hold_id) for hold_id in hold_ids}
        self.asked: list[Sequence[str]] = []

    def __call__(self, hold_ids: Sequence[str]) -> Sequence[SpendEvent]:
        self.asked.append(hold_ids)
        return [self.known[one] for one in hold_ids if one in self.known]


@pytest.fixture
def server() -> Iterator[ZerobusServer]:
    made = ZerobusServer()
    yield made
    made.close()


Landing = Callable[..., ZerobusLanding]


@pytest.fixture
def landing(server: ZerobusServer) -> Iterator[Landing]:
    made: list[ZerobusLanding] = []

    def make(journal: Journal, seconds: float = 20, **more: Callable[..., float]) -> ZerobusLanding:
        opener = stream_opener(
            server.endpoint, server.workspace_url, "main.spend.spend_landing",
            ("client", SecretStr("s3cret")), timeout_seconds=seconds,
        )  # fmt: skip
        made.append(ZerobusLanding(journal, opener, **{"sleep": lambda _: 0.0, **more}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_events_are_durable_when_send_returns_and_one_stream_serves_all(
    server: ZerobusServer, landing: Landing
) -> None:
    sink = landing(Journal("a#1", "b#1", "c#1"))

    sink.send([report("a#1"), report("b#1"), report("a#1")])
    sink.send([report("c#1")])

    assert [one["event_id"] for one in server.records] == ["a#1:1", "b#1:1", "c#1:1"]
    assert (server.streams, server.tables) == (1, ["main.spend.spend_landing"])
    assert server.authorizations == {"Bearer t0ken"}
    first = server.records[0]
    assert (first["occurred_at"], first["recorded_at"]) == (1773145800123456, 1773145800123456)
    body = json.loads(first["body"])
    assert (body["cost_usd"], body["occurred_at"]) == ("1.500000001", "2026-03-10T12:30:00.123456Z")
    assert (body["user_id"], body["tags"], body["org_id"]) == ("zoë", {"a": "b"}, None)


def test_an_end_that_is_committed_late_is_asked_for_again_and_then_left_to_the_drain_job(
    server: ZerobusServer, landing: Landing, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal("a#1")

    def commit(_: float) -> float:
        journal.known["late#1"] = event("late#1")
        return 0.0

    sink = landing(journal, sleep=commit)
    sink.send([report("a#1"), report("late#1"), report("never#1")])

    assert [one["event_id"] for one in server.records] == ["a#1:1", "late#1:1"]
    assert sink.unseen == 1
    assert "1 ends so far weren't in the journal" in caplog.text


def test_a_service_that_fails_is_told_left_alone_for_a_while_and_tried_again(
    server: ZerobusServer, landing: Landing
) -> None:
    now = [100.0]
    sink = landing(Journal("a#1"), seconds=2, clock=lambda: now[0])
    server.refuse = grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(SinkUnavailableError, match="NonRetriable"):
        sink.send([report("a#1")])
    server.refuse = None
    with pytest.raises(SinkUnavailableError, match="a moment ago"):
        sink.send([report("a#1")])

    now[0] += 60
    sink.send([report("a#1")])
    assert [one["event_id"] for one in server.records] == ["a#1:1"]

    # It takes records and acknowledges none: bounded, and what was sent may come twice.
    server.is_silent = True
    with pytest.raises(SinkUnavailableError, match="Zerobus: "):
        sink.send([report("a#1")])
    assert len(server.records) == 1

    # The stream that is silent is given up.
    server.is_silent = False
    now[0] += 60
    sink.send([report("a#1")])
    assert len(server.records) == 2


def test_what_is_lost_is_counted_and_no_call_waits(server: ZerobusServer, landing: Landing) -> None:
    server.refuse = grpc.StatusCode.UNAVAILABLE
    fan_out = TelemetryFanOut([], [landing(Journal("a#1"), seconds=1)], queue_max=2)

    for _ in range(3):
        fan_out.ended(report("a#1"), 0.0)
    fan_out.close(30)

    assert fan_out.lost["zerobus"] == 3


def test_the_ledgers_own_journal_is_what_is_streamed(tmp_path: Path) -> None:
    ledger = open_ledger(Settings(home=tmp_path))
    booked = Booking(5, (), FACTS, Charge())
    ledger.adjust([Adjustment("a", "f", booked, "ann", "why", AT)])

    (found,) = ledger.outbox.first_events(["a", "b"])

    assert (found.event_id, found.cost_nano) == ("a:1", 5)
    assert json.loads(record_of(replace(found, hold_id="a")))["event_id"] == "a:1"
    ledger.close()


def test_half_a_configuration_is_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, zerobus_endpoint="http://127.0.0.1:1")

    with pytest.raises(HostError, match="needs SPENDGATE_ZEROBUS_TABLE, _WORKSPACE_URL"):
        open_watchers(settings, lambda: pytest.fail("not asked"), Journal())
