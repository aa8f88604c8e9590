"""Whatever is lost at whichever moment: what is restored never spends more than the limits."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledgers.sinks import VersionedSink

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.domain.budget import Budget
from spendgate.domain.decision import Candidate, Granted
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.reservation import ReserveRequest, Settlement
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import parse_window
from spendgate.gateway.drain import flush_outbox
from spendgate.gateway.restoring import cuts, rebuild

START = datetime(2026, 3, 14, 22, tzinfo=UTC)
CARRIED = Budget(
    "carried", Scope.parse("user:*"), 90, parse_window("hour"), fit=False, rollover_max_nano=40
)
BUDGETS = [
    CARRIED,
    Budget("org", Scope.parse("org:acme"), 300, parse_window("lifetime"), fit=False),
    Budget("users", Scope.parse("user:*"), 100, parse_window("day"), fit=False),
    Budget("hour", Scope(), 150, parse_window("rolling:1h"), hard_cap_ppm=900_000, fit=False),
]
users = st.sampled_from(["ann", "bob", "carl"])
amounts = st.integers(1, 40)
waits = st.sampled_from([0, 0, 0, 1, 30, 61, 600])
ends = st.sampled_from(["settle", "settle", "void", "expire", "open"])
shares = st.sampled_from([0, 50, 100, 100, 100])
calls = st.lists(st.tuples(users, amounts, shares, ends, waits), max_size=12)
sprees = st.lists(st.tuples(users, st.integers(0, 130)), min_size=1, max_size=4)


@dataclass
class World:
    """A ledger, its sink, and what every call has really cost."""

    budgets: list[Budget]
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    sink: VersionedSink = field(default_factory=VersionedSink)
    at: datetime = START
    bill: list[tuple[str, datetime, int]] = field(default_factory=list[tuple[str, datetime, int]])
    calls: int = 0

    def call(self, user: str, amount: int, share: int, end: str, wait: int) -> bool:
        """Make one call; what is void was never billed, what isn't settled was billed in full."""
        self.at += timedelta(minutes=wait)
        self.calls += 1
        hold_id = f"h{self.calls}#1"
        policy = self.ledger.policies.policy()
        scopes = {"org": "acme", "user": user}
        claims = policy.claims(Identity(scopes), self.at)
        ids = tuple(claim.budget.budget_id for claim in claims)
        facts = CallFacts(1, self.at, scopes, "m", "m", "u", "global", "v", "allow", ids)
        request = ReserveRequest(
            hold_id, "fp", claims, {"m": Candidate("m", 0, 1000, amount, 0, "v")}, "m", facts,
            policy.version, self.at + timedelta(minutes=5),
        )  # fmt: skip
        (verdict,) = self.ledger.reserve([request])
        if not isinstance(verdict, Granted):
            return False
        cost = amount * share // 100
        if end == "settle":
            self.ledger.settle([Settlement(hold_id, Charge(cost_nano=cost), self.at)])
        elif end == "void":
            self.ledger.void([hold_id], self.at)
        elif end == "expire":
            self.ledger.expire([hold_id], self.at)
        billed = {"settle": cost, "void": 0}.get(end, amount)
        self.bill.append((user, self.at, billed))
        return True

    def spend_all_there_is(self, first: str) -> None:
        for user in (first, "ann", "bob", "carl"):
            for amount in (40, 8, 1):
                while self.call(user, amount, 100, "settle", 0):
                    pass

    def flush(self) -> None:
        flush_outbox(self.ledger.outbox, self.sink, self.ledger.ledger_id, 5)

    def lose_the_disk(self) -> None:
        """Restore from the sink; the operator states exactly what it can't know."""
        seen = sum(event.cost_nano for event in self.sink.events)
        unseen = max(sum(billed for _, _, billed in self.bill) - seen, 0)
        fresh = MemoryLedger()
        fresh.policies.put_budgets(self.budgets)
        policy = fresh.policies.policy()
        rebuilt = rebuild(policy, self.sink.events, self.at, stretch=timedelta(minutes=5))
        for cut in cuts(policy, unseen, self.at):
            fresh.policies.put_raise(cut)
        fresh.adjust(rebuilt.replays)
        self.ledger = fresh

    def assert_within_the_limits(self) -> None:
        """Add up the bill alone: no ledger is asked."""
        by_day: dict[tuple[str, str], int] = {}
        by_hour: dict[tuple[str, str], int] = {}
        for user, at, billed in self.bill:
            day, hour = (user, at.date().isoformat()), (user, f"{at:%Y-%m-%dT%H}")
            by_day[day] = by_day.get(day, 0) + billed
            by_hour[hour] = by_hour.get(hour, 0) + billed
        for (user, hour), spent in by_hour.items():
            before = datetime.fromisoformat(f"{hour}:00:00") - HOUR
            left = 90 - by_hour.get((user, f"{before:%Y-%m-%dT%H}"), 90)
            assert spent <= 90 + min(40, max(left, 0))
        if len(self.budgets) == 1:
            return
        assert sum(billed for _, _, billed in self.bill) <= 300
        assert max(by_day.values(), default=0) <= 100
        for _, at, _ in self.bill:
            within = (one for _, then, one in self.bill if timedelta() <= at - then < HOUR)
            assert sum(within) <= 135


HOUR = timedelta(hours=1)


@pytest.mark.parametrize("budgets", [BUDGETS, [CARRIED]])
@settings(max_examples=200)
@given(seen=calls, unseen=calls, later=sprees)
def test_a_restored_ledger_keeps_every_limit(
    budgets: list[Budget],
    seen: list[tuple[str, int, int, str, int]],
    unseen: list[tuple[str, int, int, str, int]],
    later: list[tuple[str, int]],
) -> None:
    world = World(budgets)
    world.ledger.policies.put_budgets(budgets)
    for call in seen:
        world.call(*call)
    world.flush()
    for call in unseen:
        world.call(*call)

    world.lose_the_disk()
    before = len(world.sink.events)
    world.flush()

    assert len(world.sink.events) == before
    assert world.ledger.audit().problems == ()
    for user, minutes in later:
        world.at += timedelta(minutes=minutes)
        world.spend_all_there_is(user)
    world.flush()
    world.assert_within_the_limits()
    assert world.ledger.audit().problems == ()
    names = [event.event_id for event in world.sink.events]
    assert len(names) == len(set(names))
