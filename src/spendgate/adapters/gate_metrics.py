"""Figures of one process's gate and of its ledger, as Prometheus text.

Labels are models and words of ours, never who called: the page has no names of scopes, and its
size doesn't grow with users.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spendgate.domain.money import NANO_PER_USD
from spendgate.errors import LedgerUnavailableError
from spendgate.gateway.call_report import CallReport

FRESH_SECONDS = 2.0
"""How long the ledger's figures are shown again: many scrapers don't make it busier."""

_OWN_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2, 5)
_TOKEN_KINDS = ("input", "output", "cache_read", "cache_write")
_CALL_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """What is asked of the ledger and the process when somebody looks."""

    open_holds: int
    held_nano: int
    overdue_holds: int
    outbox_events: int
    outbox_seconds: float
    commit_seconds: float | None
    lanes: Mapping[str, int]
    ends_unconfirmed: int


@dataclass(frozen=True, slots=True)
class _ModelFigures:
    """One model's counters: to look them up by their labels takes longer than to count."""

    charged: Counter
    reserved: Counter
    calls: Histogram
    tokens: Mapping[str, Counter]


class GateMetrics:
    """Counts what the gate does; `text` is the page."""

    def __init__(
        self,
        figures: Callable[[], LedgerFigures],
        lost: Callable[[], Mapping[str, int]],
        *,
        shared_folder: Path | None = None,
    ) -> None:
        self._shared_folder = shared_folder
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "spendgate_requests",
            "Requests by what became of them: admitted, replayed, or the code of a refusal",
            ["outcome"],
            registry=registry,
        )
        self._attempts = Counter(
            "spendgate_attempts",
            "Attempts that ended, by the model that served and how",
            ["model", "decision", "status", "usage"],
            registry=registry,
        )
        self._charged = Counter(
            "spendgate_charged_usd", "What attempts cost, in USD", ["model"], registry=registry
        )
        self._reserved = Counter(
            "spendgate_reserved_usd",
            "What was held for the attempts that ended, in USD; charged ÷ reserved is the capture "
            "ratio",
            ["model"],
            registry=registry,
        )
        self._tokens = Counter(
            "spendgate_tokens", "Reported tokens", ["model", "kind"], registry=registry
        )
        unheld_text = "Attempts that went out without a hold while the ledger was away"
        self._unheld = Counter("spendgate_unheld_calls", unheld_text, registry=registry)
        self._admission = Histogram(
            "spendgate_admission_seconds",
            "From a parsed body to its admission or refusal, waiting for held money included",
            buckets=_OWN_BUCKETS,
            registry=registry,
        )
        self._settlement = Histogram(
            "spendgate_settlement_seconds",
            "From a model's answer to its booked end",
            buckets=_OWN_BUCKETS,
            registry=registry,
        )
        self._calls = Histogram(
            "spendgate_call_seconds",
            "From the reservation of an attempt to its end, the model's time included",
            ["model"],
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._models: dict[str, _ModelFigures] = {}
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._look = _Look(figures, lost)
        registry.register(self._look)

    def answered(self, outcome: str, seconds: float) -> None:
        """Count an admission or a refusal."""
        self._counter(self._requests, outcome).inc()
        self._admission.observe(seconds)

    def ended(self, report: CallReport, seconds: float) -> None:
        """Count an end."""
        model = self._models.get(report.model) or self._opened(report.model)
        source = report.usage_source or "none"
        labels = report.model, report.decision, str(report.status), source
        self._counter(self._attempts, *labels).inc()
        if report.is_unheld:
            self._unheld.inc()
        model.charged.inc(report.cost_nano / NANO_PER_USD)
        model.reserved.inc(report.reserved_nano / NANO_PER_USD)
        if report.usage is not None:
            for kind, counter in model.tokens.items():
                if count := getattr(report.usage, kind):
                    counter.inc(count)
        self._settlement.observe(seconds)
        latency = (report.ended_at - report.started_at).total_seconds()
        model.calls.observe(max(0.0, latency))

    def _counter(self, family: Counter, *labels: str) -> Counter:
        """Return a family's counter; families differ in how many labels they have."""
        found = self._counters.get(labels)
        if found is None:
            found = self._counters[labels] = family.labels(*labels)
        return found

    def _opened(self, name: str) -> "_ModelFigures":
        tokens = {f"{kind}_tokens": self._tokens.labels(name, kind) for kind in _TOKEN_KINDS}
        opened = _ModelFigures(
            self._charged.labels(name),
            self._reserved.labels(name),
            self._calls.labels(name),
            tokens,
        )
        # Two threads may open the same model: its counters are the same ones.
        self._models[name] = opened
        return opened

    def text(self) -> bytes:
        """Return the page; with several workers their counts are added up."""
        if self._shared_folder is None:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, path=str(self._shared_folder))
        together.register(self._look)
        return generate_latest(together)


class _Look(Collector):
    """Asks ledger, lanes and telemetry when the page is asked for."""

    def __init__(
        self, figures: Callable[[], LedgerFigures], lost: Callable[[], Mapping[str, int]]
    ) -> None:
        self._figures = figures
        self._lost = lost
        self._lock = threading.Lock()
        self._known: LedgerFigures | None = None
        self._known_at = float("-inf")

    def describe(self) -> list[Metric]:
        """Name nothing ahead: registering must not look at the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures, none of the ledger's while it doesn't answer."""
        lost = CounterMetricFamily(
            "spendgate_telemetry_lost", "Reports a backend didn't get", labels=["backend"]
        )
        for backend, count in self._lost().items():
            lost.add_metric([backend], count)
        yield lost
        found = self._fresh()
        yield _gauge("spendgate_ledger_up", "Whether the ledger answers", float(found is not None))
        if found is not None:
            yield from _ledger_metrics(found)

    def _fresh(self) -> LedgerFigures | None:
        with self._lock:
            if time.monotonic() - self._known_at > FRESH_SECONDS:
                try:
                    self._known = self._figures()
                except LedgerUnavailableError:
                    self._known = None
                self._known_at = time.monotonic()
            return self._known


def _ledger_metrics(found: LedgerFigures) -> Iterator[Metric]:
    yield _gauge("spendgate_holds_open", "Calls in flight that hold money", found.open_holds)
    yield _gauge("spendgate_held_usd", "What they hold, in USD", found.held_nano / NANO_PER_USD)
    yield _gauge("spendgate_holds_overdue", "Holds past their time", found.overdue_holds)
    yield _gauge("spendgate_outbox_events", "Events that Delta lacks", found.outbox_events)
    yield _gauge("spendgate_outbox_age_seconds", "Age of the oldest", found.outbox_seconds)
    yield _gauge(
        "spendgate_ends_unconfirmed", "Ends not known to be durable", found.ends_unconfirmed
    )
    if found.commit_seconds is not None:
        what = "One commit of the ledger, measured at this host's start"
        yield _gauge("spendgate_ledger_commit_seconds", what, found.commit_seconds)
    lanes = GaugeMetricFamily(
        "spendgate_lane_depth", "Callers that wait in a lane of this process", labels=["lane"]
    )
    for lane, depth in found.lanes.items():
        lanes.add_metric([lane], depth)
    yield lanes


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)
