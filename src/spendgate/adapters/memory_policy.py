"""The policy of the in-memory ledger; a change, and only that, raises its version."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from spendgate.adapters.memory_store import MemoryState, MemoryStore, PolicyRows
from spendgate.adapters.stored_policy import Pause
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.revocation import Revocation, Revocations
from spendgate.domain.scope import Scope

Owned = TypeVar("Owned", Budget, Raise)
Row = TypeVar("Row")


class MemoryPolicy:
    """Budgets, raises, pauses, revocations, defaults and price rows of a store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def version(self) -> int:
        """Return the policy's version."""
        return self._store.state.policy_version

    def policy(self) -> Policy:
        """Return the policy in force, all of one version."""
        state = self._store.state
        rows = state.policy
        return Policy(
            budgets=tuple(rows.budgets[name] for name in sorted(rows.budgets)),
            raises=tuple(rows.raises[name] for name in sorted(rows.raises)),
            paused=tuple(Scope.parse(text) for text in sorted(rows.pauses)),
            models=rows.models,
            defaults=rows.defaults,
            upstreams=rows.upstreams,
            router=rows.router,
            revoked=Revocations.of(self.revocations()),
            version=state.policy_version,
        )

    def import_policy(self, policy: Policy) -> list[str]:
        """Replace the rows that the file owns; return the ids kept because people own them."""
        kept: list[str] = []

        def imported(rows: PolicyRows) -> PolicyRows:
            owned = _not_of_the_file(rows.budgets)
            owned_raises = _not_of_the_file(rows.raises)
            listed = {one.budget_id: one for one in policy.budgets}
            kept.extend(sorted(owned.keys() & listed.keys()))
            return replace(
                rows,
                budgets=listed | owned,
                raises={one.raise_id: one for one in policy.raises} | owned_raises,
                models=dict(policy.models),
                defaults=policy.defaults,
                upstreams=policy.upstreams,
                router=policy.router,
            )

        self._change(imported)
        return kept

    def put_budgets(self, budgets: Sequence[Budget]) -> None:
        """Insert or replace budgets, all or none."""
        added = {one.budget_id: one for one in budgets}
        self._change(lambda rows: replace(rows, budgets=rows.budgets | added))

    def remove_budget(self, budget_id: str) -> bool:
        """Remove a budget and its raises; False if there was none."""
        before = self._change(
            lambda rows: replace(
                rows,
                budgets=_without(rows.budgets, budget_id),
                raises={n: one for n, one in rows.raises.items() if one.budget_id != budget_id},
            )
        )
        return budget_id in before.budgets

    def put_raise(self, raised: Raise) -> None:
        """Add a temporary raise."""
        self._change(lambda rows: replace(rows, raises=rows.raises | {raised.raise_id: raised}))

    def pause(self, scope: Scope, reason: str, at: datetime) -> None:
        """Refuse every call of a scope from now on; its first time and its last reason are kept."""

        def paused(rows: PolicyRows) -> PolicyRows:
            _, since = rows.pauses.get(scope.text, (reason, at))
            return replace(rows, pauses=rows.pauses | {scope.text: (reason, since)})

        self._change(paused)

    def resume(self, scope: Scope) -> bool:
        """Lift a pause; False if there was none."""
        before = self._change(lambda rows: replace(rows, pauses=_without(rows.pauses, scope.text)))
        return scope.text in before.pauses

    def pauses(self) -> list[Pause]:
        """Return the paused scopes with their reasons."""
        rows = self._store.state.policy.pauses
        return [Pause(scope, *rows[scope]) for scope in sorted(rows)]

    def revoke(self, revocation: Revocation) -> None:
        """Refuse a token, or all of a scope so far, from now on; forget what is over by then."""

        def revoked(rows: PolicyRows) -> PolicyRows:
            at = revocation.revoked_at
            kept = {text: one for text, one in rows.revocations.items() if not one.is_over(at)}
            return replace(rows, revocations=kept | {revocation.text: revocation})

        self._change(revoked)

    def revocations(self) -> list[Revocation]:
        """Return what is revoked."""
        rows = self._store.state.policy.revocations
        return [rows[text] for text in sorted(rows)]

    def put_price(self, row_json: str) -> None:
        """Append one dated price row over the shipped book."""
        self._change(lambda rows: replace(rows, prices=(*rows.prices, row_json)))

    def prices(self) -> list[str]:
        """Return the price rows over the shipped book, oldest first."""
        return list(self._store.state.policy.prices)

    def _change(self, change: Callable[[PolicyRows], PolicyRows]) -> PolicyRows:
        with self._store.write() as state:
            return _changed(state, change)


def _changed(state: MemoryState, change: Callable[[PolicyRows], PolicyRows]) -> PolicyRows:
    before = state.policy
    state.policy = change(before)
    if state.policy != before:
        state.policy_version += 1
    return before


def _not_of_the_file(rows: dict[str, Owned]) -> dict[str, Owned]:
    return {name: one for name, one in rows.items() if one.source != "file"}


def _without(rows: dict[str, Row], name: str) -> dict[str, Row]:
    return {key: value for key, value in rows.items() if key != name}
