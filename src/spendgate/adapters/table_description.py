"""`DESCRIBE TABLE name` and `SHOW TABLES` over the Delta tables of a folder.

Types and comments are those of our own definitions; a column that these don't have, such as a
view's, has the query engine's type.
"""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import re
from pathlib import Path

from spendgate.adapters.delta_query import DAILY, SCHEMA_NAME, query_tables, table_names
from spendgate.domain.table import SPEND_HOURLY
from spendgate.domain.table_list import ALL_TABLES

_SHOW = re.compile(r"\s*show\s+tables\s*;?\s*", re.IGNORECASE)
_DESCRIBE = re.compile(
    rf"\s*desc(?:ribe)?\s+(?:table\s+)?(?:{SCHEMA_NAME}\.)?(?P<quote>[\"`]?)(?P<name>\w+)(?P=quote)"
    r"\s*;?\s*",
    re.IGNORECASE,
)
_TABLES = {table.name: table for table in ALL_TABLES}
_DAILY_COMMENT = "Spend by day in UTC, a view of spend_hourly"


def described(folder: Path, sql: str) -> list[dict[str, object]] | None:
    """Answer a statement that asks which tables or columns there are; None if it is another.

    Raises:
        InvalidRequestError: if there is no such table.
    """
    if _SHOW.fullmatch(sql):
        return _tables(folder)
    asked = _DESCRIBE.fullmatch(sql)
    return None if asked is None else _columns(folder, asked["name"].lower())


def _tables(folder: Path) -> list[dict[str, object]]:
    comments = {name: table.comment for name, table in _TABLES.items()} | {DAILY: _DAILY_COMMENT}
    names = table_names(folder)
    if SPEND_HOURLY.name in names:
        names = sorted([*names, DAILY])
    return [{"table": name, "comment": comments.get(name)} for name in names]


def _columns(folder: Path, name: str) -> list[dict[str, object]]:
    schema = query_tables(folder, f'SELECT * FROM "{name}" LIMIT 0').schema  # noqa: S608 - \w+
    table = _TABLES.get(name)
    known = {} if table is None else {column.name: column for column in table.columns}
    rows: list[dict[str, object]] = []
    for field in schema:
        column = known.get(field.name)
        kind, comment = (str(field.type), None) if column is None else (column.type, column.comment)
        rows.append({"column": field.name, "type": kind, "comment": comment})
    return rows
