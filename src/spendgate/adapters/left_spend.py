"""Spend that an edit of the policy leaves behind: balances are known by budget id, scope values and
window, so another id, window or dimension starts at zero, and people should hear of it.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.budget_codec import usd_text
from spendgate.adapters.standing import scope_of_value
from spendgate.domain.budget import BalanceRow, Budget
from spendgate.domain.scope import Scope
from spendgate.domain.window import window_at

NOTES_MAX = 10
DOCUMENTED = "docs/policies.md, What an edit keeps"


@dataclass(frozen=True, slots=True)
class LeftSpend:
    """What was spent in the running windows of a budget as it was, and isn't counted any more."""

    before: Budget
    after: Budget | None
    """The budget as it is now; where it was removed a new one of its scope and window, or None."""
    nanos: dict[str, int]
    """What was spent by the scope's value."""

    @property
    def text(self) -> str:
        """The budget, why, how much was spent, and how to count it, in one line."""
        spent = f"{usd_text(sum(self.nanos.values()))} USD were spent in "
        if len(self.nanos) == 1:
            spent += "its running window"
        else:
            value, most = max(self.nanos.items(), key=lambda one: one[1])
            whose = _scope(self.before, value).text
            spent += (
                f"the running windows of its {len(self.nanos)} values, at most {usd_text(most)} "
                f"USD by {whose}"
            )
        return f"{self._what()}; {spent}, and no longer count; {self._remedy()}"

    def _what(self) -> str:
        name, after = self.before.budget_id, self.after
        if after is None:
            return f"budget {name!r} was removed, and another id would start at zero"
        if after.budget_id != name:
            return f"budget {after.budget_id!r} starts at zero from now: it was {name!r} before"
        fields = (
            ("window", self.before.window.text, after.window.text),
            ("tz", self.before.tz, after.tz),
            ("scope", self.before.scope.text, after.scope.text),
        )
        changed = ", ".join(f"{field} {old} -> {new}" for field, old, new in fields if old != new)
        return f"budget {name!r} starts at zero from now: {changed}"

    def _remedy(self) -> str:
        """Return the command that books the spend on the budget that starts anew."""
        after = self.after
        name = "ID" if after is None else shlex.quote(after.budget_id)
        amount, whose, each = usd_text(sum(self.nanos.values())), "", ""
        if after is not None and after.scope.wildcards:
            (first, *others) = self.nanos
            is_known = not others and after.scope.dimensions == self.before.scope.dimensions
            text = _scope(after, first).text if is_known else after.scope.text.replace("*", "NAME")
            whose = f" --scope {shlex.quote(text)}"
            if not is_known:
                amount, each = "USD", "for each value "
        command = f'spendgate adjust --charge {amount} --budget {name}{whose} --reason "…"'
        return f"to count it, {each}`{command}`, which chargeback sums again ({DOCUMENTED})"


def left_spend(
    before: Sequence[Budget],
    after: Sequence[Budget],
    balances: Callable[[], Sequence[BalanceRow]],
    at: datetime,
) -> Iterator[str]:
    """Say of each budget that an edit made start anew what was spent in its running windows.

    Args:
        before: the budgets as they were.
        after: the budgets as they are now.
        balances: reads every balance; only asked if a budget may start anew.
        at: when.
    """
    now = {one.budget_id: one for one in after}
    edited = [one for one in before if _is_other(one, now.get(one.budget_id))]
    if not edited:
        return
    known = {one.budget_id for one in before}
    added = [one for one in after if one.budget_id not in known]
    rows: dict[str, list[BalanceRow]] = defaultdict(list)
    for row in balances():
        rows[row.budget_id].append(row)
    found: list[LeftSpend] = []
    for one in edited:
        nanos = _left(one, now.get(one.budget_id), rows[one.budget_id], at)
        if nanos:
            found.append(LeftSpend(one, now.get(one.budget_id) or _heir(one, added), nanos))
    yield from (one.text for one in found[:NOTES_MAX])
    if len(found) > NOTES_MAX:
        yield f"{len(found) - NOTES_MAX} more budgets start at zero or were removed with spend"


def _is_other(before: Budget, after: Budget | None) -> bool:
    return after is None or _definition(before) != _definition(after)


def _definition(budget: Budget) -> tuple[object, ...]:
    return budget.scope, budget.window, budget.tz


def _left(
    before: Budget, after: Budget | None, rows: Iterable[BalanceRow], at: datetime
) -> dict[str, int]:
    running, read = _periods(before, at), set[str]() if after is None else _periods(after, at)
    nanos: Counter[str] = Counter()
    for row in rows:
        is_running = row.period in running and row.spent_nano > 0
        if is_running and _starts_anew(before, after, row.scope_value, row.period in read):
            nanos[row.scope_value] += row.spent_nano
    return dict(nanos)


def _starts_anew(before: Budget, after: Budget | None, value: str, is_read: bool) -> bool:
    """Tell whether a value's running balance isn't read any more; `is_read`: its window is."""
    if after is None:
        return True
    is_covered = scope_of_value(after.scope, value) is not None
    if before.scope.dimensions == after.scope.dimensions:
        # Who isn't covered any more has no limit here that could start at zero.
        return is_covered and not is_read
    # `agent:*` made `user:*` reads the same keys, but for values that are other people's.
    return not is_read or not is_covered or bool(after.scope.wildcards)


def _periods(budget: Budget, at: datetime) -> set[str]:
    window = window_at(budget.window, budget.tz, at)
    return {window.key, *window.also_keys}


def _heir(removed: Budget, added: Iterable[Budget]) -> Budget | None:
    """Return a new budget that is the removed one under another id, as far as one can tell."""
    same = (one for one in added if _definition(one) == _definition(removed))
    return next(same, None)


def _scope(budget: Budget, value: str) -> Scope:
    return scope_of_value(budget.scope, value) or budget.scope
