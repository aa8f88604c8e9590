"""What holds for every amount of money, compared with exact fractions."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.money import (
    NANO_MAX,
    NANO_PER_USD,
    MoneyError,
    format_usd,
    nano_from_pico,
    parse_usd,
    to_decimal,
)

amounts = st.integers(-NANO_MAX, NANO_MAX)
digits = st.text("0123456789", min_size=1, max_size=45)
decimal_texts = st.builds(
    lambda sign, whole, part, power: f"{sign}{whole}.{part}{power}",
    st.sampled_from(("", "-", "+")),
    digits,
    digits,
    st.just("") | st.integers(-60, 20).map(lambda power: f"e{power}"),
)


@given(amounts)
def test_an_amount_survives_being_written_and_read(nano: int) -> None:
    assert parse_usd(format_usd(nano)) == nano
    assert parse_usd(to_decimal(nano)) == nano


@given(decimal_texts)
def test_a_text_is_read_exactly_or_not_at_all(text: str) -> None:
    exact = Fraction(text) * NANO_PER_USD

    if exact.denominator == 1 and abs(exact) <= NANO_MAX:
        assert parse_usd(text) == exact
    else:
        with pytest.raises(MoneyError):
            parse_usd(text)


@given(decimal_texts)
def test_what_was_spent_is_rounded_up_never_down(text: str) -> None:
    exact = Fraction(text) * NANO_PER_USD

    if abs(exact) <= NANO_MAX:
        rounded = parse_usd(text, rounds_up=True)
        assert abs(rounded) == math.ceil(abs(exact))
        assert (rounded < 0) == (exact < 0)
    else:
        with pytest.raises(MoneyError):
            parse_usd(text, rounds_up=True)


@given(st.text() | st.integers() | st.decimals())
def test_anything_else_is_a_money_error(value: str | int | Decimal) -> None:
    try:
        nano = parse_usd(value)
    except MoneyError:
        return

    assert Fraction(nano, NANO_PER_USD) == Fraction(Decimal(value))


@given(amounts, st.integers(1, 50))
def test_a_callers_decimal_context_changes_nothing(nano: int, precision: int) -> None:
    with localcontext(prec=precision):
        assert parse_usd(format_usd(nano)) == nano
        assert to_decimal(nano).as_tuple().exponent == -9
        assert Fraction(to_decimal(nano)) == Fraction(nano, NANO_PER_USD)


@given(amounts, amounts)
def test_written_amounts_add_up_like_the_amounts(one: int, other: int) -> None:
    assert Fraction(format_usd(one)) + Fraction(format_usd(other)) == Fraction(
        one + other, NANO_PER_USD
    )


@given(st.integers(-(10**30), 10**30))
def test_a_sum_of_pico_is_rounded_up_by_less_than_a_nano(pico: int) -> None:
    assert nano_from_pico(pico) == math.ceil(Fraction(pico, 1000))
