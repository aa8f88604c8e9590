"""Random lives of a ledger from which what nobody needs is collected, in between and again."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from tests.ledgers.sinks import VersionedSink
from tests.properties.adjusting_machine import AdjustingMachine
from tests.properties.ledger_machine import commit_deaths
from tests.properties.ledger_model import Key, ModelHold

ROLLING_SECONDS_KEPT = 3 * (3600 + 120)


class CollectingMachine(AdjustingMachine):
    """Collections among everything else; what goes and what stays is predicted from what was seen.

    What the model knows of a hold changes exactly when the ledger writes an entry for it.
    """

    @initialize()
    def look_around(self) -> None:
        self.seen: dict[str, tuple[object, ...]] = {}
        self.last_at: dict[str, datetime] = {}
        self.touched_at: dict[Key, datetime] = {}
        self.named_by: dict[Key, set[str]] = {}

    @invariant()
    def what_has_changed_is_noticed(self) -> None:
        for name, hold in self.model.holds.items():
            now = (hold.state, hold.charged, tuple(hold.keys), hold.payer)
            before = self.seen.get(name)
            if now != before:
                self.seen[name], self.last_at[name] = now, self.at
                self.notice(name, hold.keys)
                self.notice(name, () if before is None else before[2])  # type: ignore[arg-type]  # keys

    def notice(self, name: str, keys: Iterable[Key]) -> None:
        for key in keys:
            self.named_by.setdefault(key, set()).add(name)
            self.touched_at[key] = max(self.at, self.touched_at.get(key) or self.at)

    @rule(days=st.integers(1, 6))
    def let_days_pass(self, days: int) -> None:
        self.at += timedelta(days=days)

    @rule(
        keep=st.sampled_from([timedelta(), timedelta(hours=1), timedelta(days=2)]),
        death=commit_deaths,
        passes=st.integers(0, 2),
    )
    def collect(self, keep: timedelta, death: str | None, passes: int) -> None:
        is_delivered = self.ledger.outbox.state().waiting_events == 0
        now = min(self.at, max(self.touched_at.values(), default=self.at))

        self.dying_somewhere(death, keep, passes)

        is_whole = self.trap.sprung is None
        gone = {name for name in self.model.holds if self.ledger.hold_record(name) is None}
        old = {name for name in self.model.holds if self.may_go(name, now - keep)}
        assert gone <= old
        assert gone == old or not (is_whole and is_delivered)
        self.check_that_the_sink_has(gone)
        self.model.forget(gone)
        there = {(row.budget_id, row.scope_value, row.period) for row in self.ledger.balances()}
        missing = self.model.touched - there
        free = {key for key in self.model.touched if self.is_free(key, now)}
        assert missing <= free
        assert missing == free or not is_whole
        self.model.drop(missing)
        for key in missing:
            del self.touched_at[key], self.named_by[key]

    def dying_somewhere(self, death: str | None, keep: timedelta, passes: int) -> None:
        """Collect in a process that may die at one of its commits, if there are as many."""
        self.trap.set(death, passes)
        try:
            self.ledger.collect(self.at, keep)
        except BaseException:
            if self.trap.sprung is None:
                raise
            self.ledger = self.alive.open()
        sprung = self.trap.sprung
        self.trap.set(None)
        self.trap.sprung = sprung

    def may_go(self, name: str, before: datetime) -> bool:
        hold: ModelHold = self.model.holds[name]
        return hold.state != "held" and self.last_at[name] <= before

    def is_free(self, key: Key, now: datetime) -> bool:
        return self.named_by[key] <= self.model.forgotten.keys() and is_past(key, now)

    def check_that_the_sink_has(self, names: set[str]) -> None:
        if not isinstance(self.sink, VersionedSink):
            return
        for name in names:
            delivered = [one.cost_nano for one in self.sink.events if one.hold_id == name]
            assert delivered
            assert sum(delivered) == self.model.holds[name].charged


def is_past(key: Key, now: datetime) -> bool:
    name, _, period = key
    if name == "org":
        return False
    if name == "hour":
        started = 60 * int(period.partition("#")[2])
        return now.timestamp() >= started + ROLLING_SECONDS_KEPT
    day = date.fromisoformat(period)
    return now >= datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=4)
