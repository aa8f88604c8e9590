"""Frames of few rows that this process has: a plan holds them as they are.

From a list, a classic session makes a scan of Python's rows: a job of its own per use, of unknown
size. From an Arrow table it makes a relation of constants, as a Connect session always does: joins
with it are planned by its size, and what an empty one leaves without rows is never planned at all.
"""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import re
from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from spendgate.adapters.event_rows import arrow_type

_COLUMN = re.compile(r"`?(\w+)`? (\w+(?:\([\d,]+\)|<\w+(?:\([\d,]+\))?>)?)")
"""A name and a type; neither NOT NULL nor a comment."""


def literal_frame(spark: SparkSession, rows: Sequence[Sequence[object]], schema: str) -> DataFrame:
    """Return rows as a frame; a row has its values in the order of the schema.

    Raises:
        ValueError: if the schema has more than names and types.
    """
    columns = [_column(text) for text in schema.split(", ")]
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    arrays = [pa.array(part, kind) for part, (_, kind) in zip(values, columns, strict=True)]
    names = [name for name, _ in columns]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, names=names), schema)  # type: ignore[call-overload] - an Arrow table


def _column(text: str) -> tuple[str, pa.DataType]:
    found = _COLUMN.fullmatch(text)
    if found is None:
        raise ValueError(f"a column has a name and a type, and this has not: {text}")
    return found[1], arrow_type(found[2])
