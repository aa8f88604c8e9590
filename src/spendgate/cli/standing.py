"""Where every budget stands in its current window, one row per value of its scope."""

from datetime import datetime

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.domain.budget import Budget, Claim, Policy
from spendgate.domain.scope import Scope
from spendgate.domain.window import window_at
from spendgate.gateway.reply import budget_object


def standing(ledger: SqliteLedger, at: datetime) -> list[dict[str, object]]:
    """Return limit, spent, held, remaining and status of each budget and value."""
    policy = ledger.policies.policy()
    values: dict[str, set[str]] = {}
    for row in ledger.balances():
        values.setdefault(row.budget_id, set()).add(row.scope_value)
    claims = [
        claim
        for budget in policy.budgets
        for claim in _claims(policy, budget, values.get(budget.budget_id, set()), at)
    ]
    return [budget_object(position) for position in ledger.positions(claims)]


def _claims(policy: Policy, budget: Budget, values: set[str], at: datetime) -> list[Claim]:
    window = window_at(budget.window, budget.tz, at)
    limit = policy.limit(budget, at)
    # A wildcard that nobody used yet still shows its limit.
    scopes = [_bound(budget, value) for value in sorted(values)] or [budget.scope]
    return [Claim(budget, scope, window, limit) for scope in scopes]


def _bound(budget: Budget, value_text: str) -> Scope:
    if not budget.scope.parts:
        return budget.scope
    named = zip(budget.scope.dimensions, value_text.split(","), strict=True)
    return Scope.parse(",".join(f"{name}:{value}" for name, value in named))
