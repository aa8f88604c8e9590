"""Telemetry fan-out: each backend has a thread and a bounded queue of its own.

A call is never held up: a report that finds a queue full is dropped there and counted. A backend
that is slow, down or answers nonsense loses its own reports and nobody else's.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from spendgate.gateway.call_report import CallReport

_log = logging.getLogger(__name__)
BATCH_MAX = 200
"""Reports in one request to a backend."""

_LINGER_SECONDS = 0.5
"""How long a batch waits for company, so that a busy host makes few requests."""

_COMPLAINT_SECONDS = 60.0
"""At most one warning per backend in this time: a backend that is down fails every batch."""


class Backend(Protocol):
    """Where reports go; one thread at a time calls it."""

    @property
    def name(self) -> str:
        """The name that logs and metrics use."""
        ...

    def send(self, reports: Sequence[CallReport]) -> None:
        """Deliver reports; whatever it raises loses them."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class Recorder(Protocol):
    """Counts in memory, in the caller's thread."""

    def answered(self, outcome: str, seconds: float) -> None:
        """Count an admission or a refusal."""
        ...

    def ended(self, report: CallReport, seconds: float) -> None:
        """Count an end."""
        ...


class TelemetryFanOut:
    """Hands each report to every recorder and every backend; never blocks and never raises."""

    is_watching = True

    def __init__(
        self, recorders: Sequence[Recorder], backends: Sequence[Backend], *, queue_max: int
    ) -> None:
        self._recorders = tuple(recorders)
        self._lines = tuple(_Line(backend, queue_max) for backend in backends)

    def answered(self, outcome: str, seconds: float) -> None:
        """Pass on that a request was admitted, or why not."""
        for one in self._recorders:
            one.answered(outcome, seconds)

    def ended(self, report: CallReport, seconds: float) -> None:
        """Pass on how an attempt ended."""
        for one in self._recorders:
            one.ended(report, seconds)
        for line in self._lines:
            line.put(report)

    @property
    def lost(self) -> Mapping[str, int]:
        """How many reports each backend has lost, to a full queue or a failure."""
        return {line.backend.name: line.lost for line in self._lines}

    def close(self, seconds: float) -> None:
        """Deliver what waits, for at most so long in all; the rest is lost and counted."""
        deadline = time.monotonic() + seconds
        for line in self._lines:
            line.stop()
        for line in self._lines:
            line.join(max(0.0, deadline - time.monotonic()))


class _Line:
    """One backend's queue and thread; the thread starts with the first report."""

    def __init__(self, backend: Backend, queue_max: int) -> None:
        self.backend = backend
        self.lost = 0
        self._waiting: queue.Queue[CallReport | None] = queue.Queue(queue_max)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopped = threading.Event()
        self._complained_at = -_COMPLAINT_SECONDS

    def put(self, report: CallReport) -> None:
        if self._thread is None:
            self._start()
        try:
            self._waiting.put_nowait(report)
        except queue.Full:
            self._lose(1, "its queue is full")

    def stop(self) -> None:
        self._is_stopped.set()
        if self._thread is None:
            self.backend.close()
            return
        with suppress(queue.Full):  # then it doesn't wait for reports
            self._waiting.put_nowait(None)  # wakes it

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                # A daemon: the process ends without it.
                self._lose(self._waiting.qsize(), "the host stopped before it took them")

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                name = f"spendgate-telemetry-{self.backend.name}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        try:
            while batch := self._batch():
                try:
                    self.backend.send(batch)
                except Exception as error:  # noqa: BLE001 - whatever a backend's client raises
                    # Safe to lose: the ledger and Delta have the money; the loss is counted.
                    self._lose(len(batch), type(error).__name__)
        finally:
            self.backend.close()

    def _batch(self) -> list[CallReport]:
        """Return what waits, nothing when the host has stopped and all is delivered."""
        while True:
            try:
                first = self._waiting.get(block=not self._is_stopped.is_set())
            except queue.Empty:
                return []
            if first is not None:
                break
        if not self._is_stopped.is_set():
            self._is_stopped.wait(_LINGER_SECONDS)
        batch = [first]
        while len(batch) < BATCH_MAX:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is not None:
                batch.append(following)
        return batch

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAINT_SECONDS:
            self._complained_at = now
            _log.warning(
                "telemetry to %s lost %d reports so far: %s", self.backend.name, self.lost, why
            )
