"""docs/proof.md names tests that there are, and each fault scenario has one of its own name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+)(…?)`")
ROWS = dict(re.findall(r"^\| (\d+) \| (.*)$", DOCUMENT, flags=re.MULTILINE))
TESTS = {
    node.name
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}
SCENARIOS = range(1, 43)


def test_all_scenarios_have_a_row() -> None:
    assert list(map(int, ROWS)) == list(SCENARIOS)


@pytest.mark.parametrize("number", SCENARIOS)
def test_each_scenario_has_a_test_of_its_name_which_its_row_names(number: int) -> None:
    begin = f"test_scenario_{number:02}_"

    assert any(name.startswith(begin) for name in TESTS)
    assert any(name.startswith(begin) for name, _ in NAMED.findall(ROWS[str(number)]))


def test_every_test_that_is_named_is_there() -> None:
    missing = [
        name
        for name, rest in NAMED.findall(DOCUMENT)
        if name not in TESTS and not (rest and any(one.startswith(name) for one in TESTS))
    ]

    assert missing == []
