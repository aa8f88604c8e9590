"""Bursts: many callers at the same moment against a budget that affords only some of them."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

from spendgate.demo.cast import BURST_AGENT, BURST_USD, ORG, SONNET
from spendgate.demo.reckoning import nano_of
from spendgate.demo.traffic import CallRecord, Endpoint, Order, Payer, chat_body

CALLERS = 64
ADMITTED_RATIO_MIN = Decimal("0.95")
"""Promise 3 of the design: no starvation."""
OUTPUT_TOKENS = 300
_PROMPT = "Summarise ticket {number:04} in three sentences and propose the next step. " * 4
_TRIES_MAX = 40


@dataclass(frozen=True, slots=True)
class Burst:
    """What one burst came to."""

    name: str
    callers: int
    max_tokens: int | None
    admitted: int
    affordable: int
    """How many calls the whole budget pays for at the mean cost of those admitted."""

    spent_nano: int
    limit_nano: int

    @property
    def ratio(self) -> Decimal:
        """Admitted ÷ affordable."""
        return Decimal(self.admitted) / Decimal(max(1, self.affordable))


def run_burst(
    endpoint: Endpoint, name: str, max_tokens: int | None, watch: Callable[[], None]
) -> Burst:
    """Let all callers start together; each repeats while it is told that a retry can help."""
    barrier = threading.Barrier(CALLERS)
    scopes = {"org": ORG, "team": "data", "agent": BURST_AGENT}

    def call(number: int) -> CallRecord:
        order = Order(
            Payer(scopes, {"burst": name}),
            SONNET,
            chat_body(_PROMPT.format(number=number), max_tokens=max_tokens),
            {"output_tokens": OUTPUT_TOKENS},
            part=name,
        )
        draw = random.Random(f"{name}:{number}")  # noqa: S311 - spreads retries, no secret
        barrier.wait()
        record = endpoint.call(order)
        for _ in range(_TRIES_MAX):
            if not record.retryable:
                break
            time.sleep(draw.uniform(0.2, 1.0))
            record = endpoint.call(order)
        return record

    with ThreadPoolExecutor(CALLERS) as pool:
        waiting = [pool.submit(call, number) for number in range(CALLERS)]
        while not all(one.done() for one in waiting):
            watch()
            time.sleep(0.1)
        answered = [record for one in waiting if (record := one.result()).is_answered]
    spent_nano = sum(nano_of(record.cost_usd or 0) for record in answered)
    limit_nano = nano_of(BURST_USD)
    affordable = limit_nano * len(answered) // spent_nano if spent_nano else 0
    affordable = min(affordable, CALLERS)
    return Burst(name, CALLERS, max_tokens, len(answered), affordable, spent_nano, limit_nano)
