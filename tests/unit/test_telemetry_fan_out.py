"""The fan-out: nothing waits, nothing raises, and one backend never touches another."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from tests.integration.telemetry.test_backends import CALL

from spendgate.adapters.telemetry import TelemetryFanOut
from spendgate.gateway.call_report import CallReport


@dataclass
class Backend:
    """Keeps what it gets; waits for a permit, or fails, if it is told to."""

    name: str = "kept"
    permit: threading.Event | None = None
    error: Exception | None = None
    got: list[CallReport] = field(default_factory=list)
    is_closed: bool = False
    began: threading.Event = field(default_factory=threading.Event)

    def send(self, reports: Sequence[CallReport]) -> None:
        self.began.set()
        if self.permit is not None:
            assert self.permit.wait(30)
        if self.error is not None:
            raise self.error
        self.got += reports

    def close(self) -> None:
        self.is_closed = True


def test_every_backend_gets_every_report_before_the_host_stops() -> None:
    first, second = Backend("first"), Backend("second")
    fan_out = TelemetryFanOut([], [first, second], queue_max=1000)

    for _ in range(500):
        fan_out.ended(CALL, 0.0)
    fan_out.close(30)

    assert (len(first.got), len(second.got)) == (500, 500)
    assert first.is_closed
    assert fan_out.lost == {"first": 0, "second": 0}


def test_a_slow_backend_loses_its_own_reports_and_nobody_elses() -> None:
    slow, quick = Backend("slow", permit=threading.Event()), Backend("quick")
    fan_out = TelemetryFanOut([], [slow, quick], queue_max=10)

    fan_out.ended(CALL, 0.0)
    assert slow.began.wait(30)
    for _ in range(15):
        fan_out.ended(CALL, 0.0)
    lost = fan_out.lost["slow"]
    assert slow.permit is not None
    slow.permit.set()
    fan_out.close(30)

    assert lost == 5
    assert len(slow.got) == 11
    assert len(quick.got) + fan_out.lost["quick"] == 16


def test_a_failing_backend_is_counted_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = Backend("failing", error=RuntimeError("key=sk-secret"))
    fan_out = TelemetryFanOut([], [failing], queue_max=10)

    with caplog.at_level(logging.WARNING):
        fan_out.ended(CALL, 0.0)
        fan_out.close(30)

    assert fan_out.lost == {"failing": 1}
    assert "telemetry to failing lost 1 reports so far: RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_host_that_stops_does_not_wait_for_a_backend_that_hangs() -> None:
    hanging = Backend("hanging", permit=threading.Event())
    fan_out = TelemetryFanOut([], [hanging], queue_max=10)
    fan_out.ended(CALL, 0.0)
    assert hanging.began.wait(30)
    fan_out.ended(CALL, 0.0)

    fan_out.close(0.05)

    assert fan_out.lost["hanging"] >= 1
    assert hanging.permit is not None
    hanging.permit.set()


def test_without_a_call_no_thread_is_started() -> None:
    idle = Backend("idle")
    before = threading.active_count()

    fan_out = TelemetryFanOut([], [idle], queue_max=10)

    assert threading.active_count() == before
    fan_out.close(1)
    assert idle.is_closed
