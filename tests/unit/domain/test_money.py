"""Money: read exactly, written with nine decimals, rounded up once."""

from decimal import Decimal

import pytest

from spendgate.domain.money import (
    NANO_MAX,
    MoneyError,
    format_usd,
    nano_from_pico,
    parse_usd,
    to_decimal,
)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("12.50", 12_500_000_000),
        ("0.000000001", 1),
        ("-0.25", -250_000_000),
        ("1e-9", 1),
        ("0e-99999999", 0),
        (" 5 ", 5_000_000_000),
        (7, 7_000_000_000),
        (Decimal("1E+3"), 1_000_000_000_000),
        ("9223372036.854775807", NANO_MAX),
        ("-9223372036.854775807", -NANO_MAX),
        ("0.10000000000000000000000000000000000000000", 100_000_000),
    ],
)
def test_dollars_are_read_into_nano_usd(text: str | int | Decimal, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a money amount"),
        ("ten", "not a money amount"),
        ("1,50", "not a money amount"),
        ("\ud800", "not a money amount"),
        ("nan", "not a finite amount"),
        (Decimal("sNaN"), "not a finite amount"),
        ("-Infinity", "not a finite amount"),
        ("0.0000000001", "more than nine decimals"),
        ("1.0000000000000000000000000000000001", "more than nine decimals"),
        ("1e-2000000", "more than nine decimals"),
        ("9223372036.854775808", "more than a ledger can hold"),
        ("9223372036.8547758070000000000000000001", "more than a ledger can hold"),
        ("1e1000000", "more than a ledger can hold"),
        (True, "not true or false"),
    ],
)
def test_what_is_no_exact_amount_is_refused(text: str | int | Decimal, complaint: str) -> None:
    with pytest.raises(MoneyError, match=complaint):
        parse_usd(text)


def test_an_integer_too_long_to_be_written_is_refused() -> None:
    with pytest.raises(MoneyError, match="more than a ledger can hold"):
        parse_usd(10**5000)


def test_a_complaint_repeats_only_the_start_of_what_was_given() -> None:
    with pytest.raises(MoneyError) as caught:
        parse_usd("secret" * 100)

    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.000000000"),
        (1_230_000, "0.001230000"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
        (10**19, "10000000000.000000000"),
    ],
)
def test_amounts_are_written_with_nine_decimals(nano: int, text: str) -> None:
    assert format_usd(nano) == text
    assert to_decimal(nano) == Decimal(text)


def test_a_decimal_has_the_scale_of_the_money_columns() -> None:
    assert to_decimal(0).as_tuple().exponent == -9


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)])
def test_a_cost_is_rounded_up_to_the_nano(pico: int, nano: int) -> None:
    assert nano_from_pico(pico) == nano
