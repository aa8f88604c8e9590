"""Administration of budgets, for commands and the API alike: checked, by whom and why, or nothing.

A change is made on the version of the policy that it was checked against; where somebody else was
faster, it is checked again.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from spendgate.adapters.budget_codec import (
    budget_as_json,
    encode_budget,
    parse_budget,
    parse_raise,
    raise_as_json,
    usd_text,
)
from spendgate.adapters.left_spend import left_spend
from spendgate.adapters.policy_fields import did_you_mean
from spendgate.adapters.policy_source import too_large, unpriced_steps
from spendgate.adapters.standing import standing
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.stored_policy import Author, PolicyEdit
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.price import PriceBook
from spendgate.errors import (
    AlreadyThereError,
    LedgerBusyError,
    NotThereError,
    PolicyError,
    StaleError,
)
from spendgate.gateway.ports import Clock

PEOPLE = "people"
"""The owner of rows made here; the policy file never overwrites them."""
ROUNDS_MAX = 10
NAMES_SHOWN_MAX = 10
VALUES_MAX = 1000
"""Values of one wildcard that an answer lists: a crowd of sessions has hundreds of thousands."""
Result = TypeVar("Result")
_READ_ONLY = ("source", "limit_now_usd", "raises", "etag", "notes")
"""Keys that are shown besides a budget's own, so that what was read can be written back."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A budget before and after a change, and the policy that it was made in."""

    before: Budget | None
    after: Budget | None


class BudgetAdmin:
    """Reads and changes the budgets of a ledger."""

    def __init__(self, ledger: StoredLedger, book: Callable[[], PriceBook], clock: Clock) -> None:
        self._ledger, self._book, self._clock = ledger, book, clock

    @property
    def ledger(self) -> StoredLedger:
        """The ledger whose budgets these are."""
        return self._ledger

    def listed(self) -> list[dict[str, object]]:
        """Return every budget as `shown` does."""
        policy, now = self._ledger.policies.policy(), self._clock()
        return [shown_budget(policy, one, now) for one in policy.budgets]

    def shown(self, budget_id: str) -> dict[str, object]:
        """Return a budget in the policy file's form, with its owner, raises and `etag`.

        Raises:
            NotThereError: if there is none of this name.
        """
        policy = self._ledger.policies.policy()
        return shown_budget(policy, existing(policy, budget_id), self._clock())

    def state(self, budget_id: str) -> list[dict[str, object]]:
        """Return where a budget stands in its current window, one entry per value of its scope.

        Of a wildcard the dearest `VALUES_MAX` values.

        Raises:
            NotThereError: if there is none of this name.
        """
        existing(self._ledger.policies.policy(), budget_id)
        return standing(self._ledger, self._clock(), budget_id=budget_id, values_max=VALUES_MAX)

    def create(self, row: Mapping[str, object], author: Author) -> Changed:
        """Add a budget.

        Raises:
            PolicyError: names every field that is wrong.
            AlreadyThereError: if the name is taken.
        """

        def change(policy: Policy) -> tuple[PolicyEdit, Changed]:
            after = self._parsed(policy, row)
            if policy.budget(after.budget_id) is not None:
                raise AlreadyThereError(
                    f"there is a budget {after.budget_id!r} already; change it, or choose "
                    "another id"
                )
            return PolicyEdit((after,)), Changed(None, after)

        return self.change(change, author)

    def put(
        self,
        budget_id: str,
        row: Mapping[str, object],
        author: Author,
        *,
        etag: str | None = None,
        is_new: bool = False,
        is_patch: bool = False,
    ) -> Changed:
        """Add a budget or replace one; a patch changes only the named fields.

        Args:
            budget_id: its name.
            row: its fields in the policy file's form.
            author: who changes it.
            etag: what it must be now; None for anything.
            is_new: whether it must not be there yet.
            is_patch: whether what the row doesn't name stays.

        Raises:
            PolicyError: names every field that is wrong.
            StaleError: if it has changed, or isn't there any more.
        """

        def change(policy: Policy) -> tuple[PolicyEdit, Changed]:
            before = policy.budget(budget_id)
            _check_fresh(before, etag, budget_id)
            if is_new and before is not None:
                raise StaleError(f"budget {budget_id!r} was added meanwhile; read it first")
            whole: dict[str, object] = {"id": budget_id}
            if before is not None and is_patch:
                whole = budget_as_json(before)
            if row.get("id", budget_id) != budget_id:
                raise PolicyError(f"budget {budget_id!r}: id: can't be changed; add another budget")
            after = self._parsed(policy, whole | dict(row))
            edit = PolicyEdit() if after == before else PolicyEdit((after,))
            return edit, Changed(before, after)

        return self.change(change, author)

    def remove(self, budget_id: str, author: Author, *, etag: str | None = None) -> Changed:
        """Remove a budget and its raises; what was spent stays in the journal.

        Raises:
            NotThereError: if there is none of this name.
            StaleError: if it has changed.
        """

        def change(policy: Policy) -> tuple[PolicyEdit, Changed]:
            before = existing(policy, budget_id)
            _check_fresh(before, etag, budget_id)
            return PolicyEdit(removed=(before,)), Changed(before, None)

        return self.change(change, author)

    def raise_limit(self, row: Mapping[str, object], author: Author) -> Raise:
        """Add money to a budget; the same raise again changes nothing.

        Raises:
            NotThereError: if there is no such budget.
            PolicyError: names every field that is wrong.
            AlreadyThereError: if another raise has this name.
        """
        raised = parse_raise(row, where="raise", source=PEOPLE)

        def change(policy: Policy) -> tuple[PolicyEdit, Raise]:
            edit = self.raising(policy, raised)
            return edit, raised

        return self.change(change, author)

    def raising(self, policy: Policy, raised: Raise) -> PolicyEdit:
        """Return the edit that makes a raise; empty if it was made before.

        Raises:
            NotThereError: if there is no such budget.
            PolicyError: if the raise can't be.
            AlreadyThereError: if another raise has this name.
        """
        budget = existing(policy, raised.budget_id)
        same = next((one for one in policy.raises if one.raise_id == raised.raise_id), None)
        if same == raised:
            return PolicyEdit()
        if same is not None:
            raise AlreadyThereError(
                f"there is another raise {raised.raise_id!r} already; choose another id or key"
            )
        if raised.expires_at is not None and raised.expires_at <= self._clock():
            past = raised.expires_at.isoformat()
            raise PolicyError(f"raise: expires_at: {past} is past; choose a time to come")
        if problems := list(too_large([budget], [*policy.raises, raised], "raise")):
            raise PolicyError("\n".join(problems))
        return PolicyEdit((raised,))

    def left_by(self, changed: Changed) -> list[str]:
        """Say which spend isn't counted any more since a budget has changed."""
        before, after = ([] if one is None else [one] for one in (changed.before, changed.after))
        return list(left_spend(before, after, self._ledger.balances, self._clock()))

    def _parsed(self, policy: Policy, row: Mapping[str, object]) -> Budget:
        named = {key: value for key, value in row.items() if key not in _READ_ONLY}
        name = named.get("id")
        where = f"budget {name!r}" if isinstance(name, str) else "budget"
        budget = parse_budget(named, where=where, source=PEOPLE)
        problems = [
            *unpriced_steps([budget], self._book(), self._clock(), "policy"),
            *too_large([budget], policy.raises, "policy"),
        ]
        if problems:
            raise PolicyError("\n".join(problems))
        return budget

    def change(
        self, change: Callable[[Policy], tuple[PolicyEdit, Result]], author: Author
    ) -> Result:
        """Make a change on the version of the policy that it was checked against.

        Raises:
            LedgerBusyError: if others kept changing the policy.
        """
        policies = self._ledger.policies.by(author.actor, author.reason)
        for _ in range(ROUNDS_MAX):
            policy = policies.policy()
            edit, result = change(policy)
            if edit == PolicyEdit() or policies.apply_edit(edit, version=policy.version):
                return result
        raise LedgerBusyError(f"the policy was changed {ROUNDS_MAX} times meanwhile; try again")


def existing(policy: Policy, budget_id: str) -> Budget:
    """Return a budget by its name.

    Raises:
        NotThereError: if there is none; names the nearest.
    """
    budget = policy.budget(budget_id)
    if budget is None:
        known = [one.budget_id for one in policy.budgets]
        hint = did_you_mean(budget_id, known) or _known(known)
        raise NotThereError(f"there is no budget {budget_id[:128]!r}{hint}")
    return budget


def _known(budget_ids: Sequence[str]) -> str:
    """Return some of the names that there are."""
    shown = ", ".join(sorted(budget_ids)[:NAMES_SHOWN_MAX]) or "none yet"
    return f"; there are: {shown}" + (" …" if len(budget_ids) > NAMES_SHOWN_MAX else "")


def first_named(budget_ids: Sequence[str]) -> str:
    """Return the first ids, and how many more there are."""
    more = len(budget_ids) - NAMES_SHOWN_MAX
    shown = ", ".join(map(repr, budget_ids[:NAMES_SHOWN_MAX]))
    return f"{shown} and {more} more" if more > 0 else shown


def etag_of(budget: Budget) -> str:
    """Return the strong entity tag of a budget as it is now."""
    return f'"{hashlib.sha256(encode_budget(budget).encode()).hexdigest()[:16]}"'


def shown_budget(policy: Policy, budget: Budget, now: datetime) -> dict[str, object]:
    """Return a budget in the policy file's form, with what holds now."""
    raises = [raise_as_json(one) for one in policy.raises if one.budget_id == budget.budget_id]
    return {
        **budget_as_json(budget),
        "source": budget.source,
        "limit_now_usd": usd_text(policy.limit(budget, now)),
        "raises": raises,
        "etag": etag_of(budget),
    }


def _check_fresh(before: Budget | None, etag: str | None, budget_id: str) -> None:
    if etag is None:
        return
    if before is None or etag not in {"*", etag_of(before)}:
        raise StaleError(f"budget {budget_id!r} has changed since you read it; read it again")
