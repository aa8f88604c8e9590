"""The dashboard as one JSON document: datasets, pages in rows of twelve columns, global filters."""

import json
from collections.abc import Mapping, Sequence

from spendgate.dashboard.datasets import PERIOD, PERIOD_DAYS, Dataset, load_datasets
from spendgate.dashboard.pages import FILTERED_COLUMNS, PAGES
from spendgate.dashboard.widgets import Json, Row, choice, period_picker

COLUMNS = 12
FILTER_HEIGHT = 2


def dashboard_document() -> Json:
    """Build the document from the datasets and pages of this package."""
    datasets = load_datasets()
    pages: list[Json] = [
        {
            "name": page.name,
            "displayName": page.title,
            "pageType": "PAGE_TYPE_CANVAS",
            "layoutVersion": "GRID_V1",
            "layout": _layout(page.rows),
        }
        for page in PAGES
    ]
    return {
        "datasets": [_dataset(dataset) for dataset in datasets.values()],
        "pages": [*pages, _filters(datasets)],
        "uiSettings": {"theme": {"widgetHeaderAlignment": "ALIGNMENT_UNSPECIFIED"}},
    }


def document_text(document: Mapping[str, object]) -> str:
    """Return the text of the file."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _dataset(dataset: Dataset) -> Json:
    lines = [f"{line}\n" for line in dataset.sql.splitlines()]
    described: Json = {
        "name": dataset.name,
        "displayName": dataset.title,
        "queryLines": lines,
    }
    if PERIOD in dataset.parameters:
        described["parameters"] = [_period()]
    return described


def _period() -> Json:
    ends = {"min": {"value": f"now-{PERIOD_DAYS}d/d"}, "max": {"value": "now/d"}}
    return {
        "displayName": "Dates",
        "keyword": PERIOD,
        "dataType": "DATE",
        "complexType": "RANGE",
        "defaultSelection": {"range": {"dataType": "DATE", **ends}},
    }


def _layout(rows: Sequence[Row]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    for row in rows:
        x = 0
        for widget, width in row.widgets:
            position = {"x": x, "y": y, "width": width, "height": row.height}
            placed.append({"widget": widget, "position": position})
            x += width
        y += row.height
    return placed


def _filters(datasets: Mapping[str, Dataset]) -> Json:
    dated = [name for name, dataset in datasets.items() if PERIOD in dataset.parameters]
    widgets = [period_picker("filter_dates", "Dates", PERIOD, dated)]
    for column, (title, names) in FILTERED_COLUMNS.items():
        widgets.append(choice(f"filter_{column}", title, column, names))
    rows = [Row(FILTER_HEIGHT, ((widget, COLUMNS),)) for widget in widgets]
    return {
        "name": "filters",
        "displayName": "Filters",
        "pageType": "PAGE_TYPE_GLOBAL_FILTERS",
        "layoutVersion": "GRID_V1",
        "layout": _layout(rows),
    }
