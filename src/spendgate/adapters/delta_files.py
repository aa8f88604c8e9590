"""The files of a Delta table, as its log describes them."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable


@dataclass(frozen=True, slots=True)
class FileSpan:
    """How many rows a file has, and from when until when they are."""

    rows: int
    first: datetime
    last: datetime


def file_spans(path: Path, column: str) -> list[FileSpan]:
    """Return the files of a table, by a column of times; files whose log doesn't say are left out.

    A log may round the times outwards, by a millisecond.
    """
    found = pa.table(DeltaTable(path).get_add_actions(flatten=True))
    names = ("num_records", f"min.{column}", f"max.{column}")
    if not set(names) <= set(found.column_names):
        return []
    rows = zip(*(found[name].to_pylist() for name in names), strict=True)
    return [FileSpan(*row) for row in rows if None not in row]


def row_count(path: Path) -> int | None:
    """Return how many rows a table has; None if its log doesn't say."""
    found = pa.table(DeltaTable(path).get_add_actions(flatten=True))
    if found.num_rows == 0:
        return 0
    if "num_records" not in found.column_names or found["num_records"].null_count:
        return None
    return sum(found["num_records"].to_pylist())
