"""Runs a notebook of Databricks' source format here, cell by cell, with stand-ins for dbutils."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession

HEADER = "# Databricks notebook source"
_CELL = re.compile(r"^# COMMAND -+$", re.MULTILINE)


class Widgets:
    """`dbutils.widgets`: what a person has filled in wins over a widget's default."""

    def __init__(self, filled: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        self._filled = filled

    def text(self, name: str, default: str, _label: str = "") -> None:
        self._values[name] = self._filled.get(name, default)

    def get(self, name: str) -> str:
        return self._values[name]

    def all_known(self) -> bool:
        """Say whether everything that was filled in is a widget of the notebook."""
        return self._filled.keys() <= self._values.keys()


class Secrets:
    """`dbutils.secrets`, with one secret."""

    def get(self, scope: str, key: str) -> str:
        assert scope
        assert key
        return "a-key"


@dataclass
class Dbutils:
    """What Databricks calls dbutils."""

    widgets: Widgets
    secrets: Secrets = field(default_factory=Secrets)


@dataclass
class Shown:
    """What a notebook displayed and printed."""

    tables: list[list[Row]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def display(self, frame: DataFrame) -> None:
        self.tables.append(frame.limit(1000).collect())

    def print(self, *parts: object) -> None:
        self.lines.append(" ".join(map(str, parts)))


def run_notebook(path: Path, spark: SparkSession, filled: Mapping[str, str]) -> Shown:
    """Run every cell from top to bottom; a cell that fails fails the test."""
    text = path.read_text("utf-8")
    assert text.startswith(HEADER), path
    shown, dbutils = Shown(), Dbutils(Widgets(filled))
    given: dict[str, Any] = {
        "spark": spark, "dbutils": dbutils, "display": shown.display, "print": shown.print,
    }  # fmt: skip
    for number, cell in enumerate(_CELL.split(text.removeprefix(HEADER)), start=1):
        code = cell.strip()
        if code.startswith("# MAGIC %md"):
            continue
        assert "# MAGIC" not in code, f"{path.name}: cell {number} has a magic that isn't run here"
        exec(compile(code, f"{path.name}:cell {number}", "exec"), given)
    assert dbutils.widgets.all_known()
    return shown
