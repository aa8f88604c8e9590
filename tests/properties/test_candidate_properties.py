"""What holds for every price of a call: more tokens cost no less, and money buys them back."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.decision import Candidate

candidates = st.builds(
    Candidate,
    model=st.just("m"),
    input_pico=st.integers(0, 10**9),
    output_pico_per_token=st.integers(0, 10**8) | st.integers(0, 2000),
    tokens_wanted=st.integers(0, 80),
    expected_nano=st.just(0),
    price_version=st.just("v1"),
)
tokens = st.integers(0, 10**6)


@given(candidates, tokens)
def test_a_call_costs_its_rates_rounded_up_to_the_nano(one: Candidate, count: int) -> None:
    pico = one.input_pico + one.output_pico_per_token * count

    assert one.amount_nano(count) == math.ceil(Fraction(pico, 1000))


@given(candidates, tokens, tokens)
def test_a_call_never_costs_less_with_more_tokens(one: Candidate, few: int, more: int) -> None:
    assert one.amount_nano(few) <= one.amount_nano(few + more)


@given(candidates, st.integers(-(10**6), 10**7) | st.integers(-5, 5))
def test_the_tokens_within_an_amount_are_the_most_it_affords(one: Candidate, nano: int) -> None:
    affordable = [n for n in range(one.tokens_wanted + 1) if one.amount_nano(n) <= nano]

    assert one.tokens_within(nano) == max(affordable, default=-1)


@given(candidates, st.integers(0, 80))
def test_the_exact_amount_affords_its_tokens_and_a_nano_less_does_not(
    one: Candidate, count: int
) -> None:
    count = min(count, one.tokens_wanted)
    amount = one.amount_nano(count)

    assert one.tokens_within(amount) >= count
    assert one.tokens_within(amount - 1) < count
