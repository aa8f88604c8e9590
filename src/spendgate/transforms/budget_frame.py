"""What the transforms know of budgets: rows made from the policy and the ledger's balances."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from spendgate.domain.budget import BalanceRow, Budget, Policy, Raise
from spendgate.domain.money import to_decimal
from spendgate.domain.table import (
    BIGINT,
    MONEY_ARRAY,
    MONEY_SUM,
    RATIO,
    STRING,
    TIME_ARRAY,
    TIMESTAMP,
)
from spendgate.domain.window import Window, WindowKind, window_at

BUDGETS_SCHEMA = (
    f"budget_id {STRING}, scope {STRING}, tz {STRING}, `window` {STRING}, "
    f"kind_of_window {STRING}, rolling_seconds {BIGINT}, limit_usd {MONEY_SUM}, "
    f"own_usd {MONEY_SUM}, carry_max_usd {MONEY_SUM}, soft_cap {RATIO}, hard_cap {RATIO}, "
    f"former_until {TIME_ARRAY}, former_usd {MONEY_ARRAY}"
)
OPEN_WINDOWS_SCHEMA = (
    f"budget_id {STRING}, scope_value {STRING}, window_start {TIMESTAMP}, window_end {TIMESTAMP}, "
    f"held_usd {MONEY_SUM}"
)

BudgetRow = tuple[
    str, str, str, str, str, int | None, Decimal, Decimal, Decimal, Decimal, Decimal,
    list[datetime], list[Decimal],
]  # fmt: skip
OpenWindowRow = tuple[str, str, datetime | None, datetime | None, Decimal | None]


def budget_rows(policy: Policy, as_of: datetime) -> list[BudgetRow]:
    """Return a row of `BUDGETS_SCHEMA` per budget: the limit of that time, and former ones."""
    expired: dict[str, list[Raise]] = {}
    for one in policy.raises:
        if one.expires_at is not None and one.expires_at <= as_of:
            expired.setdefault(one.budget_id, []).append(one)
    return [
        _budget_row(budget, policy.limit(budget, as_of), expired.get(budget.budget_id, ()), as_of)
        for budget in policy.budgets
    ]


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
    # Former limits are of windows that are over.
    rows = [row[:-2] for row in budget_rows(policy, as_of)]
    basis = repr((rows, scopes, is_ledger_known))
    return hashlib.sha256(basis.encode()).hexdigest()


def _is_over(budget: Budget, as_of: datetime) -> bool:
    return budget.expires_at is not None and budget.expires_at <= as_of


def _budget_row(
    budget: Budget, limit_nano: int, expired: Iterable[Raise], as_of: datetime
) -> BudgetRow:
    formers = _former_limits(budget, limit_nano, expired, as_of)
    return (
        budget.budget_id,
        budget.scope.kind,
        budget.tz,
        budget.window.text,
        budget.window.kind.value,
        budget.window.rolling_seconds,
        to_decimal(limit_nano),
        to_decimal(budget.own_nano),
        to_decimal(budget.rollover_max_nano),
        Decimal(budget.soft_cap_ppm).scaleb(-6),
        Decimal(budget.hard_cap_ppm).scaleb(-6),
        [until for until, _ in formers],
        [to_decimal(former_nano) for _, former_nano in formers],
    )


def _former_limits(
    budget: Budget, limit_nano: int, expired: Iterable[Raise], as_of: datetime
) -> list[tuple[datetime, int]]:
    """Until when which limit held, oldest first, as far as some window can ask for it."""
    by_end: dict[datetime, int] = {}
    for one in expired:
        assert one.expires_at is not None  # else it hasn't expired  # noqa: S101
        by_end[one.expires_at] = by_end.get(one.expires_at, 0) + one.amount_nano
    formers: list[tuple[datetime, int]] = []
    for until in sorted(by_end, reverse=True):
        limit_nano += by_end[until]
        formers.append((until, limit_nano))
    formers.reverse()
    if budget.window.kind is WindowKind.LIFETIME:
        # It is asked for the highest alone.
        return [max(formers, key=lambda one: one[1])] if formers else []
    if budget.window.rolling_seconds is not None:
        start = as_of - timedelta(seconds=budget.window.rolling_seconds)
        return [one for one in formers if one[0] > start]
    return formers


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
