"""Reserve and settle on PostgreSQL: the two lanes against the form that everybody writes first.

The naive form is one transaction per verb and caller, each on a connection of its own: lock the six
balances, compare, move them, write the row, commit durably. The lanes are `PostgresLedger` as the
hosts use it. Both run on one real server on this machine, reached by its Unix socket, with durable
commits, one after the other.
"""

import gc
import multiprocessing
import multiprocessing.synchronize
import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.queues import Queue
from queue import SimpleQueue

import psycopg

from bench.workload import SIZES, budgets, request, settlement
from spendgate.adapters.postgres_ledger import PostgresLedger
from spendgate.adapters.postgres_store import PostgresStore, PostgresTerms
from spendgate.adapters.postgres_url import parse_postgres_url
from spendgate.domain.budget import Policy
from spendgate.prove.postgres_server import PostgresServer

SECONDS = 4.0
ROUNDS = 4
"""For the two figures that have a goal: the disk of a virtual machine has slow minutes."""

CALLERS = (1, 4, 16, 64)
PROCESSES, THREADS = 4, 16
OPEN_RATE, OPEN_PROCESSES = 400, 4
SLOW_COMMIT_MICROSECONDS = 3_000
_DISTINCT = 4_000
"""Requests that a caller has ready, so that the loop measures the ledger and not their making."""

_NAIVE_SCHEMA = """
CREATE TABLE balance (id int PRIMARY KEY, spent bigint NOT NULL, held bigint NOT NULL);
CREATE TABLE hold (id text PRIMARY KEY, amount bigint, cost bigint, facts text);
INSERT INTO balance SELECT n, 0, 0 FROM generate_series(0, 25525) AS n
"""

Pair = Callable[[random.Random, str], tuple[float, float]]
"""Makes one reserve and one settle; returns the seconds that each took."""


def run() -> dict[str, object]:
    """Measure closed loops, a slow commit and an open load; microseconds and pairs per second."""
    with PostgresServer() as server:
        found: dict[str, object] = {
            f"{callers} callers": _against_naive(server, 1, callers) for callers in CALLERS
        }
        found[f"{PROCESSES} x {THREADS} callers"] = _against_naive(
            server, PROCESSES, THREADS, rounds=ROUNDS
        )
        found[f"open load, {OPEN_RATE}/s"] = _open_load(server, rounds=ROUNDS)
        server.run(f"ALTER SYSTEM SET commit_delay = {SLOW_COMMIT_MICROSECONDS}")
        server.run("ALTER SYSTEM SET commit_siblings = 0")
        server.run("SELECT pg_reload_conf()")
        slow: dict[str, object] = {
            f"{callers} callers": _against_naive(server, 1, callers) for callers in (1, 16, 64)
        }
        slow[f"{PROCESSES} x {THREADS} callers"] = _against_naive(server, PROCESSES, THREADS)
        slow[f"open load, {OPEN_RATE}/s"] = _open_load(server)
        found[f"commits {SLOW_COMMIT_MICROSECONDS} us slower"] = slow
    return found


def _against_naive(
    server: PostgresServer, processes: int, threads: int, *, rounds: int = 1
) -> dict[str, object]:
    """Measure both in turn; of several rounds the best of each counts."""
    lanes: list[dict[str, float]] = []
    naive: list[dict[str, float]] = []
    for _ in range(rounds):
        lanes.append(_closed(server, processes, threads, is_naive=False))
        naive.append(_closed(server, processes, threads, is_naive=True))
    ours, theirs = (max(each, key=lambda one: one["pairs/s"]) for each in (lanes, naive))
    faster = ours["pairs/s"] / theirs["pairs/s"]
    found: dict[str, object] = {"lanes": ours, "naive": theirs, "lanes/naive": round(faster, 2)}
    if rounds > 1:
        found["lanes' pairs/s of all rounds"] = [one["pairs/s"] for one in lanes]
    return found


def _closed(
    server: PostgresServer, processes: int, threads: int, *, is_naive: bool
) -> dict[str, float]:
    url = server.new_database()
    _prepare(url, is_naive=is_naive)
    spawn = multiprocessing.get_context("spawn")
    ready, out = spawn.Barrier(processes), spawn.Queue()
    workers = [
        spawn.Process(target=_worker, args=(url, seed, threads, is_naive, ready, out))
        for seed in range(processes)
    ]
    for worker in workers:
        worker.start()
    parts = [out.get() for _ in workers]
    for worker in workers:
        worker.join()
    reserves = [one for part in parts for one, _ in part]
    settles = [one for part in parts for _, one in part]
    found: dict[str, float] = {
        "pairs/s": round(len(reserves) / SECONDS),
        "reserve_p50": _micros(reserves, 0.5),
        "reserve_p99": _micros(reserves, 0.99),
        "settle_p50": _micros(settles, 0.5),
    }
    if not is_naive:
        with closing(_open(url)) as ledger:
            found["audit_problems"] = len(ledger.audit().problems)
    return found


def _prepare(url: str, *, is_naive: bool) -> None:
    if is_naive:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_NAIVE_SCHEMA.encode())
    else:
        with closing(_open(url)) as ledger:
            ledger.policies.import_policy(Policy(budgets=budgets()))


def _worker(
    url: str,
    seed: int,
    threads: int,
    is_naive: bool,
    ready: multiprocessing.synchronize.Barrier,
    out: "Queue[list[tuple[float, float]]]",
) -> None:
    make = _naive_pairs(url) if is_naive else _lane_pairs(url)
    pairs = [make(seed, number) for number in range(threads)]
    taken: list[list[tuple[float, float]]] = [[] for _ in range(threads)]

    def work(number: int) -> None:
        rng, pair, found = random.Random(seed * 1000 + number), pairs[number], taken[number]
        while time.perf_counter() < end:
            found.append(pair(rng, f"{seed}-{number}-{len(found)}"))

    gc.collect()
    gc.freeze()
    ready.wait()
    end = time.perf_counter() + SECONDS
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    out.put([one for found in taken for one in found])


def _open(url: str) -> PostgresLedger:
    terms = PostgresTerms(timeout_seconds=10)
    return PostgresLedger(PostgresStore(lambda: parse_postgres_url(url), terms))


def _lane_pairs(url: str) -> Callable[[int, int], Pair]:
    ledger = _open(url)
    policy = ledger.policies.policy()

    def make(seed: int, number: int) -> Pair:
        rng = random.Random(seed * 1000 + number)
        asked = [request(policy, rng, f"{seed}-{number}-{n}") for n in range(_DISTINCT)]

        def pair(_rng: random.Random, name: str) -> tuple[float, float]:
            count = int(name.rpartition("-")[2])
            one = asked[count] if count < _DISTINCT else request(policy, rng, name)
            ending = settlement(one.hold_id)
            start = time.perf_counter()
            ledger.reserve([one])
            middle = time.perf_counter()
            ledger.settle([ending])
            return middle - start, time.perf_counter() - middle

        pair(rng, f"{seed}-{number}-{_DISTINCT}")  # connections and statements are there from now
        return pair

    return make


def _naive_pairs(url: str) -> Callable[[int, int], Pair]:
    def make(_seed: int, _number: int) -> Pair:
        connection = psycopg.connect(url, autocommit=True)

        def pair(rng: random.Random, name: str) -> tuple[float, float]:
            ids = _naive_ids(rng)
            start = time.perf_counter()
            with connection.transaction():
                rows = connection.execute(
                    "SELECT id, spent + held FROM balance WHERE id = ANY(%s) ORDER BY id "
                    "FOR UPDATE",
                    (ids,),
                ).fetchall()
                assert all(used < 10**15 for _, used in rows)
                connection.execute("UPDATE balance SET held = held + 3 WHERE id = ANY(%s)", (ids,))
                connection.execute("INSERT INTO hold VALUES (%s, 3, 0, %s)", (name, "x" * 600))
            middle = time.perf_counter()
            with connection.transaction():
                connection.execute("UPDATE hold SET cost = 1 WHERE id = %s", (name,))
                connection.execute(
                    "SELECT 1 FROM balance WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (ids,)
                )
                connection.execute(
                    "UPDATE balance SET held = held - 3, spent = spent + 1 WHERE id = ANY(%s)",
                    (ids,),
                )
            return middle - start, time.perf_counter() - middle

        return pair

    return make


def _naive_ids(rng: random.Random) -> list[int]:
    ids: list[int] = []
    first = 0
    for size in SIZES.values():
        ids.append(first + rng.randrange(size))
        first += size
    return ids


def _open_load(server: PostgresServer, *, rounds: int = 1) -> dict[str, object]:
    """Measure both at the same rate in turn; of several rounds the best of each counts."""
    lanes: list[dict[str, float]] = []
    naive: list[dict[str, float]] = []
    for _ in range(rounds):
        lanes.append(_open_loaded(server, is_naive=False))
        naive.append(_open_loaded(server, is_naive=True))
    ours, theirs = (min(each, key=lambda one: one["reserve_p50"]) for each in (lanes, naive))
    slower = theirs["reserve_p50"] / ours["reserve_p50"]
    found: dict[str, object] = {"lanes": ours, "naive": theirs, "naive/lanes": round(slower, 2)}
    if rounds > 1:
        found["lanes' reserve_p50 of all rounds"] = [one["reserve_p50"] for one in lanes]
    return found


def _open_loaded(server: PostgresServer, *, is_naive: bool) -> dict[str, float]:
    url = server.new_database()
    _prepare(url, is_naive=is_naive)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(OPEN_PROCESSES) as pool:
        seeds = range(OPEN_PROCESSES)
        parts = pool.starmap(_open_worker, [(url, seed, is_naive) for seed in seeds])
    reserves = [one for part in parts for one, _ in part]
    settles = [one for part in parts for _, one in part]
    return {
        "requests": len(reserves),
        "reserve_p50": _micros(reserves, 0.5),
        "reserve_p90": _micros(reserves, 0.9),
        "reserve_p99": _micros(reserves, 0.99),
        "settle_p50": _micros(settles, 0.5),
    }


def _open_worker(url: str, seed: int, is_naive: bool) -> list[tuple[float, float]]:
    """Send requests at random times, each from a thread of its own, whatever is under way."""
    pair = _pooled(_naive_pairs(url), seed) if is_naive else _lane_pairs(url)(seed, 0)
    rng = random.Random(seed)
    found: list[tuple[float, float]] = []
    threads: list[threading.Thread] = []
    due = time.perf_counter() + 0.5
    end = due + 2 * SECONDS
    while due < end:
        time.sleep(max(0.0, due - time.perf_counter()))
        due += rng.expovariate(OPEN_RATE / OPEN_PROCESSES)
        name = f"{seed}-0-{len(threads)}"
        thread = threading.Thread(target=lambda name=name: found.append(pair(rng, name)))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return found


def _pooled(make: Callable[[int, int], Pair], seed: int) -> Pair:
    """Share as many connections as a closed loop has; to wait for one is part of a reserve."""
    idle: SimpleQueue[Pair] = SimpleQueue()
    for number in range(THREADS):
        idle.put(make(seed, number))

    def pair(rng: random.Random, name: str) -> tuple[float, float]:
        start = time.perf_counter()
        one = idle.get()
        waited = time.perf_counter() - start
        try:
            reserve, settle = one(rng, name)
        finally:
            idle.put(one)
        return waited + reserve, settle

    return pair


def _micros(values: list[float], fraction: float) -> int:
    cuts = statistics.quantiles(values, n=1000)
    return round(cuts[round(fraction * 1000) - 1] * 1e6)


if __name__ == "__main__":
    print(run())
