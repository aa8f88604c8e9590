"""Random lives of a real SQLite ledger, against a small model that shares no code with it.

The model keeps a list of holds and adds them up anew for every question. Time steps over midnight
and backwards, limits change, everything is repeated, and the outbox is drained in between. The last
tests run broken ledgers, to show that the machine notices.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import Budget, parse_window
from spendgate.domain.decision import Candidate, Granted, Refused
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    ReserveRequest,
    Settled,
    Settlement,
    Verdict,
)
from spendgate.domain.scope import Identity, Scope

EVENING = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
BUDGETS = {
    name: Budget(name, Scope.parse(scope), limit, parse_window(window), fit=False)
    for name, scope, limit, window in (
        ("org", "org:acme", 300, "lifetime"),
        ("each-user", "user:*", 120, "day"),
        ("each-session", "session:*", 80, "day"),
        ("hour", "org:acme", 150, "rolling:1h"),
    )
}
Key = tuple[str, str, str]

# Which of the latest holds a step is about, the latest first; one beyond them is unknown.
recent = st.integers(0, 3)
shares = st.sampled_from([None, 0, 1, 50, 99, 100])
users = st.sampled_from(["ann", "bob"])
sessions = st.sampled_from([None, "s1", "s2", "s3"])
amounts = st.integers(0, 60)


@dataclass
class ModelHold:
    """What the model knows of one hold."""

    fingerprint: str
    amount: int
    keys: list[Key]
    expires_at: datetime
    state: str = "held"
    charged: int = 0

    @property
    def exposure(self) -> int:
        """What the call may have cost in the real world, whatever the ledger thinks."""
        if self.state == "voided":
            return 0
        return self.charged if self.state == "settled" else self.amount


class Model:
    """The ledger's rules, written as naively as possible."""

    def __init__(self) -> None:
        self.holds: dict[str, ModelHold] = {}
        self.limits = {name: budget.limit_nano for name, budget in BUDGETS.items()}
        self.admitted_under: dict[Key, int] = {}

    def keys(self, at: datetime, user: str, session: str | None) -> list[Key]:
        keys = [("org", "acme", "*"), ("each-user", user, at.date().isoformat())]
        if session is not None:
            keys.append(("each-session", session, at.date().isoformat()))
        return [*keys, ("hour", "acme", f"rolling:1h#{minute_of(at)}")]

    def used(self, key: Key, at: datetime) -> int:
        """Add up what is spent and held; for the rolling hour in the last 60 minutes as well."""
        periods = {key[2]}
        if key[0] == "hour":
            periods = {f"rolling:1h#{minute_of(at) - ago}" for ago in range(61)}
        return sum(
            self.sums().get((key[0], key[1], period), (0, 0))[part]
            for period in periods
            for part in (0, 1)
        )

    def sums(self) -> dict[Key, tuple[int, int]]:
        """Return spent and held of every balance that a hold ever moved."""
        sums: dict[Key, tuple[int, int]] = {}
        for hold in self.holds.values():
            held = hold.amount if hold.state == "held" else 0
            for key in hold.keys:
                spent_before, held_before = sums.get(key, (0, 0))
                sums[key] = (spent_before + hold.charged, held_before + held)
        return sums

    def reserve(
        self, hold_id: str, fingerprint: str, amount: int, keys: list[Key], at: datetime, ttl: int
    ) -> str:
        hold = self.holds.get(hold_id)
        if hold is not None:
            return hold.state if hold.fingerprint == fingerprint else "conflict"
        if any(self.used(key, at) + amount > self.limits[key[0]] for key in keys):
            return "refused"
        expires_at = at + timedelta(seconds=ttl)
        self.holds[hold_id] = ModelHold(fingerprint, amount, keys, expires_at)
        for key in keys:
            limit = self.limits[key[0]]
            self.admitted_under[key] = max(limit, self.admitted_under.get(key, 0))
        return "granted"

    def end(self, hold_id: str, state: str, cost: int | None = None) -> Settled:
        hold = self.holds.get(hold_id)
        if hold is None:
            return Settled(hold_id, None, 0, moved=False)
        is_correction = hold.state == "expired" and state == "settled" and cost is not None
        moved = hold.state == "held" or is_correction
        is_overrun = False
        if moved:
            charged = 0 if state == "voided" else hold.amount if cost is None else cost
            is_overrun = charged > (hold.amount if hold.state == "held" else hold.charged)
            hold.state, hold.charged = state, charged
        return Settled(hold_id, HoldState(hold.state), hold.charged, moved, is_overrun)

    def due(self, at: datetime) -> list[str]:
        return [
            name
            for name, hold in self.holds.items()
            if hold.state == "held" and hold.expires_at <= at
        ]


def minute_of(at: datetime) -> int:
    return int(at.timestamp()) // 60


def said(verdict: Verdict) -> str:
    """Return a verdict in the model's words."""
    if isinstance(verdict, AlreadyReserved):
        return verdict.state.value
    words = {Granted: "granted", Refused: "refused", FingerprintConflict: "conflict"}
    return words[type(verdict)]


class LedgerMachine(RuleBasedStateMachine):
    """Do the same to a ledger and to the model, and compare all they say and keep."""

    make_ledger: Callable[[SqliteStore], SqliteLedger] = SqliteLedger
    overrun_max = 0

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = SqliteStore(self.folder / "ledger.db")
        self.ledger = type(self).make_ledger(self.store)
        self.model = Model()
        self.at = EVENING
        self.delivered: dict[str, tuple[str, int]] = {}
        self.ledger.policies.put_budgets(list(BUDGETS.values()))

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        try:
            while self.deliver_batch(limit=5):
                pass
            charged = {name: hold.charged for name, hold in self.model.holds.items()}
            assert self.delivered_by_hold() == charged
        finally:
            self.ledger.close()
            shutil.rmtree(self.folder)

    @rule(
        again=st.sampled_from([None, None, None, 0, 1]),
        body=st.sampled_from(["a", "a", "a", "b"]),
        amount=amounts,
        user=users,
        session=sessions,
        ttl=st.sampled_from([1, 60, 3600]),
    )
    def reserve(
        self,
        again: int | None,
        body: str,
        amount: int,
        user: str,
        session: str | None,
        ttl: int,
    ) -> None:
        new_id = f"h{len(self.model.holds)}"
        hold_id = new_id if again is None else self.hold_id(again)
        request = self.request(hold_id, body, amount, user, session, ttl)

        (verdict,) = self.ledger.reserve([request])

        keys = self.model.keys(self.at, user, session)
        assert said(verdict) == self.model.reserve(hold_id, body, amount, keys, self.at, ttl)

    @rule(which=recent, share=shares, extra=amounts)
    def settle(self, which: int, share: int | None, extra: int) -> None:
        hold_id = self.hold_id(which)
        hold = self.model.holds.get(hold_id)
        cost = None
        if share is not None and hold is not None:
            cost = hold.amount * share // 100 + min(extra, self.overrun_max)

        (settled,) = self.ledger.settle([Settlement(hold_id, Charge(cost_nano=cost), self.at)])

        assert settled == self.model.end(hold_id, "settled", cost)

    @rule(which=recent)
    def void(self, which: int) -> None:
        hold_id = self.hold_id(which)

        assert self.ledger.void([hold_id], self.at) == [self.model.end(hold_id, "voided")]

    @rule(which=recent)
    def expire(self, which: int) -> None:
        hold_id = self.hold_id(which)

        assert self.ledger.expire([hold_id], self.at) == [self.model.end(hold_id, "expired")]

    @rule()
    def sweep(self) -> None:
        due = self.model.due(self.at)

        assert self.ledger.sweep(self.at) == len(due)
        for hold_id in due:
            self.model.end(hold_id, "expired")

    @rule(seconds=st.sampled_from([1, 59, 600, 1800, 3700, 86_400, -600, -3600]))
    def step_the_clock(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)
        if seconds == 86_400:
            self.ledger.close()  # a restart

    @rule(name=st.sampled_from(sorted(BUDGETS)), percent=st.sampled_from([0, 50, 100, 150]))
    def change_a_limit(self, name: str, percent: int) -> None:
        limit = max(BUDGETS[name].limit_nano * percent // 100, 1)
        self.ledger.policies.put_budgets([replace(BUDGETS[name], limit_nano=limit)])
        self.model.limits[name] = limit

    @rule(limit=st.integers(1, 4))
    def deliver(self, limit: int) -> None:
        self.deliver_batch(limit)

    def deliver_batch(self, limit: int) -> bool:
        batch = self.ledger.outbox.claim_batch(limit)
        if batch is None:
            return False
        assert self.ledger.outbox.claim_batch(limit) == batch
        for event in batch.events:
            assert event.event_id not in self.delivered
            self.delivered[event.event_id] = (event.hold_id, event.cost_nano)
        self.ledger.outbox.confirm_batch(batch.number)
        return True

    @invariant()
    def balances_are_the_model_s(self) -> None:
        kept = {
            (row.budget_id, row.scope_value, row.period): (row.spent_nano, row.held_nano)
            for row in self.ledger.balances()
        }
        assert kept == self.model.sums()

    @invariant()
    def the_journal_adds_up(self) -> None:
        report = self.ledger.audit()
        assert report.problems == ()
        assert report.spent_nano == sum(hold.charged for hold in self.model.holds.values())

    @invariant()
    def what_may_have_been_billed_is_within_every_limit(self) -> None:
        if self.overrun_max:
            return  # a bill above its bound is booked as it is; the promise is for true bounds
        exposures: dict[Key, int] = {}
        for hold in self.model.holds.values():
            for key in hold.keys:
                exposures[key] = exposures.get(key, 0) + hold.exposure
        for key, exposure in exposures.items():
            assert exposure <= self.model.admitted_under[key]

    def hold_id(self, which: int) -> str:
        known = list(reversed(self.model.holds))
        return known[which] if which < len(known) else "nobody"

    def request(
        self, hold_id: str, body: str, amount: int, user: str, session: str | None, ttl: int
    ) -> ReserveRequest:
        scopes = {"org": "acme", "user": user} | ({} if session is None else {"session": session})
        policy = self.ledger.policies.policy()
        return ReserveRequest(
            hold_id=hold_id,
            fingerprint=body,
            claims=policy.claims(Identity(values=scopes), self.at),
            candidates={"m": Candidate("m", 0, 1000, amount, 0, "v")},
            model="m",
            facts=CallFacts(1, self.at, scopes, "m", "m", "u", "global", "v", "allow", ()),
            policy_version=policy.version,
            expires_at=self.at + timedelta(seconds=ttl),
        )

    def delivered_by_hold(self) -> dict[str, int]:
        sums = dict.fromkeys(self.model.holds, 0)
        for hold_id, delta in self.delivered.values():
            sums[hold_id] += delta
        return sums


class OverrunMachine(LedgerMachine):
    """The same where bills may exceed their bounds."""

    overrun_max = 40


class ExpiryFrees(SqliteLedger):
    """What card networks do: a hold that ran out of time is released."""

    def expire(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        return [replace(one, state=HoldState.EXPIRED) for one in self.void(hold_ids, at)]


class LateSettleIgnored(SqliteLedger):
    """A settlement that comes after the expiry is dropped."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        query = "SELECT 1 FROM hold WHERE hold_id = ? AND state = 'expired'"
        late = {one.hold_id for one in settlements if self._store.read(query, (one.hold_id,))}
        return super().settle(
            [replace(one, charge=Charge()) if one.hold_id in late else one for one in settlements]
        )


class SettleTwice(SqliteLedger):
    """A repeated settlement is charged again."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        with self._store.write() as connection:
            for one in settlements:
                connection.execute(
                    "UPDATE balance SET spent = spent + ? WHERE bal_id IN (SELECT value FROM hold,"
                    " json_each(hold.bals) WHERE hold_id = ? AND state = 'settled')",
                    (one.charge.cost_nano or 0, one.hold_id),
                )
        return super().settle(settlements)


class RefusalHolds(SqliteLedger):
    """A refused call leaves a part of its reservation behind."""

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[Verdict]:
        verdicts = super().reserve(requests)
        if any(isinstance(verdict, Refused) for verdict in verdicts):
            with self._store.write() as connection:
                connection.execute("UPDATE balance SET held = held + 1")
        return verdicts


LIVES = settings(max_examples=50, stateful_step_count=40)
TestLedger = LedgerMachine.TestCase
TestLedger.settings = LIVES
TestLedgerWithOverruns = OverrunMachine.TestCase
TestLedgerWithOverruns.settings = settings(LIVES, max_examples=25)


@pytest.mark.parametrize("mutant", [ExpiryFrees, LateSettleIgnored, SettleTwice, RefusalHolds])
def test_a_broken_ledger_is_caught(mutant: type[SqliteLedger]) -> None:
    class Broken(LedgerMachine):
        make_ledger = mutant

    lives = settings(
        LIVES, max_examples=60, derandomize=True, database=None, phases=[Phase.generate]
    )

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=lives)
