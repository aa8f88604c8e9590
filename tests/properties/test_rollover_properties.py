"""Rollover moves money between neighbouring windows and never makes any, in any order of calls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from spendgate.domain.budget import PPM, BalanceKey, Budget, Claim, Policy, parse_window
from spendgate.domain.decision import (
    Balance,
    Candidate,
    Granted,
    decide,
    decide_at,
    positions_of,
    weigh,
)
from spendgate.domain.rollover import CALENDAR, neighbour_keys
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import WindowSpec, window_at

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
ANN = Identity({"user": "ann"})
DAYS = 3

# Amounts around the limit of 100, so that some calls need what was carried.
amounts = st.sampled_from([1, 100, 130]) | st.integers(0, 150)
calls = st.lists(
    st.tuples(st.integers(0, DAYS - 1), amounts, st.sampled_from([0, 100, 100])),
    min_size=3,
    max_size=12,
)
instants = st.integers(0, 10 * 366 * 86_400).map(lambda after: NOON + timedelta(seconds=after))
zones = st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])


def budget(cap: int, hard_ppm: int = PPM) -> Budget:
    return Budget(
        "each",
        Scope.parse("user:*"),
        100,
        parse_window("day"),
        soft_cap_ppm=hard_ppm,
        hard_cap_ppm=hard_ppm,
        rollover_max_nano=cap,
        fit=False,
    )


def claim_on(day: int, made: Budget) -> Claim:
    (found,) = Policy((made,)).claims(ANN, NOON + timedelta(days=day))
    return found


def neighbours_of(claim: Claim) -> tuple[BalanceKey, BalanceKey]:
    assert claim.neighbours is not None
    return claim.neighbours


def used_by_day(made: Budget, asked: list[tuple[int, int, int]]) -> list[int]:
    """Admit calls on the days that they name, in that order; each ends below what was held."""
    balances: dict[object, Balance] = {}
    for day, amount, percent in asked:
        claim = claim_on(day, made)
        candidate = Candidate("m", 0, 1000, amount, 0, "v")
        verdict = decide([claim], {"m": candidate}, "m", balances)  # type: ignore[arg-type]  # keys
        if isinstance(verdict, Granted):
            now = balances.get(claim.keys[0], Balance())
            cost = amount * percent // 100
            balances[claim.keys[0]] = Balance(now.spent_nano + cost, 0)
    keys = [claim_on(day, made).keys[0] for day in range(DAYS)]
    return [balances.get(key, Balance()).used_nano for key in keys]


@settings(max_examples=300)
@given(calls, st.integers(1, 150), st.sampled_from([PPM, 900_000, 333_333]))
def test_no_stretch_of_windows_spends_more_than_its_limits(
    asked: list[tuple[int, int, int]], cap: int, hard_ppm: int
) -> None:
    made = budget(cap, hard_ppm)

    used = used_by_day(made, asked)

    for first in range(DAYS):
        for last in range(first, DAYS):
            carried = min(cap, made.own_nano) if first else 0
            assert sum(used[first : last + 1]) <= (last - first + 1) * made.own_nano + carried


@settings(max_examples=300)
@given(calls, st.integers(1, 150))
def test_what_is_above_one_limit_was_left_by_the_window_before(
    asked: list[tuple[int, int, int]], cap: int
) -> None:
    made = budget(cap)

    used = used_by_day(made, asked)

    assert used[0] <= made.own_nano
    for before, now in pairwise(used):
        assert max(0, now - made.own_nano) <= min(cap, max(0, made.own_nano - before))


@given(st.integers(0, 150), st.integers(0, 150), st.integers(0, 150), st.integers(1, 150))
def test_more_spent_before_never_leaves_more_now(
    before: int, more: int, now: int, cap: int
) -> None:
    claim = claim_on(1, budget(cap))
    key_before = neighbours_of(claim)[0]

    def left(used: int) -> int:
        balances = {key_before: Balance(used, 0), claim.keys[0]: Balance(now, 0)}
        return positions_of([claim], balances)[0].available_nano

    assert left(before + more) <= left(before) <= left(before + more) + more


@given(st.integers(0, 150), st.integers(0, 150), st.integers(0, 250), st.integers(0, 60))
@example(100, 10, 250, 20)  # the next has taken 50: below the soft cap of 100, above that of 50
@example(0, 60, 0, 5)  # 50 were carried here: above the soft cap of 100, below that of 150
def test_a_call_far_from_the_limits_of_its_window_is_decided_as_one_near_them(
    before: int, now: int, after: int, expected: int
) -> None:
    made = replace(budget(50), soft_cap_ppm=500_000, disable_tools=("search",))
    claim = claim_on(1, made)
    keys = (*neighbours_of(claim), claim.keys[0])
    balances = {key: Balance(used, 0) for key, used in zip(keys, (before, after, now), strict=True)}
    candidates = {"m": Candidate("m", 0, 1000, 10, expected, "v")}

    positions = positions_of([claim], balances)

    assert decide_at(positions, candidates, "m") == weigh(positions, candidates, "m")


@given(st.integers(0, 150), st.integers(0, 150), st.integers(1, 150))
def test_a_hold_counts_as_spent_until_it_ends(spent: int, held: int, cap: int) -> None:
    claim = claim_on(1, budget(cap))
    key = neighbours_of(claim)[0]

    while_held = positions_of([claim], {key: Balance(spent, held)})
    when_charged = positions_of([claim], {key: Balance(spent + held, 0)})

    assert while_held == when_charged


@given(instants, zones, st.sampled_from(sorted(CALENDAR)))
def test_neighbours_are_each_other_s(at: datetime, tz: str, kind: str) -> None:
    spec: WindowSpec = parse_window(str(kind))
    window = window_at(spec, tz, at)
    assert window.start is not None
    assert window.end is not None

    one_before = window_at(spec, tz, window.start - timedelta(microseconds=1))
    one_after = window_at(spec, tz, window.end)

    keys = [neighbour_keys(spec, tz, one) for one in (one_before, window, one_after)]
    assert keys[1] == (one_before.key, one_after.key)
    assert [both is not None and both[1] for both in keys[:1]] == [window.key]
    assert [both is not None and both[0] for both in keys[2:]] == [window.key]
    assert len({one_before.key, window.key, one_after.key}) == 3
