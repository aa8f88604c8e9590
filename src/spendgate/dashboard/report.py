"""The report: one HTML file with the dashboard, its data and all that draws it."""

# pyright: reportUnknownMemberType=false
# vl_convert's stub leaves some results open.

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from string import Template

import vl_convert

from spendgate.adapters.delta_snapshot import query_each
from spendgate.dashboard.datasets import PERIOD, bound_sql, default_period
from spendgate.dashboard.drawing import chart_of
from spendgate.dashboard.lint import FILTER_PAGE
from spendgate.domain.table_list import ALL_TABLES
from spendgate.gateway.json_object import JsonObject, json_list, json_object

_VEGA_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def report_html(
    document: JsonObject, folder: Path, at: datetime, period: tuple[date, date] | None = None
) -> str:
    """Return the report of a dashboard over the Delta tables of a folder.

    Args:
        document: the dashboard as JSON; it should have no problems.
        folder: where the tables are; what isn't there is drawn as empty.
        at: when it is drawn.
        period: first and last day; None for what the dashboard shows by itself.
    """
    first, last = period or default_period(at.date())
    datasets = [json_object(one) for one in json_list(document.get("datasets"))]
    drawn = {
        "drawn_at": f"{at:%Y-%m-%d %H:%M} UTC",
        "period": {"min": f"{first}", "max": f"{last}"},
        "datasets": _answers(datasets, folder, first, last),
        "pages": [_page(page) for page in _pages(document) if not _has_filters(page)],
        "filters": [
            one for page in _pages(document) if _has_filters(page) for one in _choices(page)
        ],
    }
    return _html(drawn)


def _answers(
    datasets: Sequence[JsonObject], folder: Path, first: date, last: date
) -> dict[str, JsonObject]:
    queries = {
        str(one.get("name")): "".join(map(str, json_list(one.get("queryLines"))))
        for one in datasets
    }
    bound = {name: bound_sql(sql, first, last) for name, sql in queries.items()}
    found = query_each(folder, bound, ALL_TABLES)
    return {name: {"rows": answer.rows, "error": answer.error} for name, answer in found.items()}


def _page(page: JsonObject) -> JsonObject:
    widgets = [_widget(json_object(item)) for item in json_list(page.get("layout"))]
    return {"name": page.get("name"), "title": page.get("displayName"), "widgets": widgets}


def _widget(item: JsonObject) -> JsonObject:
    widget = json_object(item.get("widget"))
    placed = {"name": widget.get("name"), "position": item.get("position")}
    if "multilineTextboxSpec" in widget:
        lines = json_list(json_object(widget["multilineTextboxSpec"]).get("lines"))
        return {**placed, "kind": "text", "text": "".join(map(str, lines))}
    spec = json_object(widget.get("spec"))
    frame = json_object(spec.get("frame"))
    queries = json_list(widget.get("queries"))
    query = json_object(json_object(queries[0] if queries else None).get("query"))
    return {
        **placed,
        "kind": spec.get("widgetType"),
        "title": frame.get("title"),
        "note": frame.get("description", ""),
        "dataset": query.get("datasetName"),
        "fields": query.get("fields"),
        "is_plain": query.get("disaggregated", False),
        "encodings": spec.get("encodings"),
        "chart": chart_of(widget),
    }


def _choices(page: JsonObject) -> list[JsonObject]:
    choices: list[JsonObject] = []
    for item in json_list(page.get("layout")):
        widget = json_object(json_object(item).get("widget"))
        spec = json_object(widget.get("spec"))
        fields = [
            json_object(one) for one in json_list(json_object(spec.get("encodings")).get("fields"))
        ]
        names = [
            json_object(json_object(one).get("query")).get("datasetName")
            for one in json_list(widget.get("queries"))
        ]
        choices.append(
            {
                "name": widget.get("name"),
                "title": json_object(spec.get("frame")).get("title"),
                "column": fields[0].get("fieldName") if fields else None,
                "datasets": names,
                "is_period": bool(fields) and fields[0].get("parameterName") == PERIOD,
            }
        )
    return choices


def _pages(document: JsonObject) -> list[JsonObject]:
    return [json_object(page) for page in json_list(document.get("pages"))]


def _has_filters(page: JsonObject) -> bool:
    return page.get("pageType") == FILTER_PAGE


def _html(drawn: Mapping[str, object]) -> str:
    static = resources.files("spendgate.dashboard").joinpath("static")
    page = Template(static.joinpath("report.html").read_text("utf-8"))
    return page.substitute(
        style=static.joinpath("report.css").read_text("utf-8"),
        vega=vl_convert.javascript_bundle(_VEGA_SNIPPET),
        script=static.joinpath("report.js").read_text("utf-8"),
        # Names in the data are whatever callers sent: nothing in it may end the script element.
        data=json.dumps(drawn, ensure_ascii=False).replace("<", "\\u003c"),
    )
