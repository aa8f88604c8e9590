"""Collection: what nobody needs any more leaves the ledger, and the audit still adds up.

* A hold goes with its entries of the journal, when it has ended and all of them are delivered and
  older than the retention. What they had added to each balance is carried in sums.
* A balance goes when no hold and no entry names it any more, and its window is long over or its
  budget says that it was idle for too long. It is made again by the reserve that needs it.
* Delivered decisions and emptied batches go.

An open hold and an entry that the sink doesn't have are never touched. Each chunk is a transaction
of its own, so a collector may die anywhere, and two may run at once.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from spendgate.adapters.event_codec import dump, from_micros, to_micros
from spendgate.adapters.sql_store import SqlConnection, SqlStore
from spendgate.adapters.stored_policy import StoredPolicy
from spendgate.domain.budget import Policy
from spendgate.domain.retention import Collected, is_past

HOLDS_AT_ONCE = 250
"""With their entries, of which a hold has one or two, well below a thousand rows."""
ROWS_AT_ONCE = 1_000
_PAUSE_SECONDS = 0.005
"""Between two chunks, so that calls that wait for a file's lock get it."""


class StoredCollection:
    """The collection of a store, in its own SQL."""

    def __init__(self, store: SqlStore, sql: Mapping[str, str], policies: StoredPolicy) -> None:
        self._store = store
        self._sql = sql
        self._policies = policies

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        """Remove what is older than `keep` and nobody needs; return how much that was.

        The time is `at`, but not later than the last movement in the ledger: a clock that runs
        ahead must not make a window forget that it is in use.
        """
        ((latest,),) = self._store.read(self._sql["latest"])
        at = at if latest is None else min(at, from_micros(latest))
        before = to_micros(at - keep)
        collected = self._collect_holds(before)
        collected += self._collect_balances(self._policies.policy(), at)
        collected += Collected(decisions=self._remove_all("remove_decisions"))
        return collected + Collected(batches=self._remove_all("remove_batches"))

    def _collect_holds(self, before: int) -> Collected:
        collected, cursor = Collected(), 0
        while page := self._store.read(self._sql["journal_page"], (cursor, HOLDS_AT_ONCE)):
            cursor = page[-1][0]
            old = {hold_id for _, hold_id, recorded_at in page if recorded_at <= before}
            if not old:
                break  # the journal is in the order of time but for clocks that differ
            with self._store.write() as connection:
                collected += self._remove_holds(connection, sorted(old), before)
            time.sleep(_PAUSE_SECONDS)
        return collected

    def _remove_holds(
        self, connection: SqlConnection, hold_ids: Sequence[str], before: int
    ) -> Collected:
        ended = {
            hold_id: (charged, events)
            for hold_id, charged, events in connection.execute(
                self._sql["lock_ended"], (dump(hold_ids),)
            ).fetchall()
        }
        entries = _entries_of(ended)
        found = connection.execute(self._sql["entries_of"], (dump(entries),)).fetchall()
        removed = {
            hold_id: ended[hold_id]
            for hold_id, count, spent, newest, delivered in found
            # One whose entries don't add up is left for the audit to find.
            if (spent, count) == ended[hold_id] and delivered == count and newest <= before
        }
        entries = dump(_entries_of(removed))
        for statement in ("carry", "carry_all", "remove_adjustments", "remove_entries"):
            connection.execute(self._sql[statement], (entries,))
        connection.execute(self._sql["remove_holds"], (dump(sorted(removed)),))
        count = sum(events for _, events in removed.values())
        return Collected(holds=len(removed), entries=count)

    def _collect_balances(self, policy: Policy, at: datetime) -> Collected:
        collected, cursor = Collected(), 0
        while page := self._store.read(self._sql["balance_page"], (cursor, ROWS_AT_ONCE)):
            cursor = page[-1][0]
            past = [
                bal_id
                for bal_id, budget_id, period, touched_at, is_unused in page
                if is_unused
                and is_past(period, policy.budget(budget_id), from_micros(touched_at), at)
            ]
            if past:
                with self._store.write() as connection:
                    collected += self._remove_balances(connection, past)
                time.sleep(_PAUSE_SECONDS)
        return collected

    def _remove_balances(self, connection: SqlConnection, bal_ids: Sequence[int]) -> Collected:
        # Whoever has reserved on one since has made it name a hold again.
        unused = connection.execute(self._sql["lock_unused"], (dump(bal_ids),)).fetchall()
        ids = dump([bal_id for (bal_id,) in unused])
        connection.execute(self._sql["remove_balances"], (ids,))
        connection.execute(self._sql["remove_carried"], (ids,))
        return Collected(balances=len(unused))

    def _remove_all(self, statement: str) -> int:
        total = 0
        while True:
            with self._store.write() as connection:
                count = connection.execute(self._sql[statement], (ROWS_AT_ONCE,)).rowcount
            total += count
            if count < ROWS_AT_ONCE:
                return total
            time.sleep(_PAUSE_SECONDS)


def _entries_of(holds: Mapping[str, tuple[int, int]]) -> list[str]:
    """Name the entries of holds, of each as many as it says that it has."""
    return [
        f"{hold_id}:{number}"
        for hold_id, (_, events) in sorted(holds.items())
        for number in range(1, events + 1)
    ]
