"""Random lives of a ledger: everything it can be asked, with deaths in between.

The same is done to a ledger and to the model, and all that they say and keep is compared. After
every step the invariants I1 to I6 of the research (reference/ledger.md §5) are checked.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.ledgers.crashing import (
    AFTER_APPEND,
    AFTER_COMMIT,
    BEFORE_APPEND,
    BEFORE_COMMIT,
    Passing,
    ProcessDied,
    Trap,
)
from tests.ledgers.sinks import CrashingSink, VersionedSink
from tests.properties.ledger_model import (
    BUDGETS,
    CARRY_MAX,
    EVENING,
    Model,
    day_before,
)

from spendgate.domain.decision import Candidate, Granted, Refused
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    ReserveRequest,
    Settlement,
    StalePolicy,
    Verdict,
)
from spendgate.domain.scope import Identity, Scope
from spendgate.gateway.drain import flush_outbox
from spendgate.gateway.ports import SpendSink

# Which of the latest holds a step is about, the latest first; one beyond them is unknown.
recent = st.integers(0, 3)
shares = st.sampled_from([None, 0, 1, 50, 99, 100])
users = st.sampled_from(["ann", "bob"])
sessions = st.sampled_from([None, "s1", "s2", "s3"])
amounts = st.integers(0, 60)
NOBODY = "nobody"
"""The name of a hold that there is none of."""
commit_deaths = st.sampled_from([None, None, None, BEFORE_COMMIT, AFTER_COMMIT])
flush_deaths = st.sampled_from([None, BEFORE_COMMIT, AFTER_COMMIT, BEFORE_APPEND, AFTER_APPEND])


class LedgerLife(Protocol):
    """One ledger from its birth to the end of the test, over many processes.

    A store joins the machine with a class of this shape: `passing` is to be called at each commit,
    as `tests.ledgers.crashing` does, and `open` is a new process on what was committed.
    """

    def __init__(self, folder: Path, passing: Passing) -> None: ...

    def open(self) -> Any:  # the Ledger port plus `outbox`, `audit` and the administration
        """Return the ledger as a new process sees it."""
        ...

    def close(self) -> None:
        """End it for good."""
        ...


class LedgerMachine(RuleBasedStateMachine):
    """One life; subclasses say of which store, and into which sink it flushes."""

    life: type[LedgerLife] | Callable[..., LedgerLife]
    sink_in: Callable[[Path], SpendSink] = staticmethod(lambda _: VersionedSink())
    overrun_max = 0

    @initialize()
    def be_born(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.trap = Trap()
        self.alive = type(self).life(self.folder, self.trap)
        self.ledger = self.alive.open()
        self.sink = type(self).sink_in(self.folder)
        self.model = Model()
        self.changed: set[str] = set()
        self.at = EVENING
        self.old_policy = self.ledger.policies.policy()
        self.ledger.policies.put_budgets(list(BUDGETS.values()))

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        try:
            flush_outbox(self.ledger.outbox, self.sink, self.ledger.ledger_id, limit=5)
            self.check_that_the_sink_has_all()
        finally:
            self.alive.close()
            shutil.rmtree(self.folder)

    @rule(
        again=st.sampled_from([None, None, None, 0, 1]),
        body=st.sampled_from(["a", "a", "a", "b"]),
        amount=amounts,
        user=users,
        session=sessions,
        ttl=st.sampled_from([1, 60, 3600]),
        death=commit_deaths,
    )
    def reserve(
        self,
        again: int | None,
        body: str,
        amount: int,
        user: str,
        session: str | None,
        ttl: int,
        death: str | None,
    ) -> None:
        hold_id = NOBODY if again is None else self.hold_id(again)
        if hold_id == NOBODY:  # a name of its own: one that was collected isn't known any more
            hold_id = f"h{len(self.model.everything)}"
        request = self.request(hold_id, body, amount, user, session, ttl)

        verdicts = self.dying(death, lambda: self.ledger.reserve([request]))

        if self.trap.sprung != BEFORE_COMMIT:
            payer = (user, session)
            expected = self.model.reserve(hold_id, body, amount, payer, self.at, ttl)
            assert verdicts is None or said(verdicts[0]) == expected

    @precondition(lambda self: self.old_policy.version != self.ledger.policy_version())
    @rule(amount=amounts, user=users)
    def reserve_under_an_old_policy(self, amount: int, user: str) -> None:
        policy = self.old_policy
        request = self.request(
            f"h{len(self.model.everything)}", "a", amount, user, None, 60, policy
        )

        (verdict,) = self.ledger.reserve([request])

        assert verdict == StalePolicy(self.ledger.policy_version())

    @rule(which=recent, share=shares, extra=amounts, death=commit_deaths)
    def settle(self, which: int, share: int | None, extra: int, death: str | None) -> None:
        hold_id = self.hold_id(which)
        hold = self.model.holds.get(hold_id)
        cost = None
        if share is not None and hold is not None:
            cost = hold.amount * share // 100 + min(extra, self.overrun_max)
        settlement = Settlement(hold_id, Charge(cost_nano=cost), self.at)

        settled = self.dying(death, lambda: self.ledger.settle([settlement]))

        self.check_end(settled, hold_id, "settled", cost)

    @rule(which=recent, death=commit_deaths)
    def void(self, which: int, death: str | None) -> None:
        hold_id = self.hold_id(which)

        settled = self.dying(death, lambda: self.ledger.void([hold_id], self.at))

        self.check_end(settled, hold_id, "voided")

    @rule(which=recent, death=commit_deaths)
    def expire(self, which: int, death: str | None) -> None:
        hold_id = self.hold_id(which)

        settled = self.dying(death, lambda: self.ledger.expire([hold_id], self.at))

        self.check_end(settled, hold_id, "expired")

    @rule(death=commit_deaths)
    def sweep(self, death: str | None) -> None:
        swept = self.dying(death, lambda: self.ledger.sweep(self.at))

        if self.trap.sprung != BEFORE_COMMIT:
            due = self.model.sweep(self.at)
            assert swept in {None, due}

    @rule(seconds=st.sampled_from([1, 59, 61, 600, 600, 1800, 3700, 86_400, -600, -3600]))
    def step_the_clock(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)
        if seconds == 86_400:
            self.ledger = self.alive.open()  # a restart

    @rule(
        name=st.sampled_from(sorted(BUDGETS)),
        percent=st.sampled_from([0, 50, 100, 150]),
        death=commit_deaths,
    )
    def change_a_limit(self, name: str, percent: int, death: str | None) -> None:
        limit = max(BUDGETS[name].limit_nano * percent // 100, 1)
        changed = replace(BUDGETS[name], limit_nano=limit)
        self.old_policy = self.ledger.policies.policy()

        self.dying(death, lambda: self.ledger.policies.put_budgets([changed]))

        if self.trap.sprung != BEFORE_COMMIT:
            self.model.limits[name] = limit
            self.changed.add(name)

    @rule(limit=st.integers(1, 4), death=flush_deaths, passes=st.integers(0, 2))
    def flush(self, limit: int, death: str | None, passes: int) -> None:
        sink = CrashingSink(self.sink, self.trap)

        self.dying(
            death,
            lambda: flush_outbox(self.ledger.outbox, sink, self.ledger.ledger_id, limit),
            passes,
        )

        if self.trap.sprung is None:
            self.check_that_the_sink_has_all()

    @invariant()
    def balances_are_the_model_s(self) -> None:  # I2, I3
        kept = {
            (row.budget_id, row.scope_value, row.period): (row.spent_nano, row.held_nano)
            for row in self.ledger.balances()
        }
        assert kept == self.model.sums()

    @invariant()
    def the_journal_adds_up(self) -> None:  # I4
        report = self.ledger.audit()
        assert report.problems == ()
        assert report.spent_nano == sum(self.model.charged.values())

    @invariant()
    def nothing_is_beyond_the_limits_in_force_at_admission(self) -> None:  # I1, I6
        if self.overrun_max:
            return  # a bill above its bound is booked as it is; the promise is for true bounds
        for key, (spent, held) in self.model.sums().items():
            assert spent + held <= self.model.allowed(key)
        for key, exposure in self.model.exposures().items():
            assert exposure <= self.model.allowed(key)

    @invariant()
    def what_a_day_has_above_its_limit_the_day_before_left(self) -> None:
        if self.overrun_max or "each-session" in self.changed:
            return
        limit = BUDGETS["each-session"].limit_nano
        used = {key: sum(both) for key, both in self.model.sums().items()}
        for (name, value, period), nano in used.items():
            if name != "each-session" or nano <= limit:
                continue
            before = (name, value, day_before(period))
            if before in self.model.dropped:
                continue
            if not {before, (name, value, period)} & self.model.added.keys():
                assert nano - limit <= min(CARRY_MAX, limit - used.get(before, limit))

    @invariant()
    def no_event_is_in_the_sink_twice(self) -> None:  # I5
        if isinstance(self.sink, VersionedSink):
            ids = [event.event_id for event in self.sink.events]
            assert len(ids) == len(set(ids))

    def check_that_the_sink_has_all(self) -> None:  # I5
        if isinstance(self.sink, VersionedSink):
            rows = [(one.event_id, one.hold_id, one.cost_nano) for one in self.sink.events]
        else:
            rows = self.rows_of_the_tables()
        assert len({event_id for event_id, _, _ in rows}) == len(rows)
        delivered = dict.fromkeys(self.model.everything, 0)
        for _, hold_id, cost in rows:
            delivered[hold_id] = delivered.get(hold_id, 0) + cost
        assert delivered == self.model.charged

    def rows_of_the_tables(self) -> list[tuple[str, str, int]]:
        raise NotImplementedError

    def check_end(self, settled: Any, hold_id: str, state: str, cost: int | None = None) -> None:
        if self.trap.sprung != BEFORE_COMMIT:
            expected = self.model.end(hold_id, state, cost)
            assert settled is None or settled == [expected]

    def dying(self, death: str | None, act: Callable[[], Any], passes: int = 0) -> Any:
        """Do something in a process that dies at a point, if it gets there; None if it did."""
        self.trap.set(death, passes)
        try:
            done = act()
        except ProcessDied:
            self.ledger = self.alive.open()
            return None
        sprung = self.trap.sprung
        self.trap.set(None)
        assert sprung is None
        return done

    def hold_id(self, which: int) -> str:
        known = list(reversed(self.model.holds))
        return known[which] if which < len(known) else NOBODY

    def request(
        self,
        hold_id: str,
        body: str,
        amount: int,
        user: str,
        session: str | None,
        ttl: int,
        policy: Any = None,
    ) -> ReserveRequest:
        scopes = dict(payer_of(user, session).parts)
        policy = policy or self.ledger.policies.policy()
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


def payer_of(user: str, session: str | None) -> Scope:
    named = {"org": "acme", "user": user} | ({} if session is None else {"session": session})
    return Scope.of(named)


def said(verdict: Verdict) -> str:
    """Return a verdict in the model's words."""
    if isinstance(verdict, AlreadyReserved):
        return verdict.state.value
    words = {Granted: "granted", Refused: "refused", FingerprintConflict: "conflict"}
    return words[type(verdict)]
