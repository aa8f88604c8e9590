"""A store's schema as numbered files, applied in order, forward only."""

import re
from functools import cache
from importlib import resources
from types import MappingProxyType

from spendgate.adapters.statements import sql_text

_FILE = re.compile(r"(\d{4})_\w+\.sql")


@cache
def migrations(store: str) -> MappingProxyType[int, str]:
    """Return the texts of one store's migrations by their numbers; `sqlite` or `postgres`."""
    found: dict[int, str] = {}
    names = sorted(one.name for one in resources.files("spendgate.sql").joinpath(store).iterdir())
    for name in names:
        if match := _FILE.fullmatch(name):
            number = int(match[1])
            if number in found:
                raise AssertionError(f"two migrations of {store} have the number {number}")
            found[number] = sql_text(f"{store}/{name}")
    return MappingProxyType(found)
