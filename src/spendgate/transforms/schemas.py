"""The Delta tables as Spark sees them: schemas, and the columns of a row in their order."""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - what every Spark programmer calls it
from pyspark.sql.types import StructType

from spendgate.domain.table import Table


def struct_type(table: Table) -> StructType:
    """Return a table's schema, with its comments."""
    empty = StructType()
    return reduce(
        lambda schema, column: schema.add(
            column.name, column.type, not column.is_required, {"comment": column.comment}
        ),
        table.columns,
        empty,
    )


def conformed(frame: DataFrame, table: Table) -> DataFrame:
    """Return a table's columns in order, each cast to its type."""
    return frame.select(*(_typed(column.name, column.type) for column in table.columns))


def _typed(name: str, type_name: str) -> Column:
    return F.col(name).cast(type_name).alias(name)
