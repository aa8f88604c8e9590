"""Frames of the driver's own rows: what `createDataFrame` makes of a list, as constants."""

from datetime import timedelta
from decimal import Decimal

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from spendgate.domain.budget import Policy, Raise
from spendgate.domain.table import MONEY_SUM, TEXT_ARRAY
from spendgate.jobs.literal_frame import literal_frame
from spendgate.transforms.budget_frame import BUDGETS_SCHEMA, OPEN_WINDOWS_SCHEMA, budget_rows
from tests.spark.aggregate_home import NOW, POLICY

pytestmark = pytest.mark.spark

OPEN = [("users", "ann", NOW, NOW + timedelta(days=1), Decimal("0.5")), ("life", "*", *[None] * 3)]
FORMER = Policy(
    POLICY.budgets, (Raise("r", "life", 5, "over", NOW), Raise("q", "users", 5, "x", NOW))
)
LISTS = f"a string, `window` {TEXT_ARRAY}, c {MONEY_SUM}"


@pytest.mark.parametrize(
    ("rows", "schema"),
    [
        (budget_rows(POLICY, NOW), BUDGETS_SCHEMA),
        (budget_rows(FORMER, NOW), BUDGETS_SCHEMA),
        (OPEN, OPEN_WINDOWS_SCHEMA),
        ([], OPEN_WINDOWS_SCHEMA),
        ([("b", ["x, y", "z"], Decimal(2)), ("c", [], None)], LISTS),
    ],
)  # fmt: skip
def test_a_frame_has_its_rows_in_its_plan(
    spark: SparkSession, rows: list[tuple[object, ...]], schema: str
) -> None:
    frame = literal_frame(spark, rows, schema)

    assert_df_equality(frame, spark.createDataFrame(rows, schema), ignore_row_order=True)
    plan = frame._jdf.queryExecution().optimizedPlan().toString()  # type: ignore[reportPrivateUsage]  # the plan has no other name
    assert plan.startswith("LocalRelation")


def test_a_schema_that_is_not_understood_is_refused(spark: SparkSession) -> None:
    with pytest.raises(ValueError, match="NOT NULL"):
        literal_frame(spark, [("b",)], "budget_id string NOT NULL")
