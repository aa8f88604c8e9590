"""The order of rows in the files of tables that are merged into.

A MERGE writes every file again that has a row it touches. The windows that money is spent from now
are the newest rows and a few old ones. In files that are as they come they are everywhere, so that
the whole table would be written again; in the order of their last event they are in its newest
files. So where a file has become large, the rows from its first event on are put in that order, in
files of a fixed number of rows. On a platform the tables are clustered instead, and a MERGE only
marks the rows that it replaces.
"""

from math import ceil

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.delta_files import file_spans
from spendgate.domain.table import BUDGET_STATE, WINDOW_SPEND, Table
from spendgate.jobs.spark_sink import time_literal
from spendgate.jobs.table_space import TableSpace

ROWS_PER_FILE = 25_000
_LARGE = 4
"""So many times the rows of a file before it is divided, so that this is seldom."""
_COLUMN = "last_event_at"


def is_ordered(space: TableSpace, table: Table) -> bool:
    """Say whether a table's files are in an order of their own, which OPTIMIZE would undo."""
    return space.folder is not None and table in (WINDOW_SPEND, BUDGET_STATE)


def put_in_order(
    spark: SparkSession, space: TableSpace, table: Table, rows_per_file: int = ROWS_PER_FILE
) -> int:
    """Divide a table's large files; return how many files its rows from there on are in then."""
    if space.folder is None or not is_ordered(space, table):
        return 0
    spans = file_spans(space.folder / table.name, _COLUMN)
    large = [one.first for one in spans if one.rows > _LARGE * rows_per_file]
    if not large:
        return 0
    start = min(large).replace(microsecond=0)
    rows = sum(one.rows for one in spans if one.last >= start)
    files = ceil(rows / rows_per_file)
    later = space.read(spark, table).where(F.col(_COLUMN) >= F.lit(start))
    ordered = later.repartitionByRange(files, _COLUMN)
    space.write("replace_later", table, ordered, since=time_literal(start))
    return files
