"""Realistic spend events by the million, as Arrow tables of the shape of `spend_events`.

Tokens are drawn from the recorded hour of traffic where it is at hand, else from its distribution.
Everything follows from the seed. Ids are as random as real ones, so that files are as large.
"""

# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false
# pyarrow ships no types, and makes its compute functions at run time.

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spendgate.adapters.event_rows import arrow_schema
from spendgate.domain.event import SCHEMA_VERSION
from spendgate.domain.table import SPEND_EVENTS

TRACE = Path(__file__).resolve().parents[2] / "shared" / "data" / "AzureLLMInferenceTrace_conv.csv"
START = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("databricks-claude-sonnet-4-5", "databricks-claude-haiku-4-5", "databricks-gpt-oss-20b")
BUDGET_IDS = ("org-month", "agent-day", "user-day", "task-life")
NANO_PER_INPUT, NANO_PER_OUTPUT = 3_000, 15_000
_HEX = 16
_DRAWN = 65_536
"""Tasks until users and agents repeat."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How dense and how varied the events are."""

    events_per_hour: int = 100_000
    teams: int = 20
    agents: int = 200
    users: int = 5_000
    tasks_per_hour: int = 2_000
    seed: int = 7


def event_tables(traffic: Traffic, first: int, count: int, rows: int) -> Iterator[pa.Table]:
    """Make events `first` to `first + count`, in the order of their times, so many rows a table."""
    tokens = _token_pairs()
    for start in range(first, first + count, rows):
        yield _table(traffic, start, min(rows, first + count - start), tokens)


def _table(traffic: Traffic, start: int, count: int, tokens: np.ndarray) -> pa.Table:
    rng = np.random.default_rng([traffic.seed, start])
    numbers = np.arange(start, start + count)
    micros = numbers * (3_600 * 10**6 // traffic.events_per_hour)
    occurred = int(START.timestamp()) * 10**6 + micros
    used = tokens[rng.integers(0, len(tokens), count)]
    cost = used[:, 0] * NANO_PER_INPUT + used[:, 1] * NANO_PER_OUTPUT
    holds = pc.binary_join_element_wise(_random_hex(rng, count), "#1", "")
    columns: dict[str, object] = {
        "event_id": pc.binary_join_element_wise(holds, ":1", ""),
        "hold_id": holds,
        "attempt": np.ones(count, dtype=np.int32),
        "kind": _constant("settled", count),
        "occurred_at": pa.array(occurred, pa.timestamp("us", tz="UTC")),
        "recorded_at": pa.array(
            occurred + rng.integers(2 * 10**5, 3 * 10**7, count), pa.timestamp("us", tz="UTC")
        ),
        **_payers(traffic, rng, numbers),
        "tags": _tags(count),
        "model_requested": _chosen(MODELS, rng.integers(0, 2, count)),
        "model": _chosen(MODELS, rng.integers(0, 3, count)),
        "upstream": _constant("main", count),
        "geo": _constant("global", count),
        "context_tier": _constant("all", count),
        "input_tokens": used[:, 0],
        "cache_read_tokens": used[:, 0] // 3,
        "cache_write_tokens": np.zeros(count, dtype=np.int64),
        "output_tokens": used[:, 1],
        "reasoning_tokens": np.zeros(count, dtype=np.int64),
        "reserved_usd": _usd(used[:, 0] * NANO_PER_INPUT + 4096 * NANO_PER_OUTPUT),
        "cost_usd": _usd(cost),
        "dbu": _usd(cost * 100 // 7),
        "price_version": _chosen(("4f1c22d0", "9a3e7b15"), rng.integers(0, 2, count)),
        "usage_source": _constant("reported", count),
        "decision": _constant("allow", count),
        "budget_ids": _lists(BUDGET_IDS, count),
        "latency_ms": rng.integers(200, 30_000, count),
        "schema_version": np.full(count, SCHEMA_VERSION, dtype=np.int32),
    }
    schema = arrow_schema(SPEND_EVENTS)
    arrays = [
        pa.array(columns[field.name]).cast(field.type) if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]  # fmt: skip
    return pa.table(arrays, schema=schema)


def _payers(traffic: Traffic, rng: np.random.Generator, numbers: np.ndarray) -> dict[str, pa.Array]:
    count = len(numbers)
    first_task = numbers // traffic.events_per_hour * traffic.tasks_per_hour

    tasks = first_task + rng.integers(0, traffic.tasks_per_hour, count)
    # A task is one user's and one agent's, and a user is in one team.
    drawn = np.random.default_rng(traffic.seed)
    users = drawn.integers(0, traffic.users, _DRAWN)[tasks % _DRAWN]
    agents = (drawn.zipf(1.4, _DRAWN) % traffic.agents)[tasks % _DRAWN]
    return {
        "org_id": _constant("acme", count),
        "team_id": _named("team-", users % traffic.teams),
        "agent_id": _named("agent-", agents),
        "user_id": _named("u-", users),
        "session_id": _named("s-", tasks // 2),
        "task_id": _named("t-", tasks),
    }


def _token_pairs() -> np.ndarray:
    if not TRACE.exists():
        rng = np.random.default_rng(1)
        context, made = rng.lognormal(6.6, 0.9, 20_000), rng.lognormal(5.0, 0.8, 20_000)
        return np.stack([context, made], axis=1).astype(np.int64) + 1
    with TRACE.open(encoding="utf-8-sig", newline="") as lines:
        pairs = [
            (int(row["ContextTokens"]), int(row["GeneratedTokens"]))
            for row in csv.DictReader(lines)
        ]
    return np.array(pairs, dtype=np.int64)


def _random_hex(rng: np.random.Generator, count: int) -> pa.Array:
    text = rng.bytes(count * _HEX).hex()
    offsets = np.arange(0, (count + 1) * _HEX * 2, _HEX * 2, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text.encode()))


def _named(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _constant(text: str, count: int) -> pa.Array:
    return pa.repeat(text, count)


def _chosen(texts: tuple[str, ...], numbers: np.ndarray) -> pa.Array:
    return pa.array(texts).take(pa.array(numbers))


def _usd(nano: np.ndarray) -> pa.Array:
    step = pa.scalar(Decimal("0.000000001"), pa.decimal128(10, 9))
    exact = pc.multiply(pa.array(nano).cast(pa.decimal128(19, 0)), step)
    return exact.cast(pa.decimal128(18, 9))


def _lists(texts: tuple[str, ...], count: int) -> pa.Array:
    offsets = np.arange(0, (count + 1) * len(texts), len(texts), dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, _chosen(texts, np.tile(np.arange(len(texts)), count)))


def _tags(count: int) -> pa.Array:
    offsets = np.arange(count + 1, dtype=np.int32)
    return pa.MapArray.from_arrays(
        offsets, _constant("cost_center", count), _constant("4711", count)
    )
