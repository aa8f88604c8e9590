"""A model server that keeps its own bill, with its own prices and its own arithmetic."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.simulation.plan import Weather
from tests.simulation.scheduler import Scheduler

from spendgate.domain.price import Price, PriceBook, TokenClass
from spendgate.gateway.ports import (
    UpstreamAnswer,
    UpstreamLost,
    UpstreamNotSent,
    UpstreamOutcome,
)

USD_PER_MILLION = {"big": (3, 0.5, 15), "small": (1, 0.25, 5)}
"""Input, cached input, output."""


def price_book() -> PriceBook:
    """Return the same prices as the gate knows them."""
    names = (TokenClass.INPUT, TokenClass.CACHE_READ, TokenClass.OUTPUT)
    return PriceBook(
        tuple(
            Price(
                model=model,
                geo="global",
                context_tier="all",
                long_context_over_tokens=None,
                effective_from=datetime(2020, 1, 1, tzinfo=UTC),
                effective_to=None,
                usd_pico={
                    name: int(rate * 1_000_000) for name, rate in zip(names, rates, strict=True)
                },
                source="simulation",
                caches_implicitly=False,
            )
            for model, rates in USD_PER_MILLION.items()
        )
    )


@dataclass(frozen=True)
class BillRow:
    """One line of the invoice."""

    hold_id: str
    nano: int
    at: float


class Provider:
    """Answers one body at a time, and misbehaves as the weather says."""

    name = "provider"

    def __init__(self, scheduler: Scheduler, weather: Weather) -> None:
        self._scheduler = scheduler
        self._weather = weather
        self.invoice: list[BillRow] = []

    def stream(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        """Receive one request; what is billed is billed now, whatever comes back."""
        chance, weather = self._scheduler.chance, self._weather
        if chance(weather.not_sent):
            return UpstreamNotSent("no route")
        if chance(weather.refused_upstream):
            status = self._scheduler.random.choice([400, 401, 403, 404, 422, 429])
            return UpstreamAnswer(status, {"error": {"code": "rate_limited"}})
        if chance(weather.failed_upstream):
            if chance(0.5):
                self._bill(body)
            return UpstreamAnswer(self._scheduler.random.choice([408, 500, 502, 503]), None)
        usage = self._bill(body)
        if chance(weather.answer_lost):
            return UpstreamLost("connection reset")
        answer: dict[str, Any] = {"id": "x", "choices": [], "usage": usage}
        if chance(weather.usage_missing):
            del answer["usage"]
        elif chance(weather.usage_garbage):
            answer["usage"] = self._garbage(usage)
        return UpstreamAnswer(200, answer)

    def _bill(self, body: Mapping[str, Any]) -> dict[str, Any]:
        random = self._scheduler.random
        prompt_bytes = sum(len(str(one["content"]).encode()) for one in body["messages"])
        prompt = random.randint(1, prompt_bytes)
        cached = random.randint(0, prompt) if random.random() < 0.3 else 0
        output_max = int(body["max_tokens"])
        output = output_max if random.random() < 0.3 else random.randint(0, output_max)
        usd_in, usd_cached, usd_out = USD_PER_MILLION[str(body["model"])]
        micros = (prompt - cached) * usd_in + cached * usd_cached + output * usd_out
        row = BillRow(str(body["client_request_id"]), math.ceil(micros * 1000), self._scheduler.now)
        self.invoice.append(row)
        self._scheduler.note(f"provider bills {row.hold_id} {row.nano}")
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def _garbage(self, usage: dict[str, Any]) -> object:
        wrong = self._scheduler.random.choice([-1, float("nan"), "many", 1.5, None, True])
        return self._scheduler.random.choice([wrong, {**usage, "completion_tokens": wrong}])
