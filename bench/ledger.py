"""Reserve and settle on the embedded ledger: 400 requests a second, 4 processes, 6 scopes each."""

import multiprocessing
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import Budget, Policy
from spendgate.domain.decision import Candidate, Granted
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.reservation import ReserveRequest, Settlement
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.usage import TokenUsage
from spendgate.domain.window import parse_window

PROCESSES, RATE, SECONDS = 4, 400, 10
_SIZES = {"org": 1, "team": 5, "agent": 20, "user": 500, "session": 5_000, "task": 20_000}
_MODEL = "databricks-claude-haiku-4-5"


def run() -> dict[str, object]:
    """Measure one open-load run; microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = SqliteLedger(SqliteStore(path))
        ledger.policies.import_policy(Policy(budgets=_budgets()))
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(PROCESSES) as pool:
            parts = pool.starmap(_worker, [(str(path), seed) for seed in range(PROCESSES)])
        report = ledger.audit()
        ledger.close()
    reserves = sorted(one for part in parts for one in part[0])
    settles = sorted(one for part in parts for one in part[1])
    return {
        "requests": len(reserves),
        "reserve_us": _percentiles(reserves),
        "settle_us": _percentiles(settles),
        "audit_problems": len(report.problems),
        "events": report.events,
    }


def _budgets() -> tuple[Budget, ...]:
    return tuple(
        Budget(f"{name}-day", Scope(((name, "*"),)), 10**15, parse_window("day")) for name in _SIZES
    )


def _worker(path: str, seed: int) -> tuple[list[float], list[float]]:
    ledger = SqliteLedger(SqliteStore(Path(path)))
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
        request = _request(policy, rng, f"{seed}-{index}")
        start = time.perf_counter()
        (verdict,) = ledger.reserve([request])
        reserves.append((time.perf_counter() - start) * 1e6)
        assert isinstance(verdict, Granted)
        charge = Charge(TokenUsage(300, 200), 1_300_000, 100, "all", "reported", 900)
        start = time.perf_counter()
        ledger.settle([Settlement(request.hold_id, charge, datetime.now(UTC))])
        settles.append((time.perf_counter() - start) * 1e6)
    ledger.close()
    return reserves, settles


def _request(policy: Policy, rng: random.Random, name: str) -> ReserveRequest:
    at = datetime.now(UTC)
    values = {scope: f"{scope}-{rng.randrange(size)}" for scope, size in _SIZES.items()}
    claims = policy.claims(Identity(values), at)
    candidate = Candidate(_MODEL, 10**9, 5_000_000, 400, 1_300_000, "bench")
    facts = CallFacts(1, at, values, _MODEL, _MODEL, "bench", "global", "bench", "allow",
                      tuple(claim.budget.budget_id for claim in claims))  # fmt: skip
    expires = at + timedelta(minutes=5)
    return ReserveRequest(f"{name}#1", "fp", claims, {_MODEL: candidate}, _MODEL, facts,
                          policy.version, expires)  # fmt: skip


def _percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=1000)
    return {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "p99.9": cuts[998]}


if __name__ == "__main__":
    print(run())
