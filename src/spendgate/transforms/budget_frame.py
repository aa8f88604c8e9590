"""What the transforms know of budgets: rows made from the policy and the ledger's balances."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from spendgate.domain.budget import PPM, BalanceRow, Budget, Policy
from spendgate.domain.money import to_decimal
from spendgate.domain.table import BIGINT, MONEY_SUM, RATIO, STRING, TIMESTAMP
from spendgate.domain.window import Window, WindowKind, window_at

BUDGETS_SCHEMA = (
    f"budget_id {STRING}, scope {STRING}, tz {STRING}, `window` {STRING}, "
    f"kind_of_window {STRING}, rolling_seconds {BIGINT}, limit_usd {MONEY_SUM}, "
    f"soft_usd {MONEY_SUM}, hard_usd {MONEY_SUM}, own_usd {MONEY_SUM}, "
    f"carry_max_usd {MONEY_SUM}, soft_cap {RATIO}"
)
OPEN_WINDOWS_SCHEMA = (
    f"budget_id {STRING}, scope_value {STRING}, window_start {TIMESTAMP}, window_end {TIMESTAMP}, "
    f"held_usd {MONEY_SUM}"
)

BudgetRow = tuple[
    str, str, str, str, str, int | None, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal
]
OpenWindowRow = tuple[str, str, datetime | None, datetime | None, Decimal | None]


def budget_rows(policy: Policy, as_of: datetime) -> list[BudgetRow]:
    """Return a row of `BUDGETS_SCHEMA` per budget, limits with the raises of that time."""
    return [_budget_row(budget, policy.limit(budget, as_of)) for budget in policy.budgets]


def open_window_rows(
    policy: Policy, balances: Sequence[BalanceRow] | None, as_of: datetime
) -> list[OpenWindowRow]:
    """Return the windows that have a state at a time even if no event has fallen into them.

    Those are the current windows of budgets without a wildcard, every current or just ended window
    with a balance in the ledger, and the lifetimes of which money is held. Without balances nothing
    is known to be held.
    """
    by_budget: dict[str, list[BalanceRow]] = {}
    for row in balances or ():
        by_budget.setdefault(row.budget_id, []).append(row)
    rows: dict[tuple[str, str, datetime | None], OpenWindowRow] = {}
    for budget in policy.budgets:
        if _is_over(budget, as_of):
            continue
        windows = _recent_windows(budget, as_of)
        if not budget.scope.wildcards:
            value, window = budget.scope.value_text, windows[0]
            held = None if balances is None else Decimal(0)
            rows[budget.budget_id, value, window.start] = _open_row(budget, value, window, held)
        of_budget = by_budget.get(budget.budget_id, ())
        is_endless = budget.window.kind is WindowKind.LIFETIME
        for window in windows:
            for value, held_nano in _held_by_value(of_budget, window).items():
                if is_endless and not held_nano:
                    continue  # as many as there were ever values
                held = to_decimal(held_nano)
                rows[budget.budget_id, value, window.start] = _open_row(budget, value, window, held)
    return list(rows.values())


def state_basis(policy: Policy, as_of: datetime, *, is_ledger_known: bool) -> str:
    """Return a digest of what the state of a lifetime depends on beside its sums and its holds."""
    scopes = [
        (_is_over(one, as_of), None if one.scope.wildcards else one.scope.value_text)
        for one in policy.budgets
    ]
    basis = repr((budget_rows(policy, as_of), scopes, is_ledger_known))
    return hashlib.sha256(basis.encode()).hexdigest()


def _is_over(budget: Budget, as_of: datetime) -> bool:
    return budget.expires_at is not None and budget.expires_at <= as_of


def _budget_row(budget: Budget, limit_nano: int) -> BudgetRow:
    return (
        budget.budget_id,
        budget.scope.kind,
        budget.tz,
        budget.window.text,
        budget.window.kind.value,
        budget.window.rolling_seconds,
        to_decimal(limit_nano),
        to_decimal(limit_nano * budget.soft_cap_ppm // PPM),
        to_decimal(limit_nano * budget.hard_cap_ppm // PPM),
        to_decimal(budget.own_nano),
        to_decimal(budget.rollover_max_nano),
        Decimal(budget.soft_cap_ppm).scaleb(-6),
    )


def _recent_windows(budget: Budget, as_of: datetime) -> list[Window]:
    """The current window, and the one before it: calls of its last seconds may still hold money."""
    current = window_at(budget.window, budget.tz, as_of)
    if current.start is None or current.end is None:
        return [current]
    before = current.start - timedelta(microseconds=1)
    return [current, window_at(budget.window, budget.tz, before)]


def _held_by_value(balances: Iterable[BalanceRow], window: Window) -> dict[str, int]:
    periods = {window.key, *window.also_keys}
    held: dict[str, int] = {}
    for row in balances:
        if row.period in periods:
            held[row.scope_value] = held.get(row.scope_value, 0) + row.held_nano
    return held


def _open_row(budget: Budget, value: str, window: Window, held: Decimal | None) -> OpenWindowRow:
    return (budget.budget_id, value, window.start, window.end, held)
