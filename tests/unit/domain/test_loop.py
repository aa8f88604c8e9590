"""The loop guard's window."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.loop import LoopGuard

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
seconds = st.integers(0, 1200)


def test_the_guard_stops_the_call_after_its_last() -> None:
    guard = LoopGuard(repeats=2, minutes=10)

    assert guard.allows([], NOON)
    assert guard.allows([NOON], NOON)
    assert not guard.allows([NOON, NOON], NOON)


def test_a_call_that_is_as_old_as_the_window_no_longer_counts() -> None:
    guard = LoopGuard(repeats=1, minutes=10)
    end = NOON + timedelta(minutes=10)

    assert not guard.allows([NOON], end - timedelta(microseconds=1))
    assert guard.allows([NOON], end)


def test_a_call_of_a_clock_that_is_ahead_counts() -> None:
    assert not LoopGuard(1, 10).allows([NOON + timedelta(seconds=1)], NOON)


@given(repeats=st.integers(1, 5), minutes=st.integers(1, 10), gaps=st.lists(seconds, max_size=40))
def test_no_window_ever_holds_more_calls_than_the_guard_says(
    repeats: int, minutes: int, gaps: list[int]
) -> None:
    guard, made, at = LoopGuard(repeats, minutes), list[datetime](), NOON
    refused: list[datetime] = []
    for gap in gaps:
        at += timedelta(seconds=gap)
        (made if guard.allows(made, at) else refused).append(at)

    length = timedelta(minutes=minutes)
    for start in made:
        assert sum(start <= time < start + length for time in made) <= repeats
    for time in refused:  # and it refuses only what would be one too many
        assert sum(time - length < one <= time for one in made) >= repeats


@given(st.integers(1, 5), st.integers(1, 10), st.lists(seconds, max_size=20), seconds)
def test_forgetting_what_no_longer_counts_changes_nothing(
    repeats: int, minutes: int, offsets: list[int], later: int
) -> None:
    guard = LoopGuard(repeats, minutes)
    times = [NOON + timedelta(seconds=one) for one in offsets]
    at = NOON + timedelta(seconds=600)
    kept = guard.counted(times, at)

    assert guard.allows(kept, at + timedelta(seconds=later)) == guard.allows(
        times, at + timedelta(seconds=later)
    )
