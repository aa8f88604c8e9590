"""The requests of the ledger's benchmarks: six budgets each, from one hot org to 20,000 tasks."""

import random
from datetime import UTC, datetime, timedelta

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.decision import Candidate
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.reservation import ReserveRequest, Settlement
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.usage import TokenUsage
from spendgate.domain.window import parse_window

SIZES = {"org": 1, "team": 5, "agent": 20, "user": 500, "session": 5_000, "task": 20_000}
CHARGE = Charge(TokenUsage(300, 200), 1_300_000, 100, "all", "reported", 900)
_MODEL = "databricks-claude-haiku-4-5"


def budgets() -> tuple[Budget, ...]:
    """Return a budget a day for each value of the six dimensions, too large to refuse anybody."""
    return tuple(
        Budget(f"{name}-day", Scope(((name, "*"),)), 10**15, parse_window("day")) for name in SIZES
    )


def request(policy: Policy, rng: random.Random, name: str) -> ReserveRequest:
    """Make one call of a random task, session, user, agent and team."""
    at = datetime.now(UTC)
    values = {scope: f"{scope}-{rng.randrange(size)}" for scope, size in SIZES.items()}
    claims = policy.claims(Identity(values), at)
    candidate = Candidate(_MODEL, 10**9, 5_000_000, 400, 1_300_000, "bench")
    facts = CallFacts(1, at, values, _MODEL, _MODEL, "bench", "global", "bench", "allow",
                      tuple(claim.budget.budget_id for claim in claims))  # fmt: skip
    expires = at + timedelta(minutes=5)
    return ReserveRequest(f"{name}#1", "fp", claims, {_MODEL: candidate}, _MODEL, facts,
                          policy.version, expires)  # fmt: skip


def settlement(hold_id: str) -> Settlement:
    """Settle a call at less than was held for it."""
    return Settlement(hold_id, CHARGE, datetime.now(UTC))
