"""Read-only SQL over the Delta tables of a folder, by delta-rs and DataFusion, without Spark."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import math
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import cast

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from spendgate.adapters.table_ddl import view_query
from spendgate.domain.table import SPEND_HOURLY
from spendgate.errors import InvalidRequestError

SCHEMA_NAME = "spendgate"
DAILY = "spend_daily"
"""The view that every home has once its rollup is made."""

_COMMENT_OR_QUOTED = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | (\$\w*\$).*?\1""",
    re.DOTALL | re.VERBOSE,
)
_WRITING_WORDS = frozenset({"into", "insert", "update", "delete", "merge"})


def query_tables(folder: Path, sql: str) -> pa.Table:
    """Run one SELECT over every Delta table below a folder.

    Tables are known as `spend_events` and `spendgate.spend_events`.

    Raises:
        InvalidRequestError: if the text is no single SELECT, or the query engine refuses it; an
            unknown table's error names the tables there are.
    """
    _check_reads_only(sql)
    names = table_names(folder)
    try:
        builder = QueryBuilder()
        builder.execute(f"CREATE SCHEMA {SCHEMA_NAME}").read_all()
        for name in names:
            table = DeltaTable(folder / name)
            builder.register(name, table).register(f"{SCHEMA_NAME}.{name}", table)
        if SPEND_HOURLY.name in names:
            for view in (DAILY, f"{SCHEMA_NAME}.{DAILY}"):
                builder.execute(f"CREATE VIEW {view} AS {view_query(DAILY)}").read_all()
        answer = builder.execute(sql)
    except DeltaError as error:
        raise InvalidRequestError(_explained(str(error), names), "sql") from error
    try:
        return pa.table(answer.read_all())
    except Exception as error:  # what fails while it runs comes as a bare Exception
        raise InvalidRequestError(str(error), "sql") from error


def query_rows(folder: Path, sql: str) -> list[dict[str, object]]:
    """Run one SELECT as `query_tables` does, and return rows that JSON can carry."""
    return rows_as_json(query_tables(folder, sql))


def table_names(folder: Path) -> list[str]:
    """Return the names of the Delta tables below a folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if (path / "_delta_log").is_dir())


def rows_as_json(table: pa.Table) -> list[dict[str, object]]:
    """Return rows that JSON can carry: decimals as strings, instants as ISO 8601 in UTC."""
    rows = cast(list[dict[str, object]], table.to_pylist(maps_as_pydicts="strict"))
    return [{name: _as_json(value) for name, value in row.items()} for row in rows]


def _check_reads_only(sql: str) -> None:
    bare = _COMMENT_OR_QUOTED.sub(" '' ", sql).strip().rstrip("; \t\r\n")
    words = re.findall(r"\w+", bare.lower())
    if ";" in bare:
        raise InvalidRequestError("one statement at a time; leave out what follows the ;", "sql")
    if words[:1] not in (["select"], ["with"]) or _WRITING_WORDS.intersection(words):
        raise InvalidRequestError(
            "only a SELECT (or WITH … SELECT), DESCRIBE TABLE name and SHOW TABLES may be run "
            "here; the tables are written by jobs",
            "sql",
        )


def _explained(message: str, names: list[str]) -> str:
    missing = re.search(r"table '?(?:datafusion\.)?(?:public\.)?([^']+)'? not found", message)
    if missing is None:
        return message
    known = ", ".join(names) or "none yet: nothing was flushed or aggregated in this home"
    return f"there is no table {missing[1]}; the tables are: {known}"


def _as_json(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case dict():
            items = cast(dict[object, object], value).items()
            return {str(key): _as_json(one) for key, one in items}
        case list():
            return [_as_json(one) for one in cast(list[object], value)]
        case bytes():
            return value.hex()
        case _:
            return str(value)
