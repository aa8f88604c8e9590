"""The tables' DDL: one .sql file per table, the same for Databricks and for local Delta.

What only Databricks knows (keys, clustering, row tracking, column defaults) stands in lines that
begin with `-- databricks:`. There they are statements, everywhere else they are comments.
"""

import re
from collections.abc import Mapping
from string import Template

from spendgate.adapters.statements import sql_text, statements
from spendgate.domain.table import Table
from spendgate.domain.table_list import ALL_TABLES

CREATE = "CREATE TABLE IF NOT EXISTS"
_VIEWS = ("delta/views.sql", "delta/functions.sql")
_METRICS = "delta/metrics.sql"
_DAY = "DATE_FROM_UNIX_DATE(CAST(FLOOR(UNIX_SECONDS(hour) / 86400) AS INT))"
"""A day in UTC whatever the session's time zone; DataFusion knows no other zone anyway."""
_MARK = re.compile(r"-- databricks: ?")
_CHECK = "check_"


def create_statement(table: Table, target: str, *, is_unity: bool) -> str:
    """Return the CREATE TABLE of a table whose quoted name is `target`."""
    return _rendered(statements(_path(table))["create"], target, is_unity)


def check_statements(table: Table, target: str) -> Mapping[str, str]:
    """Return, by constraint name in lower case, what adds each CHECK to a table."""
    return {
        name.removeprefix(_CHECK): _rendered(text, target, is_unity=False)
        for name, text in statements(_path(table)).items()
        if name.startswith(_CHECK)
    }


def view_statements(names: Mapping[str, str]) -> Mapping[str, str]:
    """Return what makes the views and functions, by name, in order.

    Args:
        names: the quoted name of each table, `prefix` of the names made, and `temporary`.
    """
    found: dict[str, str] = {}
    for path in _VIEWS:
        for name, text in statements(path).items():
            found[name] = Template(text).substitute(names, day=_DAY)
    return found


def metric_view_statements(names: Mapping[str, str]) -> Mapping[str, str]:
    """Return what makes the metric views, by name; each is defined in a YAML file of its name.

    Args:
        names: the quoted name of each table, and `prefix` of the names made.
    """
    return {
        name: Template(text).substitute(
            names, yaml=Template(sql_text(f"delta/{name}.yml")).substitute(names).strip()
        )
        for name, text in statements(_METRICS).items()
    }


def view_query(name: str, path: str = "delta/views.sql") -> str:
    """Return the SELECT of a view, for engines over a folder whose tables have their own names."""
    select = statements(path)[name].partition("\nAS\n")[2]
    names = {table.name: table.name for table in ALL_TABLES}
    return Template(select).substitute(names, day="CAST(hour AS DATE)")


def _path(table: Table) -> str:
    return f"delta/tables/{table.name}.sql"


def _rendered(text: str, target: str, is_unity: bool) -> str:
    marked = _MARK.sub("", text) if is_unity else text
    return Template(marked).substitute(target=target)
