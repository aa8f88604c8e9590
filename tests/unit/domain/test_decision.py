"""The decision at its edges: the last cent, the floor, the soft cap, the chain."""

from dataclasses import replace

import pytest

from spendgate.domain.budget import Budget, Claim, DowngradeStep, Mode
from spendgate.domain.decision import (
    Balance,
    Candidate,
    Decision,
    Granted,
    Position,
    RefusalCode,
    Refused,
    Status,
    decide,
    positions_of,
)
from spendgate.domain.scope import Scope
from spendgate.domain.window import Window, WindowKind, WindowSpec

# The large model costs 100 nano plus 10 per token, so 100 tokens are 1100; the small one a tenth.
LARGE = Candidate("large", 100_000, 10_000, 100, expected_nano=300, price_version="v1")
SMALL = Candidate("small", 10_000, 1_000, 100, expected_nano=30, price_version="v1")
TINY = Candidate("tiny", 1_000, 100, 100, expected_nano=3, price_version="v1")
BUDGET = Budget(
    "team",
    Scope.of({"team": "support"}),
    10_000,
    WindowSpec(WindowKind.LIFETIME),
    soft_cap_ppm=10**6,
    min_output_tokens=20,
)
TO_SMALL = DowngradeStep(("large",), "small")
TO_TINY = DowngradeStep(("small",), "tiny")


def claim(budget: Budget = BUDGET, **changes: object) -> Claim:
    changed = replace(budget, **changes)
    return Claim(changed, changed.scope, Window("*", None, None, None), changed.limit_nano)


def decided(
    *positions: tuple[Claim, Balance], candidates: tuple[Candidate, ...] = (LARGE,)
) -> Granted | Refused:
    return decide(
        [one for one, _ in positions],
        {one.model: one for one in candidates},
        "large",
        {one.keys[0]: balance for one, balance in positions},
    )


def granted(
    *positions: tuple[Claim, Balance], candidates: tuple[Candidate, ...] = (LARGE,)
) -> Granted:
    verdict = decided(*positions, candidates=candidates)
    assert isinstance(verdict, Granted)
    return verdict


def refused(
    *positions: tuple[Claim, Balance], candidates: tuple[Candidate, ...] = (LARGE,)
) -> Refused:
    verdict = decided(*positions, candidates=candidates)
    assert isinstance(verdict, Refused)
    return verdict


def test_a_call_that_fits_is_allowed_at_its_worst_cost() -> None:
    verdict = granted((claim(), Balance()))

    assert verdict.decision is Decision.ALLOW
    assert (verdict.tokens, verdict.amount_nano) == (100, 1100)
    assert verdict.shadow is None


def test_a_call_that_no_budget_covers_is_granted_in_full() -> None:
    verdict = granted()

    assert verdict.decision is Decision.ALLOW
    assert verdict.amount_nano == 1100
    assert verdict.positions == ()


def test_the_last_nano_is_admitted_and_the_next_call_refused() -> None:
    stiff = claim(fit=False)

    first = granted((stiff, Balance(spent_nano=8000, held_nano=900)))
    second = refused((stiff, Balance(spent_nano=8000, held_nano=901)))

    assert first.amount_nano == 1100
    assert second.binding.available_nano == 1099
    assert second.needed_nano == 1100


def test_a_call_is_shrunk_to_what_all_budgets_afford() -> None:
    verdict = granted(
        (claim(), Balance(spent_nano=9000)),
        (claim(budget_id="user"), Balance(spent_nano=9100, held_nano=395)),
    )

    assert verdict.decision is Decision.FIT
    assert (verdict.tokens, verdict.amount_nano) == (40, 500)


def test_a_call_is_not_shrunk_below_the_floor() -> None:
    at_the_floor = granted((claim(), Balance(spent_nano=9700)))
    below = refused((claim(), Balance(spent_nano=9701)))

    assert at_the_floor.tokens == 20
    assert below.needed_nano == 300


def test_a_call_for_less_than_the_floor_is_not_asked_for_more() -> None:
    short = replace(LARGE, tokens_wanted=5)

    assert granted((claim(), Balance(spent_nano=9850)), candidates=(short,)).tokens == 5


def test_a_models_own_floor_can_be_higher() -> None:
    reasoning = replace(LARGE, floor_tokens=21)

    assert isinstance(
        decided((claim(), Balance(spent_nano=9700)), candidates=(reasoning,)), Refused
    )


def test_each_budgets_floor_is_kept_when_another_budget_is_short() -> None:
    patient = claim(budget_id="user", min_output_tokens=50)

    at_the_floor = granted((claim(), Balance(spent_nano=9400)), (patient, Balance()))
    below = refused((claim(), Balance(spent_nano=9410)), (patient, Balance()))

    assert at_the_floor.tokens == 50
    assert below.binding.claim == claim()
    assert below.needed_nano == 600


def test_a_budget_without_fit_keeps_its_calls_whole_when_another_budget_is_short() -> None:
    whole = claim(budget_id="user", fit=False)

    verdict = refused((claim(), Balance(spent_nano=9500)), (whole, Balance()))

    assert verdict.binding.claim == claim()
    assert verdict.needed_nano == 1100


def test_a_call_without_output_is_held_at_its_input() -> None:
    embedding = Candidate("large", 100_001, 0, 0, expected_nano=101, price_version="v1")

    verdict = granted((claim(), Balance(spent_nano=9899)), candidates=(embedding,))

    assert verdict.decision is Decision.ALLOW
    assert (verdict.tokens, verdict.amount_nano) == (0, 101)


def test_money_that_is_only_held_may_come_back() -> None:
    verdict = refused((claim(), Balance(spent_nano=9700, held_nano=1)))

    assert verdict.code is RefusalCode.HELD
    assert not verdict.binding.is_binding
    assert verdict.binding.status is Status.OK


def test_money_that_is_spent_is_gone_for_the_window() -> None:
    verdict = refused((claim(), Balance(spent_nano=9701, held_nano=0)))

    assert verdict.code is RefusalCode.EXHAUSTED
    assert verdict.binding.status is Status.HARD
    assert verdict.positions == (verdict.binding,)


def test_a_refusal_names_the_shortest_budget_whose_money_is_gone() -> None:
    held, gone, worse = claim(budget_id="held"), claim(budget_id="gone"), claim(budget_id="worse")

    verdict = refused(
        (held, Balance(held_nano=10_000)),
        (gone, Balance(spent_nano=9900)),
        (worse, Balance(spent_nano=9950)),
        (claim(), Balance()),
    )

    assert verdict.code is RefusalCode.EXHAUSTED
    assert verdict.binding.claim == worse
    assert [one.is_binding for one in verdict.positions] == [False, False, True, False]


def test_a_limit_lowered_below_what_is_spent_and_held_refuses() -> None:
    verdict = refused((claim(limit_nano=5000), Balance(spent_nano=4000, held_nano=3000)))

    assert verdict.binding.available_nano == -2000
    assert verdict.code is RefusalCode.HELD


def test_a_limit_lowered_below_what_is_spent_is_exhausted_for_a_free_call_too() -> None:
    free = Candidate("large", 0, 0, 10, expected_nano=0, price_version="v1")

    verdict = refused((claim(limit_nano=5000), Balance(spent_nano=5001)), candidates=(free,))

    assert verdict.code is RefusalCode.EXHAUSTED
    assert verdict.needed_nano == 0


def test_the_hard_cap_can_lie_below_the_limit() -> None:
    capped = claim(soft_cap_ppm=500_000, hard_cap_ppm=900_000, fit=False)

    assert isinstance(decided((capped, Balance(spent_nano=7900))), Granted)
    assert isinstance(decided((capped, Balance(spent_nano=7901))), Refused)


def test_a_rolling_window_adds_up_its_buckets() -> None:
    window = Window("r#9", None, None, None, also_keys=("r#7", "r#8"))
    rolling = replace(claim(), window=window)
    now, older, old = rolling.keys
    balances = {now: Balance(100, 10), older: Balance(200, 20), old: Balance(400, 40)}

    (position,) = positions_of([rolling], balances)
    (fresh,) = positions_of([rolling], {})

    assert (position.spent_nano, position.held_nano) == (700, 70)
    assert position.available_nano == 9230
    assert (fresh.spent_nano, fresh.held_nano) == (0, 0)


SOFT = claim(
    soft_cap_ppm=500_000, auto_downgrade=(TO_SMALL, TO_TINY), disable_tools=("web", "code")
)
ALL = (LARGE, SMALL, TINY)


def test_at_the_soft_cap_a_call_goes_one_step_down_and_loses_tools() -> None:
    verdict = granted((SOFT, Balance(spent_nano=4701)), candidates=ALL)

    assert verdict.decision is Decision.DOWNGRADE
    assert verdict.candidate == SMALL
    assert verdict.amount_nano == 110
    assert verdict.tools_disabled == ("code", "web")


def test_tools_that_the_soft_cap_drops_are_not_paid_for() -> None:
    web, code = frozenset({"web"}), frozenset({"code"})
    costly = replace(LARGE, leaner=((web, 60_000), (web | code, 40_000), (frozenset({"x"}), 0)))
    only_web = claim(soft_cap_ppm=500_000, disable_tools=("web",))

    of_one = granted((only_web, Balance(spent_nano=4701)), candidates=(costly,))
    of_both = granted((SOFT, Balance(spent_nano=4701)), candidates=(costly,))
    before = granted((SOFT, Balance(spent_nano=4700)), candidates=(costly,))

    output = LARGE.amount_nano(100) - LARGE.amount_nano(0)
    assert of_one.amount_nano == 60 + output
    assert of_both.amount_nano == 40 + output
    assert before.amount_nano == LARGE.amount_nano(100)


def test_a_call_expected_to_end_at_the_soft_cap_is_left_alone() -> None:
    verdict = granted((SOFT, Balance(spent_nano=4700)), candidates=ALL)

    assert verdict.decision is Decision.ALLOW
    assert verdict.tools_disabled == ()


def test_the_soft_cap_does_not_look_at_what_is_held() -> None:
    verdict = granted((SOFT, Balance(spent_nano=4700, held_nano=4200)), candidates=ALL)

    assert verdict.decision is Decision.ALLOW


def test_below_the_soft_cap_a_short_budget_shrinks_and_does_not_downgrade() -> None:
    verdict = granted((SOFT, Balance(spent_nano=4000, held_nano=5500)), candidates=ALL)

    assert verdict.decision is Decision.FIT
    assert verdict.candidate == LARGE


def test_only_a_model_that_does_not_fit_in_full_is_stepped_down_further() -> None:
    exact = granted((SOFT, Balance(spent_nano=9890)), candidates=ALL)
    short = granted((SOFT, Balance(spent_nano=9891)), candidates=ALL)

    assert (exact.candidate, exact.amount_nano) == (SMALL, 110)
    assert (short.candidate, short.tokens) == (TINY, 100)


def test_a_chain_ends_where_it_ends_and_then_the_call_is_shrunk() -> None:
    verdict = granted((SOFT, Balance(spent_nano=9994)), candidates=ALL)

    assert verdict.candidate == TINY
    assert (verdict.tokens, verdict.amount_nano) == (50, 6)
    assert verdict.decision is Decision.DOWNGRADE


def test_a_refusal_after_a_chain_names_its_last_model() -> None:
    verdict = refused((SOFT, Balance(spent_nano=9999)), candidates=ALL)

    assert verdict.model == "tiny"
    assert verdict.needed_nano == 3


def test_a_model_that_is_not_offered_is_no_step() -> None:
    verdict = granted((SOFT, Balance(spent_nano=9500)), candidates=(LARGE, TINY))

    assert verdict.candidate == LARGE
    assert verdict.decision is Decision.FIT


def test_of_two_budgets_steps_the_cheaper_is_taken() -> None:
    other = claim(
        budget_id="user", soft_cap_ppm=1, auto_downgrade=(DowngradeStep(("large",), "tiny"),)
    )

    verdict = granted((SOFT, Balance(spent_nano=5000)), (other, Balance()), candidates=ALL)

    assert verdict.candidate == TINY


def test_a_budget_below_its_soft_cap_has_no_say_in_the_model() -> None:
    calm = claim(budget_id="user", auto_downgrade=(DowngradeStep(("large",), "tiny"),))

    verdict = granted((SOFT, Balance(spent_nano=5000)), (calm, Balance()), candidates=ALL)

    assert verdict.candidate == SMALL


def test_two_budgets_whose_chains_make_a_circle_come_to_an_end() -> None:
    back = claim(
        budget_id="user", soft_cap_ppm=1, auto_downgrade=(DowngradeStep(("small",), "large"),)
    )
    there = claim(soft_cap_ppm=1, auto_downgrade=(TO_SMALL,))

    verdict = granted(
        (there, Balance(spent_nano=9950)), (back, Balance()), candidates=(LARGE, SMALL)
    )

    assert verdict.candidate == SMALL
    assert verdict.tokens == 40


def test_a_shadow_never_binds_and_says_what_it_would_have_refused() -> None:
    shadow = claim(budget_id="trial", mode=Mode.SHADOW, limit_nano=100, auto_downgrade=(TO_SMALL,))

    verdict = granted((claim(), Balance()), (shadow, Balance()), candidates=ALL)

    assert verdict.decision is Decision.ALLOW
    assert verdict.tools_disabled == ()
    assert verdict.shadow is not None
    assert verdict.shadow.binding.claim == shadow
    assert [one.claim.budget.budget_id for one in verdict.positions] == ["team", "trial"]


@pytest.mark.parametrize(
    ("spent", "status"),
    [
        (0, Status.OK),
        (4999, Status.OK),
        (5000, Status.SOFT),
        (8999, Status.SOFT),
        (9000, Status.HARD),
        (12_000, Status.HARD),
    ],
)
def test_a_budgets_status_follows_its_spend(spent: int, status: Status) -> None:
    capped = claim(soft_cap_ppm=500_000, hard_cap_ppm=900_000)

    assert Position(capped, spent, held_nano=9000).status is status


@pytest.mark.parametrize(
    ("nano", "tokens"), [(-1, -1), (0, -1), (99, -1), (100, 0), (109, 0), (110, 1), (10_000, 100)]
)
def test_money_buys_whole_tokens_after_the_input(nano: int, tokens: int) -> None:
    assert LARGE.tokens_within(nano) == tokens


def test_free_output_is_granted_as_wanted_once_the_input_is_paid() -> None:
    free_output = replace(LARGE, output_pico_per_token=0)

    assert free_output.tokens_within(100) == 100
    assert free_output.tokens_within(99) == -1
