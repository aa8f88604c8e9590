"""What a lost ledger's events make of a new one, and how far every limit is cut."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.adjustment import Replay
from spendgate.domain.budget import CUT, BalanceKey, Budget, Policy, Raise
from spendgate.domain.event import AdjustmentNote, CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind, HoldState
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window
from spendgate.gateway.restoring import KEPT, Rebuilt, cuts, rebuild

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIFE = Budget("life", Scope.parse("org:acme"), 1000, parse_window("lifetime"))
DAY = Budget("day", Scope.parse("user:*"), 100, parse_window("day"))
HOUR = Budget("hour", Scope(), 100, parse_window("rolling:1h"))
POLICY = Policy((LIFE, DAY, HOUR))
NOTE = AdjustmentNote("a1", "olga", "why")


def event(
    hold_id: str = "h#1",
    number: int = 1,
    cost: int = 5,
    *,
    at: datetime = NOW - MINUTE,
    kind: EventKind = EventKind.SETTLED,
    user: str = "ann",
    budgets: tuple[str, ...] = ("life", "day", "hour"),
    note: AdjustmentNote | None = None,
    reserved: int = 9,
) -> SpendEvent:
    scopes = {"org": "acme", "user": user}
    facts = CallFacts(1, at, scopes, "m", "m", "main", "global", "v1", "allow", budgets)
    charge = Charge(note=note)
    return SpendEvent(f"{hold_id}:{number}", hold_id, kind, at, facts, charge, reserved, cost)


def rebuilt(*events: SpendEvent, policy: Policy = POLICY, forget: tuple[str, ...] = ()) -> Rebuilt:
    return rebuild(policy, events, NOW, stretch=5 * MINUTE, forget=forget)


def spent(made: Rebuilt) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for one in made.replays:
        assert isinstance(one.change, Replay)
        for past in one.change.events:
            for key in past.keys:
                name = (key.budget_id, key.scope_value)
                sums[name] = sums.get(name, 0) + past.event.cost_nano
    return sums


def test_a_recent_hold_comes_back_with_its_events_in_order() -> None:
    made = rebuilt(
        event(number=2, cost=-3, kind=EventKind.CORRECTED), event(cost=9, kind=EventKind.EXPIRED)
    )

    (one,) = made.replays
    assert isinstance(one.change, Replay)
    assert (one.hold_id, one.change.state) == ("h#1", HoldState.SETTLED)
    assert [past.event.event_id for past in one.change.events] == ["h#1:1", "h#1:2"]
    assert one.change.events[0].keys == (
        BalanceKey("life", "acme", "*"),
        BalanceKey("day", "ann", "2026-03-14"),
        BalanceKey("hour", "*", f"rolling:1h#{int((NOW - MINUTE).timestamp()) // 60}"),
    )
    assert (made.events, made.holds, made.spent_nano) == (2, 1, 6)
    assert made.last_recorded_at == NOW - MINUTE


def test_what_is_over_isn_t_brought_back() -> None:
    made = rebuilt(event(at=NOW - timedelta(days=1)), event("h#2", at=NOW - timedelta(hours=2)))

    assert spent(made) == {("life", "acme"): 10, ("day", "ann"): 5}


def test_a_window_that_is_ahead_of_this_clock_is_kept() -> None:
    made = rebuilt(event(at=NOW + timedelta(days=1)))

    assert spent(made)["day", "ann"] == 5


def test_older_holds_come_back_as_one_sum_per_balance() -> None:
    month = Budget("month", Scope.parse("user:*"), 100, parse_window("month"))
    old = NOW - KEPT - MINUTE
    events = [event(f"h#{i}", at=old, user=user, budgets=("life", "month"))
              for i, user in enumerate(("ann", "ann", "bob"))]  # fmt: skip

    made = rebuilt(*events, policy=Policy((LIFE, month)))

    assert (made.holds, len(made.replays)) == (0, 3)
    assert spent(made) == {("life", "acme"): 15, ("month", "ann"): 10, ("month", "bob"): 5}
    assert {one.hold_id for one in made.replays} == {
        f"restored-20260314T120000-{n}" for n in (1, 2, 3)
    }


def test_the_window_before_comes_back_where_it_is_carried_over() -> None:
    yesterday = event(at=NOW - timedelta(days=1))
    carried = replace(DAY, rollover_max_nano=50)

    made = rebuilt(yesterday, policy=Policy((LIFE, carried, HOUR)))

    assert spent(made)["day", "ann"] == 5


def test_each_entry_of_a_transfer_comes_back_where_it_was() -> None:
    corrected = EventKind.CORRECTED
    made = rebuilt(
        event(),
        event(number=2, cost=-5, kind=corrected, note=NOTE),
        event(number=3, cost=5, kind=corrected, user="bob", note=NOTE),
    )

    assert spent(made) == {
        ("life", "acme"): 5, ("day", "ann"): 0, ("day", "bob"): 5, ("hour", "*"): 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        ([EventKind.SETTLED], HoldState.SETTLED),
        ([EventKind.VOIDED], HoldState.VOIDED),
        ([EventKind.EXPIRED], HoldState.EXPIRED),
        ([EventKind.EXTERNAL], HoldState.SETTLED),
        ([EventKind.EXPIRED, EventKind.CORRECTED], HoldState.SETTLED),
    ],
)
def test_a_hold_is_where_its_events_left_it(kinds: list[EventKind], state: HoldState) -> None:
    made = rebuilt(*(event(number=i, kind=kind) for i, kind in enumerate(kinds, start=1)))

    change = made.replays[0].change
    assert isinstance(change, Replay)
    assert change.state is state


@pytest.mark.parametrize(
    ("first", "state"),
    [
        (EventKind.EXPIRED, HoldState.EXPIRED),
        (EventKind.VOIDED, HoldState.SETTLED),
        (EventKind.SETTLED, HoldState.SETTLED),
    ],
)
def test_an_adjustment_settles_only_what_was_void(first: EventKind, state: HoldState) -> None:
    made = rebuilt(event(kind=first), event(number=2, kind=EventKind.CORRECTED, note=NOTE))

    change = made.replays[0].change
    assert isinstance(change, Replay)
    assert change.state is state


def test_budgets_that_the_policy_lacks_are_named_unless_they_may_be_forgotten() -> None:
    events = (event(budgets=("gone", "life")), event("h#2", budgets=("lost",), at=NOW))

    assert rebuilt(*events).unknown == {"gone": NOW - MINUTE, "lost": NOW}
    assert rebuilt(*events, forget=("gone",)).unknown == {"lost": NOW}
    assert spent(rebuilt(*events)) == {("life", "acme"): 5}


def test_an_event_of_another_scope_s_time_is_left_out() -> None:
    moved = replace(DAY, scope=Scope.parse("agent:*"))

    assert spent(rebuilt(event(budgets=("day",)), policy=Policy((moved,)))) == {}


def test_the_hint_is_the_most_that_was_reserved_within_a_stretch() -> None:
    begun = [(0, 10), (1, 20), (4, 5), (5, 7), (20, 30)]
    events = [
        event(f"h#{i}", at=NOW - timedelta(hours=1) + minutes * MINUTE, reserved=reserved)
        for i, (minutes, reserved) in enumerate(begun)
    ]

    assert rebuilt(*events).exposure_nano == 35
    assert rebuilt().exposure_nano == 0


def cut_of(budget: Budget, unflushed: int, *raises: Raise) -> Raise:
    (cut,) = cuts(Policy((budget,), raises), unflushed, NOW)
    return cut


def test_a_cut_lowers_the_hard_cap_by_what_may_be_missing() -> None:
    budget = replace(DAY, limit_nano=1000, hard_cap_ppm=900_000)

    cut = cut_of(budget, 100)
    limit = Policy((budget,), (cut,)).limit(budget, NOW)

    assert (cut.raise_id, cut.source, cut.amount_nano) == ("restore-day", CUT, -112)
    assert limit * 900_000 // 10**6 <= 900 - 100


def test_a_cut_takes_all_there_is_and_no_more() -> None:
    raised = Raise("r", "day", 50, "why")

    assert cut_of(DAY, 10**9, raised).amount_nano == -150
    assert cut_of(replace(DAY, rollover_max_nano=30), 10**9).amount_nano == -130
    assert cuts(POLICY, 0, NOW) == []


@pytest.mark.parametrize(
    ("budget", "end"),
    [
        (LIFE, None),
        (DAY, datetime(2026, 3, 15, tzinfo=UTC)),
        (replace(DAY, rollover_max_nano=1), datetime(2026, 3, 16, tzinfo=UTC)),
        (HOUR, NOW + timedelta(minutes=62)),
    ],
)
def test_a_cut_ends_when_nothing_spent_before_counts_any_more(
    budget: Budget, end: datetime | None
) -> None:
    assert cut_of(budget, 5).expires_at == end
