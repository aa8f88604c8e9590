"""A lost ledger rebuilt from what its sink has, and what to assume of the rest.

Every event that counts in a window which is still open is brought back: recent holds one by one, so
that late evidence, adjustments and repeated idempotency keys find them, and older ones as a sum per
balance. What was spent or held but never reached the sink is unknown, and so is who spent it. An
operator states the most that it can be, and every limit is cut by that much until the windows in
which it can have been spent are over.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from spendgate.domain.adjustment import Adjustment, PastEvent, Replay
from spendgate.domain.budget import CUT, PPM, BalanceKey, Budget, Policy, Raise
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind, HoldState
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import ROLLING_BUCKETS, Window, window_at

KEPT = timedelta(days=7)
"""How old a hold may be to come back by itself: evidence and repeats are not that late."""
RESTORED = "restored"
"""The fingerprint of what comes back: the request itself is in no table."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the sink's events make of a ledger."""

    replays: tuple[Adjustment, ...]
    events: int
    holds: int
    spent_nano: int
    """Spend of the holds that came back and of the sums; windows that are over are left out."""
    last_recorded_at: datetime | None
    exposure_nano: int
    """The most that calls had reserved within the stretch that was asked for: a hint, no bound."""
    unknown: Mapping[str, datetime]
    """Budgets that the policy lacks, and when something was charged to them last."""


@dataclass(slots=True)
class _Windows:
    """Which windows of a budget are still needed, and the balance of an event in one."""

    budget: Budget
    open_periods: frozenset[str]
    now: datetime

    @classmethod
    def of(cls, budget: Budget, now: datetime) -> "_Windows":
        current = window_at(budget.window, budget.tz, now)
        periods = {current.key, *current.also_keys}
        if budget.rollover_max_nano and current.start is not None:
            before = current.start - timedelta(microseconds=1)
            periods.add(window_at(budget.window, budget.tz, before).key)
        return cls(budget, frozenset(periods), now)

    def key(self, facts: CallFacts) -> BalanceKey | None:
        """Return the balance of an event; None if its window is over, or its scope was another."""
        bound = self.budget.scope.match(Identity(facts.scopes, facts.tags))
        if bound is None:
            return None
        period = window_at(self.budget.window, self.budget.tz, facts.occurred_at).key
        # A host whose clock ran ahead may have charged a window that hasn't begun here.
        is_needed = period in self.open_periods or facts.occurred_at > self.now
        return BalanceKey(self.budget.budget_id, bound.value_text, period) if is_needed else None


@dataclass(slots=True)
class _Sum:
    """What older holds have spent of one balance."""

    scope: Scope
    spent_nano: int = 0
    last: SpendEvent | None = None


@dataclass(slots=True)
class _Pile:
    """The events, sorted into holds and sums as they come."""

    windows: dict[str, _Windows]
    since: datetime
    holds: dict[str, list[PastEvent]] = field(default_factory=dict[str, list[PastEvent]])
    sums: dict[BalanceKey, _Sum] = field(default_factory=dict[BalanceKey, _Sum])
    unknown: dict[str, datetime] = field(default_factory=dict[str, datetime])
    events: int = 0
    last_recorded_at: datetime | None = None

    def add(self, event: SpendEvent) -> None:
        self.events += 1
        last = self.last_recorded_at
        self.last_recorded_at = max(event.recorded_at, last or event.recorded_at)
        keys: list[BalanceKey] = []
        for budget_id in event.facts.budget_ids:
            windows = self.windows.get(budget_id)
            if windows is None:
                at = event.facts.occurred_at
                self.unknown[budget_id] = max(at, self.unknown.get(budget_id, at))
            elif (key := windows.key(event.facts)) is not None:
                keys.append(key)
        if event.facts.occurred_at >= self.since:
            self.holds.setdefault(event.hold_id, []).append(PastEvent(event, tuple(keys)))
            return
        for key in keys:
            one = self.sums.setdefault(key, _Sum(self.windows[key.budget_id].budget.scope))
            one.spent_nano += event.cost_nano
            one.last = event


def rebuild(
    policy: Policy,
    events: Iterable[SpendEvent],
    now: datetime,
    *,
    stretch: timedelta,
    forget: Iterable[str] = (),
) -> Rebuilt:
    """Rebuild holds and balances from the sink's events, in any order.

    Args:
        policy: the budgets that the restored ledger will enforce.
        events: every event of the sink that may count in an open window.
        now: the time of the restore.
        stretch: how long before a loss a call may have begun that the sink never heard of.
        forget: budgets that the policy lacks on purpose.
    """
    budgets = {one.budget_id: _Windows.of(one, now) for one in policy.budgets}
    pile = _Pile(budgets, now - KEPT)
    for event in events:
        pile.add(event)
    replays = [_replayed_hold(name, past, now) for name, past in sorted(pile.holds.items())]
    for number, (key, one) in enumerate(sorted(pile.sums.items()), start=1):
        replays.append(_replayed_sum(f"restored-{now:%Y%m%dT%H%M%S}-{number}", key, one, now))
    forgotten = set(forget)
    return Rebuilt(
        replays=tuple(replays),
        events=pile.events,
        holds=len(pile.holds),
        spent_nano=sum(_spent(one) for one in replays),
        last_recorded_at=pile.last_recorded_at,
        exposure_nano=_exposure(pile.holds.values(), stretch),
        unknown={one: at for one, at in pile.unknown.items() if one not in forgotten},
    )


def cuts(policy: Policy, unflushed_nano: int, now: datetime) -> list[Raise]:
    """Return what lowers every limit by the most that may have been spent without a trace.

    A limit and not a balance is changed, because a wildcard's values that the sink has never seen
    may have been spent from as well.
    """
    return [_cut(policy, one, unflushed_nano, now) for one in policy.budgets if unflushed_nano]


def _cut(policy: Policy, budget: Budget, unflushed_nano: int, now: datetime) -> Raise:
    # The hard cap is a part of the limit: the limit must fall by more for it to fall by as much.
    needed = -(-unflushed_nano * PPM // budget.hard_cap_ppm)
    # Nobody could spend more than all: raises and what is carried included.
    most = policy.limit(budget, now) + budget.rollover_max_nano
    window = window_at(budget.window, budget.tz, now)
    return Raise(
        raise_id=f"restore-{budget.budget_id}",
        budget_id=budget.budget_id,
        amount_nano=-min(needed, most),
        reason="restored: may have been spent before the ledger was lost",
        expires_at=_end_of_doubt(budget, window, now),
        source=CUT,
    )


def _end_of_doubt(budget: Budget, window: Window, now: datetime) -> datetime | None:
    """Return when nothing that was spent until now counts any more; None for a lifetime."""
    seconds = budget.window.rolling_seconds
    if seconds is not None:
        return now + timedelta(seconds=seconds) * (ROLLING_BUCKETS + 2) / ROLLING_BUCKETS
    if window.end is None or not budget.rollover_max_nano:
        return window.end
    # The next window would spend what this one seems to leave.
    return window_at(budget.window, budget.tz, window.end).end


def _replayed_hold(hold_id: str, past: Sequence[PastEvent], now: datetime) -> Adjustment:
    ordered = tuple(sorted(past, key=lambda one: _sequence(one.event)))
    return _adjustment(Replay(hold_id, _state(ordered), ordered), now)


def _replayed_sum(name: str, key: BalanceKey, one: _Sum, now: datetime) -> Adjustment:
    assert one.last is not None  # noqa: S101 - a sum has an event; this tells the types
    facts = replace(one.last.facts, budget_ids=(key.budget_id,))
    event = SpendEvent(
        event_id=f"{name}:1",
        hold_id=name,
        kind=EventKind.EXTERNAL,
        recorded_at=now,
        facts=facts,
        charge=Charge(usage_source="external"),
        reserved_nano=0,
        cost_nano=one.spent_nano,
    )
    return _adjustment(Replay(name, HoldState.SETTLED, (PastEvent(event, (key,)),)), now)


def _adjustment(replay: Replay, now: datetime) -> Adjustment:
    name = f"restore:{replay.hold_id}"
    return Adjustment(name, RESTORED, replay, "spendgate audit --restore", "restored", now)


def _sequence(event: SpendEvent) -> int:
    return int(event.event_id.rpartition(":")[2])


def _state(past: Sequence[PastEvent]) -> HoldState:
    """Follow a hold through its events to where it ended."""
    state = HoldState.SETTLED
    for one in past:
        event = one.event
        if event.kind is EventKind.EXPIRED:
            state = HoldState.EXPIRED
        elif event.kind is EventKind.VOIDED:
            state = HoldState.VOIDED
        # Evidence settles what had expired; an adjustment does so only to what was void.
        elif event.charge.note is None or state is HoldState.VOIDED:
            state = HoldState.SETTLED
    return state


def _spent(replayed: Adjustment) -> int:
    assert isinstance(replayed.change, Replay)  # noqa: S101 - made above; this tells the types
    return sum(past.event.cost_nano for past in replayed.change.events if past.keys)


def _exposure(holds: Iterable[Sequence[PastEvent]], stretch: timedelta) -> int:
    """Return the most that calls which began within one stretch had reserved together."""
    begun = sorted((past[0].event.facts.occurred_at, past[0].event.reserved_nano) for past in holds)
    most = current = first = 0
    for at, reserved in begun:
        current += reserved
        while begun[first][0] <= at - stretch:
            current -= begun[first][1]
            first += 1
        most = max(most, current)
    return most
