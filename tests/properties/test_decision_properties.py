"""What holds for every decision, compared with a naive model that tries token after token.

Each rule is a function that fails for a wrong verdict. The last test feeds the rules broken
decisions, so that we know they would notice.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from spendgate.domain.budget import PPM, BalanceKey, Budget, Claim, DowngradeStep, Mode
from spendgate.domain.decision import (
    Balance,
    Candidate,
    Decision,
    Granted,
    RefusalCode,
    Refused,
    decide,
)
from spendgate.domain.hold import HoldAmounts, HoldState, expire, settle, void
from spendgate.domain.scope import Scope
from spendgate.domain.window import Window, WindowKind, WindowSpec

MODELS = ("large", "medium", "small")
UNPRICED = "unpriced"
CHAINS = (
    (),
    ("large medium",),
    ("large medium", "medium small"),
    ("large small", "small medium"),
    ("medium large", "small large"),
    ("large unpriced", "medium small"),
)


@dataclass(frozen=True)
class Case:
    """Everything that one decision depends on."""

    claims: tuple[Claim, ...]
    candidates: Mapping[str, Candidate]
    balances: Mapping[BalanceKey, Balance]

    def enforcing(self) -> list[Claim]:
        return [claim for claim in self.claims if claim.budget.mode is Mode.ENFORCE]

    def spent(self, claim: Claim) -> int:
        return sum(self.balances[key].spent_nano for key in claim.keys if key in self.balances)

    def held(self, claim: Claim) -> int:
        return sum(self.balances[key].held_nano for key in claim.keys if key in self.balances)


Rule = Callable[[Case, Granted | Refused], None]


def verdict_of(case: Case) -> Granted | Refused:
    return decide(case.claims, case.candidates, MODELS[0], case.balances)


@st.composite
def claims_of(draw: st.DrawFn, number: int) -> Claim:
    limit = draw(st.integers(3000, 5000))
    soft_cap = draw(st.integers(1, PPM))
    chain = (step.split() for step in draw(st.sampled_from(CHAINS)))
    budget = Budget(
        f"b{number}",
        Scope(),
        limit_nano=limit,
        window=WindowSpec(WindowKind.LIFETIME),
        soft_cap_ppm=soft_cap,
        hard_cap_ppm=draw(st.just(PPM) | st.integers(soft_cap, PPM)),
        auto_downgrade=tuple(DowngradeStep((model,), to) for model, to in chain),
        disable_tools=draw(st.sampled_from(((), ("search",), ("search", "code")))),
        mode=draw(st.sampled_from((Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE, Mode.SHADOW))),
        fit=draw(st.sampled_from((True, True, True, True, False))),
        min_output_tokens=draw(st.integers(1, 10)),
    )
    older = draw(st.sampled_from(((), ("old", "older"))))
    return Claim(budget, Scope(), Window("now", None, None, None, older), limit)


@st.composite
def candidates_of(draw: st.DrawFn, model: str) -> Candidate:
    return Candidate(
        model=model,
        input_pico=draw(st.integers(0, 100_000)),
        output_pico_per_token=draw(st.integers(0, 2) | st.integers(4_000, 40_000)),
        tokens_wanted=draw(st.integers(0, 60)),
        expected_nano=draw(st.integers(0, 600)),
        price_version="v1",
        floor_tokens=draw(st.integers(0, 8)),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.sampled_from((1, 2, 1, 2, 3, 3, 4, 0)))
    claims = tuple(draw(claims_of(number)) for number in range(count))
    priced = draw(st.sampled_from((MODELS, MODELS, MODELS[:2], MODELS[:1])))
    candidates = {model: draw(candidates_of(model)) for model in priced}
    whole = cost(candidates["large"], candidates["large"].tokens_wanted)
    balances: dict[BalanceKey, Balance] = {}
    for claim in claims:
        room = whole * draw(st.integers(-1, 30)) // 20 + draw(st.integers(-1, 1))
        used = max(0, cap(claim, claim.budget.hard_cap_ppm) - room)
        for key in claim.keys:
            share = used // len(claim.keys)
            spent = draw(st.integers(0, share))
            balances[key] = Balance(spent, share - spent)
    return Case(claims, candidates, balances)


def cost(candidate: Candidate, tokens: int) -> int:
    pico = candidate.input_pico + tokens * candidate.output_pico_per_token
    return math.ceil(Fraction(pico, 1000))


def cap(claim: Claim, ppm: int) -> int:
    return math.floor(Fraction(claim.limit_nano * ppm, 10**6))


def fits(case: Case, claim: Claim, amount: int) -> bool:
    return case.spent(claim) + case.held(claim) + amount <= cap(claim, claim.budget.hard_cap_ppm)


def soft_claims(case: Case) -> list[Claim]:
    expected = case.candidates[MODELS[0]].expected_nano
    return [
        claim
        for claim in case.enforcing()
        if case.spent(claim) + expected > cap(claim, claim.budget.soft_cap_ppm)
    ]


def served_model(case: Case) -> str:
    """Walk the chains: one step for the soft cap, more while the whole call doesn't fit."""
    visited = [MODELS[0]]
    while True:
        named = {
            next((step.to_model for step in chain if visited[-1] in step.from_models), UNPRICED)
            for chain in (claim.budget.auto_downgrade for claim in soft_claims(case))
        }
        open_steps = [m for m in named if m in case.candidates and m not in visited]
        if not open_steps:
            return visited[-1]
        visited.append(min(open_steps, key=lambda m: (case.candidates[m].expected_nano, m)))
        whole = case.candidates[visited[-1]]
        amount = cost(whole, whole.tokens_wanted)
        if all(fits(case, claim, amount) for claim in case.enforcing()):
            return visited[-1]


def least_tokens(case: Case, candidate: Candidate) -> int:
    least = candidate.floor_tokens
    for claim in case.enforcing():
        least = max(least, claim.budget.min_output_tokens if claim.budget.fit else 10**9)
    return min(least, candidate.tokens_wanted)


def granted_tokens(case: Case, candidate: Candidate) -> int | None:
    """Try every number of tokens from the wanted one down to the least; None refuses."""
    for tokens in range(candidate.tokens_wanted, least_tokens(case, candidate) - 1, -1):
        if all(fits(case, claim, cost(candidate, tokens)) for claim in case.enforcing()):
            return tokens
    return None


def check_model_agrees(case: Case, verdict: Granted | Refused) -> None:
    served = case.candidates[served_model(case)]
    tokens = granted_tokens(case, served)
    if isinstance(verdict, Refused):
        assert tokens is None
        assert verdict.model == served.model
        return
    assert (verdict.candidate, verdict.tokens) == (served, tokens)
    assert verdict.amount_nano == cost(served, verdict.tokens)


def check_hard_caps(case: Case, verdict: Granted | Refused) -> None:
    if isinstance(verdict, Granted):
        for claim in case.enforcing():
            assert fits(case, claim, verdict.amount_nano)


def check_largest(case: Case, verdict: Granted | Refused) -> None:
    if isinstance(verdict, Granted) and verdict.tokens != verdict.candidate.tokens_wanted:
        assert verdict.tokens < verdict.candidate.tokens_wanted
        more = cost(verdict.candidate, verdict.tokens + 1)
        assert not all(fits(case, claim, more) for claim in case.enforcing())


def check_floors(case: Case, verdict: Granted | Refused) -> None:
    if isinstance(verdict, Granted):
        assert verdict.tokens >= least_tokens(case, verdict.candidate)


def check_refusal_is_true(case: Case, verdict: Granted | Refused) -> None:
    if isinstance(verdict, Granted):
        return
    served = case.candidates[verdict.model]
    least = cost(served, least_tokens(case, served))
    gone = [
        claim
        for claim in case.enforcing()
        if case.spent(claim) + least > cap(claim, claim.budget.hard_cap_ppm)
    ]
    assert verdict.needed_nano == least
    assert not fits(case, verdict.binding.claim, least)
    assert verdict.binding.claim in (gone or case.enforcing())
    assert (verdict.code is RefusalCode.EXHAUSTED) == bool(gone)
    assert verdict.binding in verdict.positions


def check_soft_cap(case: Case, verdict: Granted | Refused) -> None:
    if isinstance(verdict, Granted):
        tools = {tool for claim in soft_claims(case) for tool in claim.budget.disable_tools}
        assert verdict.tools_disabled == tuple(sorted(tools))
        assert soft_claims(case) or verdict.candidate.model == MODELS[0]


def check_label(case: Case, verdict: Granted | Refused) -> None:
    if isinstance(verdict, Granted):
        is_whole = verdict.tokens == verdict.candidate.tokens_wanted
        expected = Decision.ALLOW if is_whole else Decision.FIT
        if verdict.candidate.model != MODELS[0]:
            expected = Decision.DOWNGRADE
        assert verdict.decision is expected


@settings(max_examples=500)
@given(cases())
def test_every_decision_keeps_every_rule(case: Case) -> None:
    verdict = verdict_of(case)

    check_model_agrees(case, verdict)
    check_hard_caps(case, verdict)
    check_largest(case, verdict)
    check_floors(case, verdict)
    check_refusal_is_true(case, verdict)
    check_soft_cap(case, verdict)
    check_label(case, verdict)


def money(verdict: Granted | Refused) -> tuple[object, ...]:
    if isinstance(verdict, Granted):
        return verdict.decision, verdict.candidate, verdict.tokens, verdict.amount_nano
    return verdict.code, verdict.model, verdict.needed_nano, verdict.binding.available_nano


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_budgets_does_not_change_the_money(case: Case, random: Random) -> None:
    shuffled = replace(case, claims=tuple(random.sample(case.claims, len(case.claims))))

    assert money(verdict_of(shuffled)) == money(verdict_of(case))


@given(cases())
def test_shadow_budgets_never_change_what_is_decided(case: Case) -> None:
    alone = replace(case, claims=tuple(case.enforcing()))

    assert money(verdict_of(case)) == money(verdict_of(alone))


@given(cases())
def test_shadows_report_what_they_would_have_refused_of_the_model_served(case: Case) -> None:
    verdict = verdict_of(case)
    if isinstance(verdict, Refused):
        return

    shadows = tuple(one for one in case.claims if one.budget.mode is Mode.SHADOW)
    binding = with_budgets(replace(case, claims=shadows), mode=Mode.ENFORCE, auto_downgrade=())
    alone = verdict_of(replace(binding, candidates={MODELS[0]: verdict.candidate}))
    assert (verdict.shadow is None) == isinstance(alone, Granted)
    if verdict.shadow is not None:
        assert money(verdict.shadow) == money(alone)


VERBS = ("reserve", "reserve", "settle", "void", "expire")


@given(cases(), st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 100)), max_size=25))
def test_a_ledger_of_these_rules_never_owes_more_than_a_limit(
    case: Case, turns: list[tuple[str, int]]
) -> None:
    """Move balances as a store does; beside it, recount what every call can still cost."""
    now = replace(case, balances={})
    holds: list[HoldAmounts] = []
    exposed: list[int] = []
    for verb, number in turns:
        if verb == "reserve":
            verdict = verdict_of(now)
            check_model_agrees(now, verdict)
            if isinstance(verdict, Refused):
                continue
            moves = (0, verdict.amount_nano)
            holds.append(HoldAmounts(HoldState.HELD, verdict.amount_nano))
            exposed.append(verdict.amount_nano)
        elif holds:
            index = number % len(holds)
            hold = holds[index]
            actual = hold.amount_nano * number // 100
            ended = {"settle": settle(hold, actual), "void": void(hold), "expire": expire(hold)}
            movement = ended[verb]
            if movement is None:
                continue
            moves = (movement.spent_delta_nano, movement.held_delta_nano)
            holds[index] = HoldAmounts(movement.state, hold.amount_nano, movement.charged_nano)
            exposed[index] = {"settle": actual, "void": 0, "expire": hold.amount_nano}[verb]
        else:
            continue
        keys = [claim.keys[0] for claim in now.claims]
        old = {key: now.balances.get(key, Balance()) for key in keys}
        new = {k: Balance(b.spent_nano + moves[0], b.held_nano + moves[1]) for k, b in old.items()}
        now = replace(now, balances=new)

        live = sum(hold.amount_nano for hold in holds if hold.state is HoldState.HELD)
        assert set(new.values()) <= {Balance(sum(hold.charged_nano for hold in holds), live)}
        for claim in now.enforcing():
            assert now.spent(claim) + now.held(claim) == sum(exposed)
            assert sum(exposed) <= cap(claim, claim.budget.hard_cap_ppm)


def with_balances(case: Case, change: Callable[[Balance], Balance]) -> Case:
    return replace(case, balances={key: change(one) for key, one in case.balances.items()})


def with_budgets(case: Case, **changes: object) -> Case:
    changed = [replace(one, budget=replace(one.budget, **changes)) for one in case.claims]
    return replace(case, claims=tuple(changed))


def with_tokens(case: Case, more: int) -> Granted | Refused:
    verdict = verdict_of(case)
    if isinstance(verdict, Refused):
        return verdict
    tokens = verdict.tokens + more
    return replace(verdict, tokens=tokens, amount_nano=verdict.candidate.amount_nano(tokens))


MUTANTS: dict[str, tuple[Rule, Callable[[Case], Granted | Refused]]] = {
    "ignores holds": (
        check_hard_caps,
        lambda case: verdict_of(with_balances(case, lambda one: Balance(one.spent_nano))),
    ),
    "counts what is held at the soft cap": (
        check_soft_cap,
        lambda case: verdict_of(
            with_balances(case, lambda one: Balance(one.spent_nano + one.held_nano))
        ),
    ),
    "reads one bucket of a rolling window": (
        check_hard_caps,
        lambda case: verdict_of(
            replace(case, balances={k: v for k, v in case.balances.items() if k.period == "now"})
        ),
    ),
    "asks the first budget only": (
        check_hard_caps,
        lambda case: verdict_of(replace(case, claims=case.claims[:1])),
    ),
    "lets shadows bind": (
        check_refusal_is_true,
        lambda case: verdict_of(with_budgets(case, mode=Mode.ENFORCE)),
    ),
    "never fits": (check_model_agrees, lambda case: verdict_of(with_budgets(case, fit=False))),
    "always fits": (check_floors, lambda case: verdict_of(with_budgets(case, fit=True))),
    "ignores the chains": (
        check_model_agrees,
        lambda case: verdict_of(with_budgets(case, auto_downgrade=())),
    ),
    "grants one token more": (check_hard_caps, lambda case: with_tokens(case, 1)),
    "grants one token less": (check_largest, lambda case: with_tokens(case, -1)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_rules_notice_a_decision_that(mutant: str) -> None:
    rule, broken = MUTANTS[mutant]

    def is_noticed(case: Case) -> bool:
        try:
            rule(case, broken(case))
        except AssertionError:
            return True
        return False

    search = settings(max_examples=2000, phases=[Phase.generate], database=None, derandomize=True)
    case = find(cases(), is_noticed, settings=search)

    rule(case, verdict_of(case))
