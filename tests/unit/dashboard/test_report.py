"""What the report is made of: an empty workspace, hostile names, tables of an earlier release."""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from tests.dashboard_tables import LONG, SCRIPT, fill_tables, realistic_rows, row_of

from spendgate.adapters.delta_snapshot import query_each
from spendgate.adapters.event_rows import arrow_schema
from spendgate.dashboard.datasets import bound_sql, default_period, load_datasets
from spendgate.dashboard.document import dashboard_document
from spendgate.dashboard.drawing import chart_of
from spendgate.dashboard.lint import problems
from spendgate.dashboard.report import report_html
from spendgate.domain.table_list import ALL_TABLES

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


def _data(html: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_an_empty_workspace_answers_every_dataset_with_the_columns_that_widgets_need(
    tmp_path: Path,
) -> None:
    queries = {
        name: bound_sql(one.sql, AT.date(), AT.date()) for name, one in load_datasets().items()
    }

    answers = query_each(tmp_path / "nothing", queries, ALL_TABLES)

    assert {name: one.error for name, one in answers.items() if one.error} == {}
    assert {name for name, one in answers.items() if one.rows} == {"freshness"}
    columns = {name: one.columns for name, one in answers.items()}
    assert problems(dashboard_document(), columns) == []


def test_one_hour_of_spend_is_a_bar_not_an_area_without_width() -> None:
    (widget,) = (
        item["widget"]
        for page in json.loads(json.dumps(dashboard_document()))["pages"]
        for item in page["layout"]
        if item["widget"]["name"] == "spend_hours"
    )

    chart = json.loads(json.dumps(chart_of(widget)))

    assert chart["mark"]["type"] == "bar"
    assert chart["encoding"]["x"]["timeUnit"] == "utcyearmonthdatehours"


def test_every_dataset_with_a_period_has_a_day_to_filter_by(tmp_path: Path) -> None:
    queries = {
        name: bound_sql(one.sql, AT.date(), AT.date()) for name, one in load_datasets().items()
    }

    answers = query_each(tmp_path, queries, ALL_TABLES)

    dated = {name for name, one in load_datasets().items() if one.parameters}
    assert dated == {name for name, one in answers.items() if "day" in one.columns} - {
        "recent_spend"
    }


def test_every_dataset_is_bounded() -> None:
    unbounded = [
        name
        for name, one in load_datasets().items()
        if not re.search(r"^(ORDER BY at|LIMIT \d+|  \(SELECT COUNT.*\n?)", one.sql, re.MULTILINE)
    ]

    assert unbounded == []


def test_no_name_of_a_caller_can_end_the_script_or_swell_the_file(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fill_tables(tmp_path, realistic_rows(now))

    html = report_html(dashboard_document(), tmp_path, now)

    assert SCRIPT not in html
    rows = _data(html)["datasets"]["spend"]["rows"]
    assert {SCRIPT, LONG[:80]} <= {row["agent_id"] for row in rows}
    assert LONG not in html


def test_100000_sessions_and_agents_make_a_bounded_report(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fill_tables(tmp_path, {"spend_events": [], "spend_hourly": []})
    count = 100_000
    events = realistic_rows(now)["spend_events"][0]
    hourly = realistic_rows(now)["spend_hourly"][0]
    _multiply(tmp_path / "spend_events", events, "session_id", count)
    _multiply(tmp_path / "spend_hourly", hourly, "agent_id", count)

    data = _data(report_html(dashboard_document(), tmp_path, now))

    sizes = {name: len(one["rows"]) for name, one in data["datasets"].items()}
    assert sizes["top_sessions"] == 100
    assert 51 <= sizes["spend"] <= 60
    total = sum(float(row["cost_usd"]) for row in data["datasets"]["spend"]["rows"])
    assert total == pytest.approx(count * float(hourly["cost_usd"]))


def _multiply(folder: Path, row: dict[str, Any], column: str, count: int) -> None:
    """Append one row many times, each with another name in a column."""
    table = next(table for table in ALL_TABLES if table.name == folder.name)
    schema = arrow_schema(table)
    one = pa.Table.from_pylist([row_of(table, **row)], schema=schema)
    many = one.take(pa.array([0] * count))
    names = pa.array([f"n{i}" for i in range(count)])
    many = many.set_column(schema.get_field_index(column), schema.field(column), names)
    write_deltalake(folder, many, mode="append")


def test_a_table_of_an_earlier_release_shows_its_error_and_the_rest_is_drawn(
    tmp_path: Path,
) -> None:
    write_deltalake(tmp_path / "decisions", pa.table({"decision_id": ["d1"]}))

    datasets = _data(report_html(dashboard_document(), tmp_path, AT))["datasets"]

    assert "No field named decision" in datasets["refusals"]["error"]
    assert datasets["spend"] == {"rows": [], "error": None}


def test_every_chart_is_valid_vega_lite() -> None:
    document = json.loads(json.dumps(dashboard_document()))
    widgets = [item["widget"] for page in document["pages"] for item in page["layout"]]
    charts = {one["name"]: drawn for one in widgets if (drawn := chart_of(one)) is not None}

    assert {"fullest", "spend_hours", "nearest_forecast", "history"} <= charts.keys()
    for chart in charts.values():
        alt.Chart.from_dict(dict(chart))  # raises if it isn't


def test_the_period_reaches_the_queries_as_dates() -> None:
    sql = bound_sql("SELECT ':period.min' AS x -- :period.max\nWHERE a >= :period.min", *_march())

    assert sql.endswith("WHERE a >= DATE '2026-03-01'")
    assert default_period(date(2026, 3, 31)) == _march()


def _march() -> tuple[date, date]:
    return date(2026, 3, 1), date(2026, 3, 31)
