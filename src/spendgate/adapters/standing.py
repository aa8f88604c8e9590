"""Where every budget stands in its current window, one row per value of its scope."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from spendgate.adapters.stored_policy import StoredPolicy
from spendgate.domain.budget import BalanceRow, Budget, Claim, Policy
from spendgate.domain.decision import Position
from spendgate.domain.scope import Scope
from spendgate.domain.window import window_at
from spendgate.gateway.reply import budget_object


class Balances(Protocol):
    """The part of a ledger that tells where budgets stand."""

    @property
    def policies(self) -> StoredPolicy:
        """The policy that this ledger enforces."""
        ...

    def balances(self) -> Sequence[BalanceRow]:
        """Return balances: all, or those that shall be shown."""
        ...

    def positions(self, claims: Sequence[Claim]) -> Sequence[Position]:
        """Return how these claims stand."""
        ...


def standing(ledger: Balances, at: datetime) -> list[dict[str, object]]:
    """Return limit, spent, held, remaining and status of each budget and value."""
    policy = ledger.policies.policy()
    rows = ledger.balances()
    claims = [claim for budget in policy.budgets for claim in _claims(policy, budget, rows, at)]
    return [budget_object(position) for position in ledger.positions(claims)]


def _claims(
    policy: Policy, budget: Budget, rows: Sequence[BalanceRow], at: datetime
) -> list[Claim]:
    window = window_at(budget.window, budget.tz, at)
    periods = {window.key, *window.also_keys}
    values = {
        row.scope_value
        for row in rows
        if row.budget_id == budget.budget_id and row.period in periods
    }
    bound = [scope for value in sorted(values) if (scope := _bound(budget, value)) is not None]
    # A wildcard that nobody has used in this window still shows its limit.
    scopes = bound if budget.scope.wildcards and bound else [budget.scope]
    limit = policy.limit(budget, at)
    return [Claim(budget, scope, window, limit) for scope in scopes]


def _bound(budget: Budget, value_text: str) -> Scope | None:
    """Return a budget's scope with a balance's values; None if they are of an earlier scope."""
    values = value_text.split(",")
    if len(values) != len(budget.scope.parts):
        return None
    named = zip(budget.scope.dimensions, values, strict=True)
    scope = Scope.parse(",".join(f"{name}:{value}" for name, value in named))
    return scope if budget.scope.match(scope.identity) == scope else None
