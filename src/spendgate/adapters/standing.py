"""Where every budget stands in its current window, one row per value of its scope."""

from collections import Counter, defaultdict
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
        """Return every balance."""
        ...

    def positions(self, claims: Sequence[Claim]) -> Sequence[Position]:
        """Return how these claims stand."""
        ...


def standing(
    ledger: Balances, at: datetime, *, budget_id: str | None = None, values_max: int | None = None
) -> list[dict[str, object]]:
    """Return limit, spent, held, remaining and status of each budget and value.

    Args:
        ledger: where it is asked.
        at: when.
        budget_id: one budget alone; None for all.
        values_max: of each wildcard so many values, the dearest; None for all.
    """
    policy = ledger.policies.policy()
    rows: dict[str, list[BalanceRow]] = defaultdict(list)
    for row in ledger.balances():
        rows[row.budget_id].append(row)
    claims = [
        claim
        for budget in policy.budgets
        if budget_id in (None, budget.budget_id)
        for claim in _claims(policy, budget, rows[budget.budget_id], at, values_max)
    ]
    return [budget_object(position) for position in ledger.positions(claims)]


def _claims(
    policy: Policy,
    budget: Budget,
    rows: Sequence[BalanceRow],
    at: datetime,
    values_max: int | None,
) -> list[Claim]:
    window = window_at(budget.window, budget.tz, at)
    periods = {window.key, *window.also_keys}
    nanos: Counter[str] = Counter()
    for row in rows:
        if row.period in periods:
            nanos[row.scope_value] += row.spent_nano + row.held_nano
    values = sorted(value for value, _ in nanos.most_common(values_max))
    bound = [
        scope for value in values if (scope := scope_of_value(budget.scope, value)) is not None
    ]
    # A wildcard that nobody has used in this window still shows its limit.
    scopes = bound if budget.scope.wildcards and bound else [budget.scope]
    limit = policy.limit(budget, at)
    return [Claim(budget, scope, window, limit) for scope in scopes]


def scope_of_value(covering: Scope, value_text: str) -> Scope | None:
    """Return a budget's scope with a balance's values; None if they are of an earlier scope."""
    if not covering.parts:
        return covering if value_text == covering.value_text else None
    values = value_text.split(",")
    if len(values) != len(covering.parts):
        return None
    named = zip(covering.dimensions, values, strict=True)
    scope = Scope.parse(",".join(f"{name}:{value}" for name, value in named))
    return scope if covering.match(scope.identity) == scope else None
