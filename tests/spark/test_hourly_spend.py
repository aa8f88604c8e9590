"""The hourly rollup: calls, known tokens and money per hour, scope and model."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from spendgate.domain.table import SPEND_HOURLY
from spendgate.transforms.hourly_spend import hourly_spend
from spendgate.transforms.schemas import schema_text
from spendgate.transforms.single_events import count_events, events_once
from spendgate.transforms.time_range import HOUR_RANGES_MAX, hour_ranges

pytestmark = pytest.mark.spark

HOUR = datetime(2026, 3, 10, 12, tzinfo=UTC)
EventFrame = Callable[..., DataFrame]


def assert_hourly(spark: SparkSession, events: DataFrame, *expected: tuple[object, ...]) -> None:
    frame = spark.createDataFrame(expected, schema_text(SPEND_HOURLY))
    assert_df_equality(
        hourly_spend(events_once(events)),
        frame,
        ignore_row_order=True,
        ignore_nullable=True,
        ignore_metadata=True,
    )


def test_an_expiry_and_its_correction_are_one_call(
    spark: SparkSession, event_frame: EventFrame
) -> None:
    usage = {"input_tokens": 100, "cache_read_tokens": 40, "cache_write_tokens": 0}
    usage |= {"output_tokens": 20, "reasoning_tokens": 5}
    events = event_frame(
        {"kind": "expired", "cost_usd": Decimal("1.5"), "occurred_at": HOUR},
        {"kind": "corrected", "cost_usd": Decimal("-1.400000001"), "occurred_at": HOUR, **usage},
        {"kind": "voided", "cost_usd": Decimal(0), "occurred_at": HOUR + timedelta(minutes=59)},
    )

    assert_hourly(
        spark, events,
        (HOUR, "acme", None, None, "u1", "big", 1, 100, 40, 0, 20, 5, Decimal("0.099999999"), None),
    )  # fmt: skip


def test_hours_models_and_null_scopes_are_kept_apart(
    spark: SparkSession, event_frame: EventFrame
) -> None:
    later = HOUR + timedelta(hours=1)
    events = event_frame(
        {"occurred_at": HOUR, "dbu": Decimal("0.1")},
        {"occurred_at": later - timedelta(microseconds=1), "dbu": Decimal("0.2")},
        {"occurred_at": later},
        {"occurred_at": later, "model": "small", "kind": "expired"},
        {"occurred_at": later, "org_id": None, "user_id": None, "team_id": "t"},
    )

    one = Decimal(1)
    assert_hourly(
        spark, events,
        (HOUR, "acme", None, None, "u1", "big", 2, 0, 0, 0, 0, 0, Decimal(2), Decimal("0.3")),
        (later, "acme", None, None, "u1", "big", 1, 0, 0, 0, 0, 0, one, None),
        (later, "acme", None, None, "u1", "small", 1, 0, 0, 0, 0, 0, one, None),
        (later, None, "t", None, None, "big", 1, 0, 0, 0, 0, 0, one, None),
    )  # fmt: skip


def test_an_event_that_arrived_twice_counts_once(
    spark: SparkSession, event_frame: EventFrame
) -> None:
    events = event_frame({"event_id": "same"}, {"event_id": "same"})

    assert_hourly(
        spark, events,
        (HOUR, "acme", None, None, "u1", "big", 1, 0, 0, 0, 0, 0, Decimal(1), None),
    )  # fmt: skip


def test_a_key_that_comes_again_after_its_hold_was_collected_is_another_call(
    spark: SparkSession, event_frame: EventFrame
) -> None:
    again = HOUR + timedelta(minutes=1)
    events = event_frame(
        {"event_id": "same", "occurred_at": HOUR},
        {"event_id": "same", "occurred_at": HOUR},
        {"event_id": "same", "occurred_at": again},
    )

    assert count_events(events) == (3, True)
    assert count_events(events_once(events)) == (2, False)
    assert count_events(events.limit(0)) == (0, False)
    assert_hourly(
        spark, events,
        (HOUR, "acme", None, None, "u1", "big", 2, 0, 0, 0, 0, 0, Decimal(2), None),
    )  # fmt: skip


def test_adjacent_hours_make_one_range() -> None:
    assert hour_ranges([7200, 0, 3600, 18000]) == [(0, 10800), (18000, 21600)]
    assert hour_ranges([]) == []


def test_many_ranges_become_one_that_holds_them_all() -> None:
    scattered = [hour * 2 * 3600 for hour in range(HOUR_RANGES_MAX + 1)]

    assert hour_ranges(scattered) == [(0, scattered[-1] + 3600)]
    assert len(hour_ranges(scattered[1:])) == HOUR_RANGES_MAX
