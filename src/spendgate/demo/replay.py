"""Replay a trace against the served model, faster than it was recorded."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spendgate.demo.cast import GPT_5_MINI, HAIKU, LLAMA, ORG, OSS_20B, OSS_120B, SONNET
from spendgate.demo.trace_file import Arrival
from spendgate.demo.traffic import CallRecord, Endpoint, Order, Payer, chat_body

BYTES_PER_TOKEN = 4
"""Of the simulator's prompts; a real tokenizer makes about as many of English text."""
MESSAGE_TOKENS = 3
"""What the simulator adds for each message."""
_MAX_TOKENS_STEPS = (64, 256, 512, 1024, 4096)
"""What clients ask for: a round number above what they get."""
_AGENTS, _USERS, _SESSIONS = 24, 400, 3
_TEAMS = ("support", "platform", "data", "research")
_MODELS = (SONNET, HAIKU, HAIKU, LLAMA, LLAMA, OSS_120B, OSS_120B, OSS_20B, GPT_5_MINI)
_TEXT = "The customer says that the invoice of last month does not show the credit we agreed on. "


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How to replay."""

    speed: float = 60.0
    """Seconds of the trace in one second."""

    concurrency: int = 64
    """Calls in flight at most; beyond it, calls start late."""

    model: str | None = None
    """One model for all calls; None draws from those that the simulator has."""

    steers_length: bool = True
    """Whether the model server is told to generate what the trace did, as the simulator can."""

    seed: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How a replay went, beside what its calls came to."""

    seconds: float
    lag_seconds_max: float
    """How late the latest call started: the machine or the concurrency wasn't enough."""


def replay(
    endpoint: Endpoint, arrivals: Sequence[Arrival], plan: ReplayPlan, watch: Callable[[], None]
) -> Pace:
    """Make all calls of a trace when they are due; `watch` is called while they run."""
    orders = make_orders(arrivals, plan)
    turn = itertools.count()
    lags: list[float] = []
    started = time.monotonic()

    def work() -> None:
        # next() of a count is atomic, so every index is taken by one thread.
        while (index := next(turn)) < len(orders):
            due = started + arrivals[index].offset_seconds / plan.speed
            time.sleep(max(0.0, due - time.monotonic()))
            lags.append(time.monotonic() - due)
            endpoint.call(orders[index])

    threads = [threading.Thread(target=work, daemon=True) for _ in range(plan.concurrency)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch()
        time.sleep(0.1)
    return Pace(time.monotonic() - started, max(lags, default=0.0))


def make_orders(arrivals: Sequence[Arrival], plan: ReplayPlan) -> list[Order]:
    """Give every call a payer, a model and a prompt; the same for the same seed."""
    # Drawn for variety, not for secrecy.
    draw = random.Random(plan.seed)  # noqa: S311
    return [_order(arrival, plan, draw) for arrival in arrivals]


def percentile(calls: Sequence[CallRecord], part: float) -> float:
    """Return a percentile of the answered calls' latency in seconds; 0 if there is none."""
    latencies = sorted(call.latency_seconds for call in calls if call.is_answered)
    return latencies[min(len(latencies) - 1, int(part * len(latencies)))] if latencies else 0.0


def _order(arrival: Arrival, plan: ReplayPlan, draw: random.Random) -> Order:
    # Few agents and users make most of the calls, as everywhere.
    agent = min(int(draw.paretovariate(0.7)), _AGENTS)
    user = min(int(draw.paretovariate(0.5)), _USERS)
    scopes = {
        "org": ORG,
        "team": _TEAMS[agent % len(_TEAMS)],
        "agent": f"agent-{agent:02}",
        "user": f"user-{user:03}",
        "session": f"user-{user:03}-s{draw.randrange(_SESSIONS)}",
    }
    generated = arrival.generated_tokens
    max_tokens = next((one for one in _MAX_TOKENS_STEPS if one > generated), generated + 1)
    if not plan.steers_length:
        max_tokens = max(1, generated)
    return Order(
        Payer(scopes),
        plan.model or draw.choice(_MODELS),
        chat_body(prompt_of(arrival.context_tokens), max_tokens=max_tokens),
        {"output_tokens": generated} if plan.steers_length else {},
        part="trace",
    )


def prompt_of(tokens: int) -> str:
    """Write a prompt of about so many tokens."""
    length = max(1, (tokens - MESSAGE_TOKENS) * BYTES_PER_TOKEN)
    return (_TEXT * (length // len(_TEXT) + 1))[:length]
