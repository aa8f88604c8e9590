"""docs/sql.md: every query in it is run as it stands, and the metric view's expressions too."""

import re
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from spendgate.adapters.delta_snapshot import query_each
from spendgate.adapters.statements import sql_text, statements
from spendgate.domain.table_list import ALL_TABLES
from tests.dashboard_tables import fill_tables, realistic_rows

pytestmark = pytest.mark.spark
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "sql.md"
QUESTION = r"^### (\d+)\. [^\n]+\n(?:[^#`\n][^\n]*\n)*```sql\n(.*?)```"
_FLAGS = re.MULTILINE | re.DOTALL


def _questions() -> dict[str, str]:
    return dict(re.findall(QUESTION, DOCUMENT.read_text("utf-8"), _FLAGS))


@pytest.fixture(scope="module")
def tables(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    fill_tables(folder, realistic_rows(datetime.now(UTC)))
    for table in ALL_TABLES:
        path = str(folder / table.name)
        spark.read.format("delta").load(path).createOrReplaceTempView(table.name)
    return folder


def test_all_twenty_questions_have_answers_on_spark(spark: SparkSession, tables: Path) -> None:
    questions = _questions()

    assert list(questions) == [str(number) for number in range(1, 21)]
    empty = [number for number, sql in questions.items() if not spark.sql(sql).head(1)]
    assert empty == []


def test_all_twenty_questions_have_answers_without_spark(tables: Path) -> None:
    answers = query_each(tables, _questions(), ALL_TABLES)

    assert {number: one.error for number, one in answers.items() if one.error} == {}
    assert [number for number, one in answers.items() if not one.rows] == []


def test_agents_may_ask_what_is_left(spark: SparkSession, tables: Path) -> None:
    for statement in statements("delta/functions.sql").values():
        spark.sql(
            Template(statement).substitute(
                temporary="TEMPORARY", prefix="", budget_state="budget_state"
            )
        )
    text = DOCUMENT.read_text("utf-8").split("## For agents")[1]
    (asked,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)

    (answer,) = spark.sql(asked).collect()

    assert (f"{answer['remaining_usd']:.2f}", answer["status"]) == ("0.40", "soft")


def test_each_expression_of_the_metric_view_is_one_of_its_source(
    spark: SparkSession, tables: Path
) -> None:
    view: dict[str, Any] = yaml.safe_load(sql_text("delta/spend_metrics.yml"))
    names = [one["name"] for part in ("dimensions", "measures") for one in view[part]]
    dimensions = [f"{one['expr']} AS `{one['name']}`" for one in view["dimensions"]]
    measures = [f"{one['expr']} AS `{one['name']}`" for one in view["measures"]]

    columns = ", ".join(dimensions + measures)
    assert view["source"] == "$spend_hourly"
    frame = spark.sql(f"SELECT {columns} FROM spend_hourly GROUP BY 1, 2, 3, 4, 5, 6, 7")

    assert frame.columns == names
    assert len(set(names)) == len(names)
    row = frame.head()
    assert row is not None
    assert row["spend_usd"] > 0
    assert 0 <= row["cache_share"] <= 1
