"""The datasets: one SELECT each, which Databricks SQL, Spark and DataFusion all understand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources

from spendgate.adapters.statements import sql_text

FOLDER = "dashboard"
PERIOD = "period"
PERIOD_DAYS = 30
"""How far back the dashboard looks until somebody picks other dates."""

_TITLE = re.compile(r"^-- title: (.+)$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")
_PERIOD_PARTS = re.compile(rf":{PERIOD}\.(min|max)\b")


@dataclass(frozen=True, slots=True)
class Dataset:
    """One named query with its title."""

    name: str
    title: str
    sql: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters that the query uses, each once."""
        return tuple(dict.fromkeys(parameters_in(self.sql)))


def parameters_in(sql: str) -> list[str]:
    """Return the parameters named in a query, comments and texts left out."""
    bare = re.sub(r"--[^\n]*|'(?:[^']|'')*'", " ", sql)
    return _PARAMETER.findall(bare)


def load_datasets() -> Mapping[str, Dataset]:
    """Return every dataset of the package, by name."""
    folder = resources.files("spendgate.sql").joinpath(FOLDER)
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return {
        name.removesuffix(".sql"): _dataset(name.removesuffix(".sql"), sql_text(f"{FOLDER}/{name}"))
        for name in names
    }


def bound_sql(sql: str, first: date, last: date) -> str:
    """Return a query with its period's dates in place, for an engine without such parameters."""
    dates = {"min": first, "max": last}
    return _PERIOD_PARTS.sub(lambda found: f"DATE '{dates[found[1]]:%Y-%m-%d}'", sql)


def default_period(today: date) -> tuple[date, date]:
    """Return the first and the last day that the dashboard shows by itself."""
    return today - timedelta(days=PERIOD_DAYS), today


def _dataset(name: str, text: str) -> Dataset:
    found = _TITLE.search(text)
    title = found[1] if found else name.replace("_", " ")
    return Dataset(name, title, text.strip())
