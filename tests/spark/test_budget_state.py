"""The state of budgets: what is left, the rate, the forecast and the end."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from spendgate.domain.budget import BalanceRow, Budget, Policy, Raise
from spendgate.domain.budget_tables import BUDGET_HOURLY
from spendgate.domain.forecast import HourSpend, forecast
from spendgate.domain.rollover import carried_nano
from spendgate.domain.scope import Scope
from spendgate.domain.table import BUDGET_STATE, WINDOW_KEY, WINDOW_SPEND
from spendgate.domain.window import parse_window, window_at
from spendgate.transforms.budget_frame import OPEN_WINDOWS_SCHEMA, open_window_rows
from spendgate.transforms.budget_state import budget_state
from spendgate.transforms.schemas import schema_text

pytestmark = pytest.mark.spark

BudgetFrame = Callable[[Policy, datetime], DataFrame]
START = datetime(2026, 3, 10, tzinfo=UTC)
NOW = START + timedelta(hours=6)
END = START + timedelta(days=1)
DAILY = Budget("daily", Scope.of({"user": "*"}), 100 * 10**9, parse_window("day"))


def state_of(
    spark: SparkSession,
    budgets: DataFrame,
    policy: Policy,
    sums: list[tuple[object, ...]],
    balances: list[BalanceRow] | None = None,
    as_of: datetime = NOW,
    hours: list[tuple[object, ...]] | None = None,
) -> DataFrame:
    names = (*WINDOW_KEY, "spent_usd", "requests", "last_event_at")
    kept = [column for column in WINDOW_SPEND.columns if column.name in names]
    schema = ", ".join(f"`{column.name}` {column.type}" for column in kept) + ", is_shown boolean"
    rows = open_window_rows(policy, balances, as_of)
    known = [column for column in BUDGET_HOURLY.columns if column.name in (*names, "hour")]
    hours_schema = ", ".join(f"`{column.name}` {column.type}" for column in known)
    return budget_state(
        spark.createDataFrame([row if len(row) > 9 else (*row, True) for row in sums], schema),
        budgets,
        spark.createDataFrame(rows, OPEN_WINDOWS_SCHEMA),
        spark.createDataFrame(hours or [], hours_schema),
        as_of,
        is_ledger_known=balances is not None,
        is_carrying=any(one.rollover_max_nano for one in policy.budgets),
    )


def day_sum(value: str, spent: str, last_event_at: datetime = NOW) -> tuple[object, ...]:
    return ("daily", "user", value, "day", START, END, Decimal(spent), 7, last_event_at)


def test_a_day_is_measured_and_projected(spark: SparkSession, budget_frame: BudgetFrame) -> None:
    policy = Policy((DAILY,))
    period = window_at(DAILY.window, "UTC", NOW).key
    balances = [BalanceRow("daily", "slow", period, 0, 5 * 10**9)]

    found = state_of(
        spark, budget_frame(policy, NOW), policy,
        [day_sum("slow", "12.000000006"), day_sum("fast", "60"), day_sum("soft", "80")], balances,
    )  # fmt: skip

    ends_at = NOW + timedelta(hours=4)
    rows = [
        ("daily", "user", "slow", "day", START, END, Decimal(100), Decimal("12.000000006"),
         Decimal(5), Decimal("82.999999994"), 0.12000000006, "ok", 7, Decimal("2.000000001"),
         Decimal("48.000000024"), Decimal("48.000000024"), Decimal("48.000000024"), None, NOW,
         NOW),
        ("daily", "user", "fast", "day", START, END, Decimal(100), Decimal(60), Decimal(0),
         Decimal(40), 0.6, "ok", 7, Decimal(10), Decimal(240), Decimal(240), Decimal(240),
         ends_at, NOW, NOW),
        ("daily", "user", "soft", "day", START, END, Decimal(100), Decimal(80), Decimal(0),
         Decimal(20), 0.8, "soft", 7, Decimal("13.333333333"), Decimal(320),
         Decimal(320), Decimal(320), NOW + timedelta(minutes=90), NOW, NOW),
    ]  # fmt: skip
    expected = spark.createDataFrame(rows, schema_text(BUDGET_STATE))
    assert_df_equality(
        found, expected, ignore_row_order=True, ignore_nullable=True, ignore_metadata=True
    )


def test_a_window_that_is_used_up_says_since_when(
    spark: SparkSession, budget_frame: BudgetFrame
) -> None:
    policy = Policy((replace(DAILY, hard_cap_ppm=1_100_000),))
    last = START + timedelta(hours=2)

    found = state_of(
        spark, budget_frame(policy, NOW), policy,
        [day_sum("at", "110", last), day_sum("below", "109.999999999", last)],
    )  # fmt: skip

    rows = {row["scope_value"]: row for row in found.collect()}
    assert (rows["at"]["status"], rows["below"]["status"]) == ("hard", "soft")
    assert rows["at"]["remaining_usd"] == 0
    assert found.where("scope_value = 'at' AND exhausts_at = last_event_at").count() == 1


def test_the_forecast_is_the_domains(spark: SparkSession, budget_frame: BudgetFrame) -> None:
    policy = Policy((DAILY,))
    now = START + timedelta(hours=5, minutes=30)
    spent = {0: 1.0, 2: 4.5, 4: 0.25, 5: 7.0}
    hours: list[tuple[object, ...]] = [
        (START + timedelta(hours=hour), "daily", "user", "u", "day", START, END, Decimal(str(usd)),
         1, now)
        for hour, usd in spent.items()
    ]  # fmt: skip
    row_of = ("burn_usd_per_hour", "forecast_usd", "forecast_low_usd", "forecast_high_usd")

    found = state_of(
        spark, budget_frame(policy, now), policy, [day_sum("u", "12.75")], as_of=now, hours=hours
    )  # fmt: skip
    early = state_of(
        spark, budget_frame(policy, START), policy, [day_sum("u", "1", START)], as_of=START,
        hours=[(START, "daily", "user", "u", "day", START, END, Decimal(1), 1, START)],
    )  # fmt: skip

    expected = forecast(
        [HourSpend(usd, 5.5 - hour, max(4.5 - hour, 0)) for hour, usd in spent.items()], 5.5, 18.5
    )
    (row,) = found.collect()
    assert [float(row[name]) for name in row_of] == pytest.approx(
        [expected.usd_per_hour, expected.end_usd, expected.low_usd, expected.high_usd]
    )
    hard_in = 18.5 * (100 - 12.75) / (expected.end_usd - 12.75)
    assert expected.end_usd < 100
    assert hard_in > 18.5
    assert row["exhausts_at"] is None
    # In its first second a window has spent at the rate of one second.
    assert early.collect()[0]["forecast_usd"] == pytest.approx(Decimal(86_401), abs=1)


def test_what_the_window_before_left_is_in_the_limit(
    spark: SparkSession, budget_frame: BudgetFrame
) -> None:
    carrying = replace(DAILY, rollover_max_nano=30 * 10**9, hard_cap_ppm=900_000)
    policy = Policy((carrying,), (Raise("r", "daily", 10 * 10**9, "launch"),))
    before = START - timedelta(days=1)
    sums: list[tuple[object, ...]] = [
        ("daily", "user", who, "day", before, START, Decimal(spent), 1, before, False)
        for who, spent in (("some", "75"), ("little", "10"), ("over", "95"))
    ]
    sums += [day_sum(who, "1") for who in ("some", "little", "over", "new")]
    sums.append(
        ("daily", "user", "ahead", "day", END, END + timedelta(days=1), Decimal(97), 1, END, False)
    )
    sums.append(day_sum("ahead", "1"))
    found = state_of(spark, budget_frame(policy, NOW), policy, sums)

    def carried(own: int, before: int | None, after: int) -> Decimal:
        most = 30 * 10**9
        usd = carried_nano(own, most, None if before is None else before * 10**9, after * 10**9)
        return 110 + Decimal(usd).scaleb(-9)

    own = carrying.own_nano
    limits = {row["scope_value"]: row["limit_usd"] for row in found.collect()}
    assert limits == {
        "some": carried(own, 75, 0),
        "little": carried(own, 10, 0),
        "over": carried(own, 95, 0),
        "new": carried(own, None, 0),
        "ahead": carried(own, None, 97),
    }
    assert limits == {"some": 125, "little": 140, "over": 110, "new": 110, "ahead": 103}
    (one,) = [row for row in found.collect() if row["scope_value"] == "some"]
    assert one["remaining_usd"] == 99 + 15 - 1


def test_an_unasked_ledger_leaves_held_unknown(
    spark: SparkSession, budget_frame: BudgetFrame
) -> None:
    policy = Policy((DAILY,))

    row = state_of(spark, budget_frame(policy, NOW), policy, [day_sum("u", "1")]).collect()[0]

    assert row["held_usd"] is None
    assert row["remaining_usd"] == Decimal(99)


def test_raises_count_until_they_expire(spark: SparkSession, budget_frame: BudgetFrame) -> None:
    policy = Policy(
        (DAILY,), (Raise("r", "daily", 50 * 10**9, "launch", NOW + timedelta(microseconds=1)),)
    )

    for as_of, limit in ((NOW, 150), (NOW + timedelta(microseconds=1), 100)):
        found = state_of(
            spark, budget_frame(policy, as_of), policy, [day_sum("u", "1")], as_of=as_of
        )
        assert [row["limit_usd"] for row in found.collect()] == [Decimal(limit)]


def test_endless_windows_have_no_forecast(spark: SparkSession, budget_frame: BudgetFrame) -> None:
    policy = Policy((
        Budget("life", Scope(), 10**9, parse_window("lifetime")),
        Budget("roll", Scope(), 10**9, parse_window("rolling:2h")),
    ))  # fmt: skip
    since = NOW - timedelta(hours=2)
    sums: list[tuple[object, ...]] = [
        ("life", "all", "*", "lifetime", None, None, Decimal("0.5"), 1, NOW),
        ("roll", "all", "*", "rolling:2h", since, None, Decimal("0.5"), 1, NOW),
    ]

    found = state_of(spark, budget_frame(policy, NOW), policy, sums)

    rows = {row["budget_id"]: row for row in found.collect()}
    assert len(rows) == found.count() == 2
    assert rows["life"]["burn_usd_per_hour"] is None
    assert rows["roll"]["burn_usd_per_hour"] == Decimal("0.25")
    assert {row["forecast_usd"] for row in rows.values()} == {None}
    assert {row["exhausts_at"] for row in rows.values()} == {None}


def test_a_budget_without_a_call_has_a_state(
    spark: SparkSession, budget_frame: BudgetFrame
) -> None:
    org = Budget("org", Scope.of({"org": "acme"}), 10**9, parse_window("month"))
    policy = Policy((org, DAILY))

    row = state_of(spark, budget_frame(policy, NOW), policy, []).collect()

    assert [(r["budget_id"], r["scope_value"], r["spent_usd"], r["status"]) for r in row] == [
        ("org", "acme", Decimal(0), "ok")
    ]


def test_windows_of_a_former_definition_are_left_out(
    spark: SparkSession, budget_frame: BudgetFrame
) -> None:
    policy = Policy((DAILY,))
    former = ("daily", "team", "t", "day", START, END, Decimal(1), 1, NOW)

    assert state_of(spark, budget_frame(policy, NOW), policy, [former]).count() == 0


def test_holds_of_the_window_before_are_shown_with_it() -> None:
    policy = Policy((DAILY, Budget("roll", Scope(), 10**9, parse_window("rolling:1h"))))
    yesterday = window_at(DAILY.window, "UTC", START - timedelta(seconds=1))
    rolling = window_at(policy.budgets[1].window, "UTC", NOW)
    balances = [
        BalanceRow("daily", "u", yesterday.key, 0, 3),
        BalanceRow("daily", "u", "2025-01-01", 0, 99),
        BalanceRow("roll", "*", rolling.key, 0, 1),
        BalanceRow("roll", "*", rolling.also_keys[0], 0, 2),
        BalanceRow("gone", "*", rolling.key, 0, 2),
    ]

    rows = open_window_rows(policy, balances, NOW)

    assert sorted(rows) == [
        ("daily", "u", yesterday.start, yesterday.end, Decimal("0.000000003")),
        ("roll", "*", NOW - timedelta(hours=1), None, Decimal("0.000000003")),
    ]


def test_an_expired_budget_opens_no_window() -> None:
    org = Budget("org", Scope(), 10**9, parse_window("month"), expires_at=NOW)

    assert open_window_rows(Policy((org,)), [], NOW) == []
    assert len(open_window_rows(Policy((org,)), [], NOW - timedelta(seconds=1))) == 1


def test_a_limit_that_was_cut_to_nothing_is_all_used(
    spark: SparkSession, budget_frame: BudgetFrame
) -> None:
    policy = Policy((DAILY,), (Raise("restore-daily", "daily", -100 * 10**9, "restored"),))

    (row,) = state_of(spark, budget_frame(policy, NOW), policy, [day_sum("ann", "1")]).collect()

    assert (row["limit_usd"], row["used_ratio"], row["status"]) == (0, 1.0, "hard")
