"""Where all ceilings hold, the decision grants a call whole; and they aren't lower than need be."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.domain.budget import PPM, BalanceKey, Budget, Claim, DowngradeStep, Mode
from spendgate.domain.decision import (
    Balance,
    Candidate,
    Decision,
    Granted,
    decide,
    positions_of,
    weigh,
)
from spendgate.domain.scope import Scope
from spendgate.domain.sure_grant import sure_grant
from spendgate.domain.window import Window, WindowKind, WindowSpec

SMALL = Candidate("small", 0, 1, 60, 0, "v1")
LIMIT_NANO = 1_000


@st.composite
def claims(draw: st.DrawFn, number: int) -> Claim:
    soft_cap = draw(st.integers(PPM // 2, PPM) | st.integers(1, PPM))
    budget = Budget(
        f"b{number}",
        Scope(),
        LIMIT_NANO,
        WindowSpec(WindowKind.LIFETIME),
        soft_cap_ppm=soft_cap,
        hard_cap_ppm=draw(st.integers(soft_cap, PPM)),
        auto_downgrade=(DowngradeStep(("large",), "small"),),
        disable_tools=("search",),
        mode=draw(st.sampled_from((Mode.ENFORCE, Mode.ENFORCE, Mode.SHADOW))),
        fit=draw(st.booleans()),
        min_output_tokens=draw(st.integers(1, 10)),
    )
    return Claim(budget, Scope(), Window("now", None, None, None), LIMIT_NANO)


@settings(max_examples=500)
@given(st.data(), st.integers(0, 3), st.integers(0, 200), st.integers(0, 9_000), st.integers(0, 60))
def test_a_call_is_surely_granted_whole_exactly_under_its_ceilings(
    data: st.DataObject, count: int, expected: int, pico_per_token: int, tokens: int
) -> None:
    covering = [data.draw(claims(number)) for number in range(count)]
    large = Candidate("large", 100_000, pico_per_token, tokens, expected, "v1", floor_tokens=3)
    sure = sure_grant(covering, {"large": large, "small": SMALL}, "large")
    if sure is None:
        return
    balances: dict[BalanceKey, Balance] = {}
    is_under = True
    for ceiling in sure.ceilings:
        spent_max, used_max = ceiling.spent_max_nano, ceiling.used_max_nano
        if spent_max is None or used_max is None:
            balances[ceiling.key] = Balance(data.draw(st.integers(0, 2_000)))
            continue
        # At a ceiling, a little under or above it.
        spent = max(0, min(spent_max, used_max) + data.draw(st.integers(-2, 1)))
        held = max(0, used_max - spent + data.draw(st.integers(-2, 1)))
        balances[ceiling.key] = Balance(spent, held)
        is_under &= spent <= spent_max and spent + held <= used_max

    candidates = {"large": large, "small": SMALL}
    verdict = decide(covering, candidates, "large", balances)
    # The decision's own short way is for the same calls, and never another decision.
    assert verdict == weigh(positions_of(covering, balances), candidates, "large")

    is_whole = (
        isinstance(verdict, Granted)
        and (verdict.decision, verdict.tokens) == (Decision.ALLOW, large.tokens_wanted)
        and (verdict.candidate, verdict.amount_nano) == (sure.candidate, sure.amount_nano)
        and verdict.tools_disabled == ()
    )
    assert is_whole == is_under
