"""The tables' definition: names, keys and columns fit each other."""

import pytest

from spendgate.domain import table
from spendgate.domain.table import Table

TABLES = [one for one in vars(table).values() if isinstance(one, Table)]


@pytest.mark.parametrize("one", TABLES, ids=lambda one: one.name)
def test_a_key_names_columns_of_its_table_and_no_column_stands_twice(one: Table) -> None:
    assert set(one.key) <= set(one.column_names)
    assert len(set(one.column_names)) == len(one.columns)


def test_the_tables_have_names_of_their_own() -> None:
    assert len(TABLES) >= 5
    assert len({one.name for one in TABLES}) == len(TABLES)
