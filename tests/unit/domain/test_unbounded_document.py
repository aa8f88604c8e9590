"""docs/unbounded.md lists the fields that are refused, all of them and no others."""

import re
from pathlib import Path

from spendgate.domain.unbounded import _CLIENT_TOOLS, _RULE_OF, _TEMPLATE_NAMES, NESTING_MAX

TEXT = (Path(__file__).parents[3] / "docs/unbounded.md").read_text("utf-8")
FIELDS, _, INSIDE = TEXT.partition("## Inside a field")


def rows() -> list[tuple[list[str], str]]:
    """Return the names of each row of the first table, and the rest of the row."""
    cells = [line.split("|") for line in FIELDS.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", names), "|".join(rest)) for _, names, *rest in cells]


def test_every_field_that_is_refused_is_in_the_document_once_and_no_other() -> None:
    names = [name for found, _ in rows() for name in found]

    assert sorted(names) == sorted(_RULE_OF)


def test_fields_of_one_row_are_refused_for_one_reason() -> None:
    for names, _ in rows():
        assert len({_RULE_OF[name].reason for name in names}) == 1, names


def test_a_row_names_the_values_that_pass() -> None:
    for names, rest in rows():
        for value in _RULE_OF[names[0]].harmless:
            if value not in (None, False, []):
                written = str(value).replace("'", '"')
                assert re.search(rf"\b{written}\b", rest) or f"`{written}`" in rest, (names, value)


def test_what_is_refused_inside_of_fields_is_in_the_document() -> None:
    assert f"deeper than {NESTING_MAX} levels" in INSIDE
    for name in (*_CLIENT_TOOLS, *_TEMPLATE_NAMES, "reasoning.mode", "chat_template_kwargs"):
        assert f"`{name}`" in INSIDE, name
