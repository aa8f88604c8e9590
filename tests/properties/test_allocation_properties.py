"""However a charge is divided, its parts add up to it."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.allocation import allocate

amounts = st.integers(-(10**18), 10**18)
weights = st.lists(st.integers(0, 10**19), min_size=1, max_size=8).filter(any)


@given(amounts, weights)
def test_the_parts_add_up_and_each_is_its_share_but_for_less_than_one(
    amount: int, parts: list[int]
) -> None:
    divided = allocate(amount, parts)

    assert sum(divided) == amount
    for part, weight in zip(divided, parts, strict=True):
        assert abs(part - Fraction(amount * weight, sum(parts))) < 1
        assert weight or part == 0


@given(amounts, weights)
def test_a_credit_is_divided_as_its_charge_is(amount: int, parts: list[int]) -> None:
    assert allocate(-amount, parts) == tuple(-one for one in allocate(amount, parts))


@pytest.mark.parametrize("wrong", [[], [0, 0], [1, -1]])
def test_without_a_positive_weight_nothing_can_be_divided(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match="weight"):
        allocate(10, wrong)
