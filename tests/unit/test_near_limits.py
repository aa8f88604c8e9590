"""Which budgets are asked carefully: those that calls have lately found near a limit."""

from datetime import UTC, datetime, timedelta

import pytest

from spendgate.adapters import near_limits
from spendgate.adapters.near_limits import NearLimits
from spendgate.domain.budget import Budget, Claim, Mode
from spendgate.domain.decision import Balance, Candidate, decide
from spendgate.domain.event import CallFacts
from spendgate.domain.reservation import ReserveRequest, StalePolicy
from spendgate.domain.scope import Scope
from spendgate.domain.window import Window, WindowKind, WindowSpec

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
LARGE = Candidate("large", 100_000, 10_000, 100, expected_nano=300, price_version="v1")


def request(value: str, mode: Mode = Mode.ENFORCE) -> ReserveRequest:
    """Ask for 1100 of 10,000, with a soft cap of 8,000."""
    budget = Budget("user", Scope(), 10_000, WindowSpec(WindowKind.LIFETIME), mode=mode)
    claim = Claim(budget, Scope((("user", value),)), Window("*", None, None, None), 10_000)
    facts = CallFacts(1, NOON, {}, "large", "", "main", "global", "", "", ("user",))
    expires = NOON + timedelta(minutes=1)
    return ReserveRequest("h", "f", (claim,), {"large": LARGE}, "large", facts, 1, expires)


def decided(near: NearLimits, one: ReserveRequest, spent: int, held: int) -> None:
    balances = {one.claims[0].keys[0]: Balance(spent, held)}
    near.learn([[one]], [[decide(one.claims, one.candidates, one.model, balances)]])


@pytest.mark.parametrize(
    ("spent", "held", "is_near"),
    [(0, 0, False), (7_700, 1_200, False), (7_701, 0, True), (0, 8_901, True), (10_000, 0, True)],
)
def test_a_budget_is_near_its_limit_where_a_call_isn_t_granted_whole(
    spent: int, held: int, is_near: bool
) -> None:
    near = NearLimits()

    decided(near, request("ann"), spent, held)

    assert near.touches(request("ann")) is is_near
    assert not near.touches(request("bob"))


def test_a_budget_that_has_room_again_is_forgotten() -> None:
    near = NearLimits()
    decided(near, request("ann"), 0, 10_000)

    decided(near, request("ann"), 0, 0)

    assert not near.touches(request("ann"))


def test_shadows_never_are_near_and_other_answers_teach_nothing() -> None:
    near = NearLimits()

    decided(near, request("ann", Mode.SHADOW), 10_000, 0)
    near.learn([[request("ann")], [request("ann")]], [[StalePolicy(2)], ValueError()])

    assert not near.touches(request("ann"))


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_limits, "_KEYS_MAX", 2)
    near = NearLimits()

    for name in ("first", "second", "third"):
        decided(near, request(name), 0, 10_000)

    remembered = [near.touches(request(name)) for name in ("first", "second", "third")]
    assert remembered == [False, True, True]
