"""What is surely granted whole, and under which balances."""

from dataclasses import replace

import pytest

from spendgate.domain.budget import Budget, Claim, Mode
from spendgate.domain.decision import Balance, Candidate, Decision, Granted, decide
from spendgate.domain.scope import Scope
from spendgate.domain.sure_grant import SureGrant, sure_grant
from spendgate.domain.window import Window, WindowKind, WindowSpec

# 100 nano and 10 for each of 100 tokens are 1100.
LARGE = Candidate("large", 100_000, 10_000, 100, expected_nano=300, price_version="v1")
BUDGET = Budget("team", Scope(), 10_000, WindowSpec(WindowKind.LIFETIME), disable_tools=("search",))


def claim(window: Window | None = None, **changes: object) -> Claim:
    changed = replace(BUDGET, **changes)
    return Claim(
        changed, changed.scope, window or Window("*", None, None, None), changed.limit_nano
    )


def sure(*claims: Claim) -> SureGrant:
    found = sure_grant(claims, {"large": LARGE}, "large")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("spent", "held", "is_under"),
    [(7_700, 1_200, True), (7_701, 0, False), (0, 8_900, True), (0, 8_901, False)],
)
def test_a_ceiling_is_where_a_call_stops_being_granted_whole(
    spent: int, held: int, is_under: bool
) -> None:
    one = claim()
    (ceiling,) = sure(one).ceilings

    assert (ceiling.key, ceiling.spent_max_nano, ceiling.used_max_nano) == (
        one.keys[0],
        7_700,
        8_900,
    )
    verdict = decide([one], {"large": LARGE}, "large", {one.keys[0]: Balance(spent, held)})
    plain = Granted(Decision.ALLOW, LARGE, 100, 1_100, (), verdict.positions)
    assert (verdict == plain) is is_under


def test_a_shadow_budget_has_no_ceiling() -> None:
    shadow = claim(mode=Mode.SHADOW, limit_nano=1)

    (ceiling,) = sure(shadow).ceilings

    assert (ceiling.spent_max_nano, ceiling.used_max_nano) == (None, None)


def test_a_call_without_budgets_is_granted_its_whole_amount() -> None:
    assert sure() == SureGrant(LARGE, 1_100, ())


@pytest.mark.parametrize(
    "unsure",
    [
        claim(Window("now", None, None, None, ("old",))),
        claim(limit_nano=1_099),
    ],
    ids=["rolling", "too small a limit"],
)
def test_nothing_is_sure_where_one_balance_can_t_tell_or_is_never_low_enough(
    unsure: Claim,
) -> None:
    assert sure_grant([claim(), unsure], {"large": LARGE}, "large") is None
