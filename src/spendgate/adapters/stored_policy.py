"""The policy as a ledger stores it; a change, and only that, raises its version."""

import json
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from spendgate.adapters.budget_codec import (
    decode_budget,
    decode_defaults,
    decode_raise,
    encode_budget,
    encode_defaults,
    encode_raise,
)
from spendgate.adapters.event_codec import from_micros, to_micros
from spendgate.adapters.revocation_rows import (
    FIRST_KEY,
    LAST_KEY,
    decode_revocation,
    encode_revocation,
    key_of,
)
from spendgate.adapters.sql_store import SqlConnection, SqlStore
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.revocation import Revocation, Revocations
from spendgate.domain.scope import Scope

SYNC_BASE = "sync_base"
MADE_BUDGET = "made_budget"
"""Where the default budget is kept as it was made from the settings."""


class DefaultBudget(StrEnum):
    """What a start without a policy file did to the budgets of its ledger."""

    MADE = "made"
    CHANGED = "changed"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes a policy, and why."""

    actor: str
    reason: str = ""


NOBODY_NAMED = Author("spendgate")


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One entry of the journal of changes; before None: it is new, after None: it is gone."""

    seq: int
    changed_at: datetime
    actor: str
    reason: str
    kind: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Pause:
    """A scope that is refused until it is resumed."""

    scope: str
    reason: str
    paused_at: datetime


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request for more budget as it is stored, and as it must be before; None: not there."""

    request_id: str
    status: str
    spec: str
    before: str | None


@dataclass(frozen=True, slots=True)
class PolicyEdit:
    """Several changes that hold together or not at all."""

    put: tuple[Budget | Raise, ...] = ()
    removed: tuple[Budget | Raise, ...] = ()
    prices: tuple[str, ...] = ()
    requests: tuple[RequestRow, ...] = ()


class StoredPolicy:
    """Budgets, raises, pauses, revocations, defaults and prices of a store, in its own SQL.

    Every change is journalled in its own transaction: what, before and after, by whom and why.
    """

    def __init__(
        self, store: SqlStore, sql: Mapping[str, str], author: Author = NOBODY_NAMED
    ) -> None:
        self._store = store
        self._sql = sql
        self._author = author

    def by(self, actor: str, reason: str = "") -> "StoredPolicy":
        """Return the same policy for somebody who changes it."""
        return StoredPolicy(self._store, self._sql, Author(actor, reason))

    def changes_since(self, seq: int, limit: int = 1000) -> list[PolicyChange]:
        """Return the journal's entries after one, oldest first."""
        rows = self._store.read(self._sql["changes_since"], (seq, limit))
        return [PolicyChange(row[0], from_micros(int(row[1])), *row[2:]) for row in rows]

    def ledger_id(self) -> str:
        """Return the ledger's random name, made at first use."""
        rows = self._store.read(self._sql["get_meta"], ("ledger_id",))
        if rows:
            return str(rows[0][0])
        with self._store.write() as connection:
            found = connection.execute(self._sql["get_meta"], ("ledger_id",)).fetchone()
            made = found[0] if found else uuid.uuid4().hex
            connection.execute(self._sql["put_meta"], ("ledger_id", made))
        return made

    def version(self) -> int:
        """Return the policy's version."""
        ((version,),) = self._store.read(self._sql["version"])
        return int(str(version))

    def policy(self) -> Policy:
        """Return the policy in force, all of one version."""
        with self._store.snapshot() as connection:
            (version,) = connection.execute(self._sql["version"]).fetchone()
            budgets = connection.execute(self._sql["all_budgets"]).fetchall()
            raises = connection.execute(self._sql["all_raises"]).fetchall()
            paused = connection.execute(self._sql["all_pauses"]).fetchall()
            stored = connection.execute(self._sql["get_meta"], ("defaults",)).fetchone()
            revoked = self._revoked(connection)
        rest = decode_defaults(stored[0]) if stored else Policy()
        return replace(
            rest,
            budgets=tuple(decode_budget(spec) for _, _, spec in budgets),
            raises=tuple(decode_raise(spec) for _, _, spec in raises),
            paused=tuple(Scope.parse(scope) for scope, _, _ in paused),
            revoked=Revocations.of(map(decode_revocation, revoked)),
            version=version,
        )

    def import_policy(self, policy: Policy) -> list[str]:
        """Replace the rows that the file owns; return the ids kept because people own them."""
        with self._changing() as connection:
            connection.execute(self._sql["remove_file_budgets"])
            connection.execute(self._sql["remove_file_raises"])
            owned, owned_raises = (
                {row[0] for row in connection.execute(self._sql[rows]).fetchall()}
                for rows in ("all_budgets", "all_raises")
            )
            for budget in policy.budgets:
                if budget.budget_id not in owned:
                    self._put_budget(connection, budget)
            for raised in policy.raises:
                if raised.raise_id not in owned_raises:
                    self._put_raise(connection, raised)
            connection.execute(self._sql["put_meta"], ("defaults", encode_defaults(policy)))
            connection.execute(self._sql["remove_meta"], (MADE_BUDGET,))
        return sorted(owned & {budget.budget_id for budget in policy.budgets})

    def import_default(self, budget: Budget, *, may_change: bool) -> DefaultBudget:
        """Give a ledger that never had a policy this budget; one that was emptied stays empty.

        While that budget is all that the ledger has, and as it was made, another replaces it if it
        `may_change`.
        """
        with self._changing() as connection:
            rows = connection.execute(self._sql["all_budgets"]).fetchall()
            if not rows and not connection.execute(self._sql["had_policy"]).fetchall():
                defaults = encode_defaults(Policy())
                connection.execute(self._sql["put_meta"], ("defaults", defaults))
                done = DefaultBudget.MADE
            elif may_change and self._is_as_made(connection, rows, budget):
                done = DefaultBudget.CHANGED
            else:
                return DefaultBudget.KEPT
            self._put_budget(connection, budget)
            connection.execute(self._sql["put_meta"], (MADE_BUDGET, encode_budget(budget)))
        return done

    def _is_as_made(
        self, connection: SqlConnection, rows: Sequence[Sequence[str]], budget: Budget
    ) -> bool:
        """Tell whether all there is is the default budget as it was made, and not this one."""
        found = connection.execute(self._sql["get_meta"], (MADE_BUDGET,)).fetchone()
        raises = connection.execute(self._sql["all_raises"]).fetchall()
        if found is None or raises or len(rows) != 1:
            return False
        # Not as texts: a later version may write the same budget with more fields.
        made = decode_budget(found[0])
        return made == decode_budget(rows[0][2]) and made != budget

    def put_budgets(self, budgets: Sequence[Budget]) -> None:
        """Insert or replace budgets, all or none."""
        with self._changing() as connection:
            for budget in budgets:
                self._put_budget(connection, budget)

    def remove_budget(self, budget_id: str) -> bool:
        """Remove a budget and its raises; False if there was none."""
        with self._changing() as connection:
            removed = connection.execute(self._sql["remove_budget"], (budget_id,)).rowcount
            connection.execute(self._sql["remove_budget_raises"], (budget_id,))
        return removed > 0

    def put_raise(self, raised: Raise) -> None:
        """Add a temporary raise."""
        with self._changing() as connection:
            self._put_raise(connection, raised)

    def pause(self, scope: Scope, reason: str, at: datetime) -> None:
        """Refuse every call of a scope from now on."""
        with self._changing() as connection:
            connection.execute(self._sql["put_pause"], (scope.text, reason, to_micros(at)))

    def resume(self, scope: Scope) -> bool:
        """Lift a pause; False if there was none."""
        with self._changing() as connection:
            removed = connection.execute(self._sql["remove_pause"], (scope.text,)).rowcount
        return removed > 0

    def pauses(self) -> list[Pause]:
        """Return the paused scopes with their reasons."""
        rows = self._store.read(self._sql["all_pauses"])
        return [Pause(str(scope), str(why), from_micros(int(str(at)))) for scope, why, at in rows]

    def revoke(self, revocation: Revocation) -> None:
        """Refuse a token, or all of a scope so far, from now on; forget what is over by then."""
        row = (key_of(revocation), encode_revocation(revocation))
        with self._changing() as connection:
            for old in self._revoked(connection):
                if decode_revocation(old).is_over(revocation.revoked_at):
                    connection.execute(self._sql["remove_meta"], (old[0],))
            connection.execute(self._sql["put_meta"], row)

    def revocations(self) -> list[Revocation]:
        """Return what is revoked."""
        rows = self._store.read(self._sql["all_revocations"], (FIRST_KEY, LAST_KEY))
        return [decode_revocation(row) for row in rows]

    def put_price(self, row_json: str) -> None:
        """Append one dated price row over the shipped book."""
        with self._changing() as connection:
            connection.execute(self._sql["put_price"], (row_json,))

    def prices(self) -> list[str]:
        """Return the price rows over the shipped book, oldest first."""
        return [str(spec) for (spec,) in self._store.read(self._sql["all_prices"])]

    def sync_base(self) -> dict[str, str]:
        """Return what `apply_edit` was given last: the rows on which table and ledger agreed."""
        found = self._store.read(self._sql["get_meta"], (SYNC_BASE,))
        return dict(json.loads(str(found[0][0]))) if found else {}

    def apply_edit(
        self, edit: PolicyEdit, *, version: int, base: Mapping[str, str] | None = None
    ) -> bool:
        """Make an edit of a policy of a version; False, and nothing moved, if it has changed.

        `base` None leaves what table and ledger agreed on last as it is.
        """
        with self._changing() as connection:
            (now,) = connection.execute(self._sql["version"]).fetchone()
            if now != version:
                return False
            for row in edit.requests:
                found = connection.execute(self._sql["get_request"], (row.request_id,)).fetchone()
                if (None if found is None else found[0]) != row.before:
                    return False
            for row in edit.requests:
                self._put_request(connection, row)
            for rule in edit.removed:
                if isinstance(rule, Raise):
                    connection.execute(self._sql["remove_raise"], (rule.raise_id,))
                else:
                    connection.execute(self._sql["remove_budget"], (rule.budget_id,))
                    connection.execute(self._sql["remove_budget_raises"], (rule.budget_id,))
            for rule in edit.put:
                if isinstance(rule, Raise):
                    self._put_raise(connection, rule)
                else:
                    self._put_budget(connection, rule)
            for row_json in edit.prices:
                connection.execute(self._sql["put_price"], (row_json,))
            if base is not None:
                text = json.dumps(dict(base), sort_keys=True)
                connection.execute(self._sql["put_meta"], (SYNC_BASE, text))
        return True

    def requests(self) -> list[str]:
        """Return all requests for more budget, as they are stored."""
        return [str(spec) for (spec,) in self._store.read(self._sql["all_requests"])]

    def request(self, request_id: str) -> str | None:
        """Return one request as it is stored; None if there is none."""
        rows = self._store.read(self._sql["get_request"], (request_id,))
        return str(rows[0][0]) if rows else None

    @contextmanager
    def _changing(self) -> Generator[SqlConnection]:
        with self._store.write() as connection:
            before = self._rows(connection)
            yield connection
            after = self._rows(connection)
            changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
            for kind, name in changed:
                values = (kind, name, before.get((kind, name)), after.get((kind, name)))
                connection.execute(
                    self._sql["add_change"], (self._author.actor, self._author.reason, *values)
                )
            if changed:
                connection.execute(self._sql["raise_version"])

    def _rows(self, connection: SqlConnection) -> dict[tuple[str, str], str]:
        """Return all rows by kind and name, as the texts that they are stored as."""
        rows: dict[tuple[str, str], str] = {}
        for kind in ("budget", "raise"):
            for name, _, spec in connection.execute(self._sql[f"all_{kind}s"]).fetchall():
                rows[kind, name] = spec  # which says its owner too
        for scope, reason, _ in connection.execute(self._sql["all_pauses"]).fetchall():
            rows["pause", scope] = reason
        prices = connection.execute(self._sql["all_prices"]).fetchall()
        rows |= {("price", str(number)): spec for number, (spec,) in enumerate(prices, start=1)}
        for key, value in self._revoked(connection):
            rows["revocation", str(key)] = str(value)
        defaults = connection.execute(self._sql["get_meta"], ("defaults",)).fetchone()
        return rows if defaults is None else {**rows, ("defaults", "defaults"): defaults[0]}

    def _revoked(self, connection: SqlConnection) -> list[tuple[object, ...]]:
        return connection.execute(self._sql["all_revocations"], (FIRST_KEY, LAST_KEY)).fetchall()

    def _put_request(self, connection: SqlConnection, row: RequestRow) -> None:
        connection.execute(self._sql["put_request"], (row.request_id, row.status, row.spec))
        author = (self._author.actor, self._author.reason)
        change = ("request", row.request_id, row.before, row.spec)
        connection.execute(self._sql["add_change"], (*author, *change))

    def _put_budget(self, connection: SqlConnection, budget: Budget) -> None:
        row = (budget.budget_id, budget.source, encode_budget(budget))
        connection.execute(self._sql["put_budget"], row)

    def _put_raise(self, connection: SqlConnection, raised: Raise) -> None:
        row = (raised.raise_id, raised.budget_id, raised.source, encode_raise(raised))
        connection.execute(self._sql["put_raise"], row)
