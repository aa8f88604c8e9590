"""Spend per budget, value and window: the same windows and values as the gate charges."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.table import WINDOW_KEY, WINDOW_SPEND
from spendgate.domain.window import parse_window
from spendgate.transforms.budget_frame import budget_rows
from spendgate.transforms.schemas import schema_text
from spendgate.transforms.single_events import events_once
from spendgate.transforms.slot import slot_seconds
from spendgate.transforms.window_spend import (
    budget_hours,
    of_round,
    rolling_spend,
    window_changes,
)

pytestmark = pytest.mark.spark

EventFrame = Callable[..., DataFrame]
BudgetFrame = Callable[[Policy, datetime], DataFrame]
AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
DAY = 86_400


def budget(budget_id: str, scope: dict[str, object], window: object, tz: str = "UTC") -> Budget:
    return Budget(budget_id, Scope.of(scope), 10**9, parse_window(window), tz)


def window_spend(events: DataFrame, policy: Policy, known: DataFrame) -> DataFrame:
    """Add up the hours of a first round."""
    scopes = {one.scope.kind for one in policy.budgets}
    noon = int(AT.timestamp()) - 1800
    slot = slot_seconds(budget_rows(policy, AT), [(noon - 2 * DAY, noon + DAY)])
    hours = budget_hours(events_once(events), known, scopes, slot)
    nothing = hours.sparkSession.createDataFrame([], schema_text(BUDGET_HOURLY))
    return window_changes(of_round(hours, nothing, 1), 1)


def assert_sums(spark: SparkSession, found: DataFrame, *expected: tuple[object, ...]) -> None:
    names = (*WINDOW_KEY, "spent_usd", "requests", "last_event_at")
    kept = [column for column in WINDOW_SPEND.columns if column.name in names]
    schema = ", ".join(f"`{column.name}` {column.type}" for column in kept)
    frame = spark.createDataFrame(list(expected), schema)
    assert_df_equality(found, frame, ignore_row_order=True, ignore_nullable=True)


def test_each_budget_sums_its_own_values_and_windows(
    spark: SparkSession, event_frame: EventFrame, budget_frame: BudgetFrame
) -> None:
    policy = Policy((
        budget("all", {}, "lifetime"),
        budget("users", {"org": "acme", "user": "*"}, "day", "America/New_York"),
    ))  # fmt: skip
    midnight = datetime(2026, 3, 10, 4, tzinfo=UTC)
    both = {"budget_ids": ["all", "users", "removed"], "cost_usd": Decimal("0.1")}
    events = event_frame(
        both | {"occurred_at": midnight - timedelta(microseconds=1)},
        both | {"occurred_at": midnight},
        both | {"occurred_at": AT, "user_id": "u,2%"},
        {
            "occurred_at": AT,
            "budget_ids": ["all"],
            "kind": "corrected",
            "cost_usd": Decimal("-0.2"),
        },
        {"occurred_at": AT, "budget_ids": []},
    )

    sums = window_spend(events, policy, budget_frame(policy, AT))

    day, tenth = timedelta(days=1), Decimal("0.1")
    # The day before begins in winter time and has 23 hours.
    before = datetime(2026, 3, 9, 4, tzinfo=UTC)
    assert_sums(
        spark, sums,
        ("all", "all", "*", "lifetime", None, None, tenth, 3, AT),
        ("users", "org,user", "acme,u1", "day", before, midnight, tenth, 1,
         midnight - timedelta(microseconds=1)),
        ("users", "org,user", "acme,u1", "day", midnight, midnight + day, tenth, 1, midnight),
        ("users", "org,user", "acme,u%2C2%25", "day", midnight, midnight + day, tenth, 1, AT),
    )  # fmt: skip


def test_scope_values_are_written_as_the_domain_writes_them(
    event_frame: EventFrame, budget_frame: BudgetFrame
) -> None:
    scope = Scope.of({"team": "*", "tag.cost": "*"})
    identity = Identity({"team": "100%,ü 🦊%2C"}, {"cost": ",,%"})
    matched = scope.match(identity)
    assert matched is not None
    policy = Policy((Budget("b", scope, 1, parse_window("month")),))
    events = event_frame(
        {"budget_ids": ["b"], "team_id": identity.values["team"], "tags": dict(identity.tags)},
        {"budget_ids": ["b"], "team_id": "no tag, so of an older scope"},
    )

    rows = window_spend(events, policy, budget_frame(policy, AT)).collect()

    assert [(row["scope"], row["scope_value"]) for row in rows] == [
        (scope.kind, matched.value_text)
    ]


def test_an_event_counts_once_even_if_it_arrives_or_names_a_budget_twice(
    spark: SparkSession, event_frame: EventFrame, budget_frame: BudgetFrame
) -> None:
    policy = Policy((budget("b", {}, "lifetime"),))
    events = event_frame(
        {"event_id": "same", "budget_ids": ["b", "b"]},
        {"event_id": "same", "budget_ids": ["b", "b"]},
    )

    sums = window_spend(events, policy, budget_frame(policy, AT))

    assert_sums(spark, sums, ("b", "all", "*", "lifetime", None, None, Decimal(1), 1, AT))


def test_a_rolling_window_holds_what_came_after_its_start(
    spark: SparkSession, event_frame: EventFrame, budget_frame: BudgetFrame
) -> None:
    policy = Policy((
        budget("hour", {"user": "*"}, "rolling:1h"),
        budget("day", {"user": "*"}, "rolling:24h"),
        budget("calendar", {}, "day"),
    ))  # fmt: skip
    start, micro = AT - timedelta(hours=1), timedelta(microseconds=1)
    charged = {"budget_ids": ["hour", "day", "calendar"]}
    events = event_frame(
        charged | {"occurred_at": start},
        charged | {"occurred_at": start + micro},
        charged | {"occurred_at": AT},
        charged | {"occurred_at": AT + micro},
    )

    sums = rolling_spend(events, budget_frame(policy, AT), {"user"}, AT)

    yesterday = AT - timedelta(days=1)
    assert_sums(
        spark, sums,
        ("hour", "user", "u1", "rolling:1h", start, None, Decimal(2), 2, AT),
        ("day", "user", "u1", "rolling:24h", yesterday, None, Decimal(3), 3, AT),
    )  # fmt: skip
