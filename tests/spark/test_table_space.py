"""A table that is made from others and has the shape of an earlier version is made anew."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from spendgate.domain.table import WINDOW_SPEND
from spendgate.jobs.table_space import TableSpace

pytestmark = pytest.mark.spark


def test_a_homes_table_of_another_shape_is_made_anew(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / WINDOW_SPEND.name
    write_deltalake(folder, pa.table({"budget_id": ["b"], "batch_id": [1]}))
    space = TableSpace(tmp_path)

    assert space.renew(spark, WINDOW_SPEND)

    made = DeltaTable(folder)
    assert [(f.name, f.metadata["comment"], not f.nullable) for f in made.schema().fields] == [
        (column.name, column.comment, column.is_required) for column in WINDOW_SPEND.columns
    ]
    assert made.to_pyarrow_table().num_rows == 0
    assert not space.renew(spark, WINDOW_SPEND)
