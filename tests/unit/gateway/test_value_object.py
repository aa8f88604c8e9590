"""Objects that every call makes anew: as good as frozen ones to whoever reads or checks types."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from dataclasses import field, replace

import pytest

from spendgate.gateway.value_object import value_object


@value_object
class _Amount:
    nano: int
    currency: str = "USD"
    note: str = field(default="", compare=False)


def test_two_with_equal_fields_are_the_same_thing() -> None:
    one, other = _Amount(5), _Amount(5, note="seen twice")
    assert one == other
    assert len({one, other, _Amount(6)}) == 2


def test_another_is_made_by_replacing_fields() -> None:
    assert replace(_Amount(5), nano=6) == _Amount(6)


def test_a_field_that_there_is_not_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        _Amount(5).cents = 1  # type: ignore[attr-defined]  # which is what is tried


def test_to_type_checkers_a_field_is_read_only() -> None:
    amount = _Amount(5)
    # Were this allowed, the comment would be needless, which `make check` refuses in this file.
    amount.nano = 6  # pyright: ignore[reportAttributeAccessIssue]
    assert amount.nano == 6  # at run time nobody pays for what the type checker has refused
