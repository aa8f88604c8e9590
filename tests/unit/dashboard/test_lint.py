"""The dashboard's checks: the real one passes, and each seeded mistake is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spendgate.cli import main
from spendgate.dashboard.document import dashboard_document, document_text
from spendgate.dashboard.lint import problems

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def document() -> dict[str, Any]:
    return json.loads(document_text(dashboard_document()))


def _widget(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(
        item["widget"]
        for page in document["pages"]
        for item in page["layout"]
        if item["widget"]["name"] == name
    )


def _dataset(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in document["datasets"] if one["name"] == name)


def test_the_committed_file_is_what_is_built_and_has_no_problem(document: dict[str, Any]) -> None:
    committed = (ROOT / "resources" / "spend.lvdash.json").read_text("utf-8")

    assert json.loads(committed) == document
    assert problems(document) == []


def test_every_page_of_the_plan_is_there(document: dict[str, Any]) -> None:
    titles = [page["displayName"] for page in document["pages"]]

    assert titles == ["Now", "Spend", "Budgets", "Quality of the ledger", "Savings", "Filters"]


def _unknown_dataset(document: dict[str, Any]) -> None:
    _widget(document, "burn")["queries"][0]["query"]["datasetName"] = "nowhere"


def _unknown_field(document: dict[str, Any]) -> None:
    _widget(document, "burn")["spec"]["encodings"]["value"]["fieldName"] = "sum(burn)"


def _old_version(document: dict[str, Any]) -> None:
    _widget(document, "burn")["spec"]["version"] = 3


def _unknown_kind(document: dict[str, Any]) -> None:
    _widget(document, "burn")["spec"]["widgetType"] = "gauge"


def _no_title(document: dict[str, Any]) -> None:
    del _widget(document, "burn")["spec"]["frame"]["title"]


def _no_query(document: dict[str, Any]) -> None:
    _widget(document, "burn")["queries"] = []


def _strange_expression(document: dict[str, Any]) -> None:
    fields = _widget(document, "burn")["queries"][0]["query"]["fields"]
    fields[0]["expression"] = "percentile(`cost_usd`, 0.5)"


def _undeclared_parameter(document: dict[str, Any]) -> None:
    del _dataset(document, "spend")["parameters"]


def _idle_parameter(document: dict[str, Any]) -> None:
    _dataset(document, "budgets_now")["parameters"] = _dataset(document, "spend")["parameters"]


def _joined_lines(document: dict[str, Any]) -> None:
    lines = _dataset(document, "spend")["queryLines"]
    lines[4] = lines[4].rstrip()


def _empty_dataset(document: dict[str, Any]) -> None:
    _dataset(document, "spend")["queryLines"] = []


def _two_datasets(document: dict[str, Any]) -> None:
    document["datasets"].append(_dataset(document, "spend"))


def _two_widgets(document: dict[str, Any]) -> None:
    _widget(document, "burn")["name"] = "spend_today"


def _odd_name(document: dict[str, Any]) -> None:
    _widget(document, "burn")["name"] = "burn rate"


def _overlap(document: dict[str, Any]) -> None:
    document["pages"][0]["layout"][1]["position"]["x"] = 2


def _short_row(document: dict[str, Any]) -> None:
    document["pages"][0]["layout"][0]["position"]["width"] = 2


def _outside(document: dict[str, Any]) -> None:
    document["pages"][0]["layout"][0]["position"]["x"] = 10


def _empty_rows(document: dict[str, Any]) -> None:
    for item in document["pages"][1]["layout"][-1:]:
        item["position"]["y"] += 2


def _old_grid(document: dict[str, Any]) -> None:
    del document["pages"][0]["layoutVersion"]


def _odd_page(document: dict[str, Any]) -> None:
    document["pages"][0]["pageType"] = "CANVAS"


def _text_with_spec(document: dict[str, Any]) -> None:
    _widget(document, "quality_intro")["spec"] = {}


def _filter_without_query(document: dict[str, Any]) -> None:
    _widget(document, "filter_org_id")["spec"]["encodings"]["fields"][0]["queryName"] = "other"


def _filter_of_another_field(document: dict[str, Any]) -> None:
    _widget(document, "filter_org_id")["spec"]["encodings"]["fields"][0]["fieldName"] = "other"


def _filter_of_another_parameter(document: dict[str, Any]) -> None:
    queries = _widget(document, "filter_dates")["queries"]
    queries[0]["query"]["parameters"] = [{"name": "dates", "keyword": "dates"}]


def _idle_field(document: dict[str, Any]) -> None:
    fields = _widget(document, "burn")["queries"][0]["query"]["fields"]
    fields.append({"name": "day", "expression": "`day`"})


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (_unknown_dataset, "now.burn: main_query asks for the dataset nowhere"),
        (_unknown_field, "the encoding names the field sum(burn)"),
        (_old_version, "now.burn: counter has version 2, not 3"),
        (_unknown_kind, "the widgetType 'gauge' is unknown"),
        (_no_title, "now.burn: it has no title"),
        (_no_query, "now.burn: it has no query"),
        (_strange_expression, "percentile(`cost_usd`, 0.5) is no column, sum"),
        (_undeclared_parameter, "dataset spend: the parameter period isn't declared"),
        (_idle_parameter, "dataset budgets_now: the parameter period is declared and never used"),
        (_joined_lines, "dataset spend: lines are joined as they are"),
        (_empty_dataset, "dataset spend: it has no query"),
        (_two_datasets, "dataset spend: two datasets have this name"),
        (_two_widgets, "spend_today: two pages or widgets have this name"),
        (_odd_name, "'burn rate': a name has letters"),
        (_overlap, "now.burn: it lies over spend_today"),
        (_short_row, "now: row 0 fills 11 of 12 columns"),
        (_outside, "now.spend_today: it doesn't lie within the 12 columns"),
        (_empty_rows, "spend: the rows from 17 to 18 are empty"),
        (_old_grid, "now: without layoutVersion GRID_V1"),
        (_odd_page, "now: the pageType is unknown"),
        (_text_with_spec, "quality.quality_intro: a text has no spec"),
        (_filter_without_query, "the filter names the query other"),
        (_filter_of_another_field, "the filter names the field other"),
        (_filter_of_another_parameter, "sets the parameter dates, which budget_alerts hasn't"),
        (_idle_field, "now.burn: the field day is asked for and never shown"),
    ],
)
def test_a_seeded_mistake_is_found(
    document: dict[str, Any], seed: Callable[[dict[str, Any]], None], expected: str
) -> None:
    seed(document)

    assert any(expected in line for line in problems(document)), problems(document)


def test_a_column_that_a_dataset_does_not_return_is_found(document: dict[str, Any]) -> None:
    found = problems(document, {"budgets_now": ["used_ratio", "budget"]})

    assert "now.fullest: main_query asks for status, which budgets_now doesn't return" in found


def test_a_document_of_other_json_is_no_crash() -> None:
    assert problems({"datasets": 3, "pages": [{"layout": [{"widget": []}]}]}) != []


def test_other_json_is_no_dashboard_without_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = tmp_path / "budget.json"
    budget.write_text('{"id": "bots", "scope": {"agent": "*"}}')

    codes = [_checked(budget), _checked(ROOT / "resources" / "spend.lvdash.json")]

    assert codes == [1, 0]
    said = capsys.readouterr().out
    assert "it has no datasets\nit has no pages\n" in said
    assert "no problem found" in said


def _checked(file: Path) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", "check", str(file)])
    return ended.value.code
