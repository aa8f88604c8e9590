"""The Delta tables as Spark SQL writes them: schemas, quoted names, and rows in column order."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - what every Spark programmer calls it

from spendgate.domain.table import Column, Table


def schema_text(table: Table) -> str:
    """Return a table's columns as DDL, with NOT NULL and comments; also a schema for frames."""
    return ", ".join(column_text(column) for column in table.columns)


def conformed(frame: DataFrame, table: Table) -> DataFrame:
    """Return a table's columns in order, each cast to its type."""
    return frame.select(*(F.col(c.name).cast(c.type).alias(c.name) for c in table.columns))


def quoted_name(name: str) -> str:
    """Quote one part of a name for SQL."""
    return "`" + name.replace("`", "``") + "`"


def quoted_text(text: str) -> str:
    """Quote text for SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def column_text(column: Column) -> str:
    """Return one column as DDL."""
    required = " NOT NULL" if column.is_required else ""
    return (
        f"{quoted_name(column.name)} {column.type}{required} COMMENT {quoted_text(column.comment)}"
    )
