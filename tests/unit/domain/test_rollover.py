"""Rollover: what a window takes over from the one before it, and what the next has taken."""

from datetime import UTC, datetime

import pytest

from spendgate.domain.budget import BalanceKey, Budget, Claim, Policy, Raise, parse_window
from spendgate.domain.decision import Balance, Position, Status, positions_of
from spendgate.domain.rollover import carried_nano, neighbour_keys
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import window_at

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def claim(window: str = "month", *, at: datetime = NOON, tz: str = "UTC", **more: object) -> Claim:
    more = {"rollover_max_nano": 50, **more}
    scope, spec = Scope.parse("user:*"), parse_window(window)
    budget = Budget("each", scope, 100, spec, tz=tz, **more)  # type: ignore[arg-type]  # any field
    (made,) = Policy((budget,)).claims(Identity({"user": "ann"}), at)
    return made


def position(used: dict[str, tuple[int, int]], **more: object) -> Position:
    """Return ann's budget of March with spent and held of some months."""
    balances = {BalanceKey("each", "ann", month): Balance(*both) for month, both in used.items()}
    (found,) = positions_of([claim(**more)], balances)  # type: ignore[arg-type]  # any field
    return found


@pytest.mark.parametrize(
    ("used", "limit"),
    [
        ({}, 100),  # a new budget, or a new user
        ({"2026-02": (0, 0)}, 150),  # the cap
        ({"2026-02": (70, 0)}, 130),
        ({"2026-02": (70, 20)}, 110),  # what is still held is spent until it isn't
        ({"2026-02": (100, 0)}, 100),
        ({"2026-02": (170, 0)}, 100),  # what was carried there is not carried again
        ({"2026-01": (0, 0)}, 100),  # only the window before
        ({"2026-02": (70, 0), "2026-04": (60, 40)}, 130),  # the next lives on its own
        ({"2026-02": (70, 0), "2026-04": (90, 20)}, 90),  # the next has taken some: a fast clock
    ],
)
def test_the_limit_of_a_window_follows_its_neighbours(
    used: dict[str, tuple[int, int]], limit: int
) -> None:
    assert position(used).limit_nano == limit


def test_what_the_next_window_can_have_taken_is_at_most_what_may_be_carried() -> None:
    # Above that it was spent under a raise, which is not this window's.
    assert position({"2026-04": (900, 0)}).limit_nano == 50


def test_raises_are_not_carried() -> None:
    budget = claim().budget
    policy = Policy((budget,), raises=(Raise("r", "each", 1000, "a launch"),))
    (raised,) = policy.claims(Identity({"user": "ann"}), NOON)

    (found,) = positions_of([raised], {BalanceKey("each", "ann", "2026-02"): Balance(80, 0)})

    assert found.limit_nano == 1120


def test_what_the_hard_cap_withheld_is_not_carried() -> None:
    found = position({"2026-02": (70, 0)}, hard_cap_ppm=900_000, soft_cap_ppm=500_000)

    assert (found.limit_nano, found.hard_nano, found.soft_nano) == (120, 110, 60)
    assert found.available_nano == 110


def test_the_status_looks_at_the_limit_of_the_window() -> None:
    before = {"2026-02": (50, 0)}

    spent = [position(before | {"2026-03": (nano, 0)}).status for nano in (100, 120, 150)]

    assert spent == [Status.OK, Status.SOFT, Status.HARD]


def test_without_rollover_no_other_window_is_read() -> None:
    plain = claim(rollover_max_nano=0)

    assert plain.neighbours is None
    assert plain.read_keys == plain.keys


def test_a_claim_reads_the_windows_around_its_own() -> None:
    made = claim("day", at=datetime(2026, 3, 8, 12, tzinfo=UTC), tz="America/New_York")

    assert [key.period for key in made.read_keys] == ["2026-03-08", "2026-03-07", "2026-03-09"]
    assert made.keys == made.read_keys[:1]


@pytest.mark.parametrize("window", ["lifetime", "rolling:1h"])
def test_windows_without_neighbours_carry_nothing(window: str) -> None:
    spec = parse_window(window)

    assert neighbour_keys(spec, "UTC", window_at(spec, "UTC", NOON)) is None
    assert claim(window).neighbours is None


def test_nothing_is_carried_for_a_window_without_a_balance() -> None:
    assert carried_nano(100, 50, None, 0) == 0
    assert carried_nano(100, 50, 0, 0) == 50
