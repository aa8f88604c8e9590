"""The policy as the embedded ledger stores it; a change, and only that, raises its version."""

import sqlite3
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.budget_codec import (
    decode_budget,
    decode_defaults,
    decode_raise,
    encode_budget,
    encode_defaults,
    encode_raise,
)
from spendgate.adapters.event_codec import from_micros, to_micros
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.statements import statements
from spendgate.domain.budget import Budget, Policy, PolicyDefaults, Raise
from spendgate.domain.scope import Scope

_SQL = statements("sqlite/policy.sql")
_VERSION = statements("sqlite/verbs.sql")["policy_version"]
FILE_SOURCE = "file"


@dataclass(frozen=True, slots=True)
class Pause:
    """A scope that is refused until it is resumed."""

    scope: str
    reason: str
    paused_at: datetime


class SqlitePolicy:
    """Budgets, raises, pauses, defaults and price rows of a store."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def ledger_id(self) -> str:
        """Return the ledger's random name, made at first use."""
        rows = self._store.read(_SQL["get_meta"], ("ledger_id",))
        if rows:
            return str(rows[0][0])
        with self._store.write() as connection:
            found = connection.execute(_SQL["get_meta"], ("ledger_id",)).fetchone()
            made = found[0] if found else uuid.uuid4().hex
            connection.execute(_SQL["put_meta"], ("ledger_id", made))
        return made

    def version(self) -> int:
        """Return the policy's version."""
        ((version,),) = self._store.read(_VERSION)
        return int(str(version))

    def policy(self) -> Policy:
        """Return the policy in force, all of one version."""
        with self._store.snapshot() as connection:
            (version,) = connection.execute(_VERSION).fetchone()
            budgets = connection.execute(_SQL["all_budgets"]).fetchall()
            raises = connection.execute(_SQL["all_raises"]).fetchall()
            paused = connection.execute(_SQL["all_pauses"]).fetchall()
            stored = connection.execute(_SQL["get_meta"], ("defaults",)).fetchone()
        defaults, models = decode_defaults(stored[0]) if stored else (PolicyDefaults(), {})
        return Policy(
            budgets=tuple(decode_budget(spec) for _, _, spec in budgets),
            raises=tuple(decode_raise(spec) for _, _, spec in raises),
            paused=tuple(Scope.parse(scope) for scope, _, _ in paused),
            models=models,
            defaults=defaults,
            version=version,
        )

    def import_policy(self, policy: Policy) -> list[str]:
        """Replace the rows that the file owns; return the ids kept because people own them."""
        with self._changing() as connection:
            connection.execute(_SQL["remove_file_budgets"])
            connection.execute(_SQL["remove_file_raises"])
            owned = {row[0] for row in connection.execute(_SQL["all_budgets"]).fetchall()}
            owned_raises = {row[0] for row in connection.execute(_SQL["all_raises"]).fetchall()}
            for budget in policy.budgets:
                if budget.budget_id not in owned:
                    _put_budget(connection, budget)
            for raised in policy.raises:
                if raised.raise_id not in owned_raises:
                    _put_raise(connection, raised)
            encoded = encode_defaults(policy.defaults, policy.models)
            connection.execute(_SQL["put_meta"], ("defaults", encoded))
        return sorted(owned & {budget.budget_id for budget in policy.budgets})

    def put_budgets(self, budgets: Sequence[Budget]) -> None:
        """Insert or replace budgets, all or none."""
        with self._changing() as connection:
            for budget in budgets:
                _put_budget(connection, budget)

    def remove_budget(self, budget_id: str) -> bool:
        """Remove a budget and its raises; False if there was none."""
        with self._changing() as connection:
            removed = connection.execute(_SQL["remove_budget"], (budget_id,)).rowcount
            connection.execute(_SQL["remove_budget_raises"], (budget_id,))
        return removed > 0

    def put_raise(self, raised: Raise) -> None:
        """Add a temporary raise."""
        with self._changing() as connection:
            _put_raise(connection, raised)

    def pause(self, scope: Scope, reason: str, at: datetime) -> None:
        """Refuse every call of a scope from now on."""
        with self._changing() as connection:
            connection.execute(_SQL["put_pause"], (scope.text, reason, to_micros(at)))

    def resume(self, scope: Scope) -> bool:
        """Lift a pause; False if there was none."""
        with self._changing() as connection:
            removed = connection.execute(_SQL["remove_pause"], (scope.text,)).rowcount
        return removed > 0

    def pauses(self) -> list[Pause]:
        """Return the paused scopes with their reasons."""
        rows = self._store.read(_SQL["all_pauses"])
        return [Pause(str(scope), str(why), from_micros(int(str(at)))) for scope, why, at in rows]

    def put_price(self, row_json: str) -> None:
        """Append one dated price row over the shipped book."""
        with self._changing() as connection:
            connection.execute(_SQL["put_price"], (row_json,))

    def prices(self) -> list[str]:
        """Return the price rows over the shipped book, oldest first."""
        return [str(spec) for (spec,) in self._store.read(_SQL["all_prices"])]

    @contextmanager
    def _changing(self) -> Generator[sqlite3.Connection]:
        with self._store.write() as connection:
            before = _rows(connection)
            yield connection
            if _rows(connection) != before:
                connection.execute(_SQL["raise_version"])


def _rows(connection: sqlite3.Connection) -> list[object]:
    return [
        connection.execute(_SQL["all_budgets"]).fetchall(),
        connection.execute(_SQL["all_raises"]).fetchall(),
        connection.execute(_SQL["all_pauses"]).fetchall(),
        connection.execute(_SQL["all_prices"]).fetchall(),
        connection.execute(_SQL["get_meta"], ("defaults",)).fetchone(),
    ]


def _put_budget(connection: sqlite3.Connection, budget: Budget) -> None:
    row = (budget.budget_id, budget.source, encode_budget(budget))
    connection.execute(_SQL["put_budget"], row)


def _put_raise(connection: sqlite3.Connection, raised: Raise) -> None:
    row = (raised.raise_id, raised.budget_id, raised.source, encode_raise(raised))
    connection.execute(_SQL["put_raise"], row)
