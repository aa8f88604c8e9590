"""Reserve and settle on the embedded ledger: 400 requests a second, 4 processes, 6 scopes each.

Between two requests each process sleeps, so that every figure is one of cold caches. What the
machine takes for the least that could be durable, a bare transaction of six updates and an insert,
is measured in the same loop: the ratio to it says more than the microseconds.
"""

import multiprocessing
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from bench.workload import budgets, request, settlement
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import Policy
from spendgate.domain.decision import Granted

PROCESSES, RATE, SECONDS = 4, 800, 10
"""The rate counts bare transactions and requests, which take turns: 400 requests a second."""
CLOSED_PROCESSES, CLOSED_SECONDS = (1, 4, 8), 4.0


def run() -> dict[str, object]:
    """Measure an open load, then closed loops of more and more processes; microseconds."""
    closed = {f"{count} processes": _closed(count) for count in CLOSED_PROCESSES}
    return {**_open_load(), "closed_loop": closed}


def _open_load() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = SqliteLedger(SqliteStore(path))
        ledger.policies.import_policy(Policy(budgets=budgets()))
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(PROCESSES) as pool:
            parts = pool.starmap(_worker, [(str(path), seed) for seed in range(PROCESSES)])
        report = ledger.audit()
        ledger.close()
    bare, reserve, settle = ([one for part in parts for one in part[n]] for n in range(3))
    return {
        "requests": len(reserve),
        "bare_transaction_us": _percentiles(bare),
        "reserve_us": _percentiles(reserve),
        "settle_us": _percentiles(settle),
        "reserve/bare_p50": round(statistics.median(reserve) / statistics.median(bare), 2),
        "settle/bare_p50": round(statistics.median(settle) / statistics.median(bare), 2),
        "audit_problems": len(report.problems),
        "events": report.events,
    }


def _worker(path: str, seed: int) -> tuple[list[float], list[float], list[float]]:
    ledger = SqliteLedger(SqliteStore(Path(path)))
    bare = _bare_file(f"{path}.bare-{seed}")
    bares: list[float] = []
    policy = ledger.policies.policy()
    rng = random.Random(seed)
    reserves: list[float] = []
    settles: list[float] = []
    interval = PROCESSES / RATE
    due = time.perf_counter() + 0.5
    end = due + SECONDS
    index = 0
    while due < end:
        time.sleep(max(0.0, due - time.perf_counter()))
        due += rng.expovariate(1 / interval)
        index += 1
        if index % 2:  # the first one after a sleep pays for waking up, so they take turns
            bares.append(_bare_transaction(bare, rng, index))
            continue
        asked = request(policy, rng, f"{seed}-{index}")
        start = time.perf_counter()
        (verdict,) = ledger.reserve([asked])
        reserves.append((time.perf_counter() - start) * 1e6)
        assert isinstance(verdict, Granted)
        ending = settlement(asked.hold_id)
        start = time.perf_counter()
        ledger.settle([ending])
        settles.append((time.perf_counter() - start) * 1e6)
    ledger.close()
    bare.close()
    return bares, reserves, settles


def _closed(processes: int) -> dict[str, object]:
    """Let each process reserve and settle as fast as it can."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = SqliteLedger(SqliteStore(path))
        ledger.policies.import_policy(Policy(budgets=budgets()))
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(processes) as pool:
            parts = pool.starmap(_closed_worker, [(str(path), seed) for seed in range(processes)])
        problems = len(ledger.audit().problems)
        ledger.close()
    pairs = [one for part in parts for one in part]
    counts = [len(part) for part in parts]
    return {
        "reserve+settle/s": round(len(pairs) / CLOSED_SECONDS),
        "pair_us": _percentiles(pairs),
        "least/most of a process": round(min(counts) / max(counts), 2),
        "audit_problems": problems,
    }


def _closed_worker(path: str, seed: int) -> list[float]:
    ledger = SqliteLedger(SqliteStore(Path(path)))
    policy = ledger.policies.policy()
    rng = random.Random(seed)
    pairs: list[float] = []
    time.sleep(0.5)  # until all processes are there
    end = time.perf_counter() + CLOSED_SECONDS
    while (start := time.perf_counter()) < end:
        asked = request(policy, rng, f"{seed}-{len(pairs)}")
        ledger.reserve([asked])
        ledger.settle([settlement(asked.hold_id)])
        pairs.append((time.perf_counter() - start) * 1e6)
    ledger.close()
    return pairs


def _bare_file(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE balance (id INTEGER PRIMARY KEY, held INTEGER)")
    connection.execute("CREATE TABLE hold (id INTEGER PRIMARY KEY, facts TEXT)")
    connection.executemany("INSERT INTO balance VALUES (?, 0)", ((n,) for n in range(20_000)))
    return connection


def _bare_transaction(connection: sqlite3.Connection, rng: random.Random, number: int) -> float:
    ids = [rng.randrange(20_000) for _ in range(6)]
    start = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"UPDATE balance SET held = held + 1 WHERE id IN ({','.join('?' * 6)})", ids)
    connection.execute("INSERT INTO hold VALUES (?, ?)", (number, "x" * 600))
    connection.execute("COMMIT")
    return (time.perf_counter() - start) * 1e6


def _percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=1000)
    marks = {"p50": 499, "p90": 899, "p99": 989, "p99.9": 998}
    return {name: round(cuts[at], 1) for name, at in marks.items()}


if __name__ == "__main__":
    print(run())
