"""SQL statements, kept in .sql files of the package under `-- name:` lines."""

import re
from functools import cache
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements(path: str) -> MappingProxyType[str, str]:
    """Return the named statements of one file, such as `sqlite/verbs.sql`."""
    parts = _NAME.split(sql_text(path))
    return MappingProxyType(
        {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    )


def sql_text(path: str) -> str:
    """Return the text of one .sql file of the package."""
    return resources.files("spendgate.sql").joinpath(path).read_text("utf-8")
