"""The tables' definition: names, keys and columns fit each other."""

import pytest

from spendgate.domain.table import Table
from spendgate.domain.table_list import ALL_TABLES, SINK_TABLES


@pytest.mark.parametrize("one", ALL_TABLES, ids=lambda one: one.name)
def test_a_key_names_columns_of_its_table_and_no_column_stands_twice(one: Table) -> None:
    assert set(one.key) <= set(one.column_names)
    assert len(set(one.column_names)) == len(one.columns)


def test_the_tables_have_names_of_their_own() -> None:
    assert len({one.name for one in ALL_TABLES}) == len(ALL_TABLES)
    assert set(SINK_TABLES) < set(ALL_TABLES)
