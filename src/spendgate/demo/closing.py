"""The end of the traffic: the server is told to stop while calls are in flight."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from spendgate.demo.books import fetch_bill
from spendgate.demo.cast import LLAMA, ORG
from spendgate.demo.stage import Server
from spendgate.demo.traffic import Endpoint, Order, Payer, chat_body

PART = "closing"
CALLS = 24
_LATENCY_MS = 2_000
_ARRIVAL_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Closing:
    """When the server was told to stop, and how it ended."""

    told_at: datetime
    exit_status: int


def close_in_flight(endpoint: Endpoint, server: Server, model: Server) -> Closing:
    """Send slow calls, stop the server with SIGTERM once they reached the model, await answers."""
    payer = Payer({"org": ORG, "team": "support", "agent": "night-watch"})
    body = chat_body("Say good night.", max_tokens=60)
    order = Order(payer, LLAMA, body, {"latency_ms": _LATENCY_MS}, part=PART)
    seen = _requests(model)
    with ThreadPoolExecutor(CALLS) as pool:
        for _ in range(CALLS):
            pool.submit(endpoint.call, order)
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while _requests(model) < seen + CALLS and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        told_at = datetime.now(UTC)
        exit_status = server.stop()
    return Closing(told_at, exit_status)


def _requests(model: Server) -> int:
    bill = fetch_bill(model.url)
    return 0 if bill is None else bill.requests
