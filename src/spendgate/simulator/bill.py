"""The provider's bill: every charge, exact, in integer nano-USD."""

from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from spendgate.simulator.usagelog import CallRecord
from spendgate.simulator.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Charge:
    """One billed call; `client_request_id` is empty where the caller sent none."""

    model: str
    cost_nano: int
    client_request_id: str
    usage_context: Mapping[str, str]


@dataclass(slots=True)
class Bill:
    """Sum charges. Lives in one event loop, so it needs no lock."""

    total_nano_usd: int = 0
    calls: int = 0
    """Billed calls."""

    requests: int = 0
    """Calls that reached a model, billed or not."""

    active: int = 0
    max_concurrency: int = 0
    revision: int = 0
    """Grows with every change."""

    by_model: Counter[str] = field(default_factory=Counter[str])
    by_client_request_id: Counter[str] = field(default_factory=Counter[str])
    by_usage_context: Counter[str] = field(default_factory=Counter[str])
    records: list[CallRecord] | None = None
    """Calls that aren't in the file of calls yet; None where no file is kept."""

    def record(self, call: CallRecord) -> None:
        """Remember a call until it is written."""
        if self.records is None:
            return
        self.revision += 1
        self.records.append(call)

    def take_records(self) -> list[CallRecord]:
        """Give the remembered calls away."""
        taken = self.records or []
        if taken:
            self.records = []
        return taken

    def charge(self, charge: Charge) -> None:
        """Add one call to the bill."""
        self.revision += 1
        self.total_nano_usd += charge.cost_nano
        self.calls += 1
        self.by_model[charge.model] += charge.cost_nano
        self.by_client_request_id[charge.client_request_id] += charge.cost_nano
        for key, value in charge.usage_context.items():
            self.by_usage_context[f"{key}={value}"] += charge.cost_nano

    @contextmanager
    def request(self) -> Generator[None]:
        """Count one request as being worked on."""
        self.revision += 1
        self.requests += 1
        self.active += 1
        self.max_concurrency = max(self.max_concurrency, self.active)
        try:
            yield
        finally:
            self.active -= 1

    def reset(self) -> None:
        """Start from zero; requests being worked on stay counted as such."""
        self.revision += 1
        self.total_nano_usd = self.calls = self.requests = 0
        self.max_concurrency = self.active
        self.by_model.clear()
        self.by_client_request_id.clear()
        self.by_usage_context.clear()

    def statement(self) -> JsonObject:
        """Write the bill as `GET /bill` answers it."""
        return {
            "total_nano_usd": self.total_nano_usd,
            "calls": self.calls,
            "requests": self.requests,
            "max_concurrency": self.max_concurrency,
            "by_model": self.by_model,
            "by_usage_context": self.by_usage_context,
            "by_client_request_id": self.by_client_request_id,
        }
