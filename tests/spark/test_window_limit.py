"""Limits of windows as raises end and money is carried: in the state, and in what is told of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.domain.alert import AlertKind, rungs
from spendgate.domain.budget import Budget, Policy, Raise
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.money import to_decimal
from spendgate.domain.scope import Scope
from spendgate.domain.table import BUDGET_STATE
from spendgate.domain.window import parse_window, window_at
from spendgate.gateway.ports import EventBatch
from spendgate.jobs.aggregate import aggregate
from spendgate.jobs.alerts import add_alerts
from spendgate.jobs.literal_frame import literal_frame
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.budget_alerts import RUNGS_SCHEMA, rung_rows, spend_crossings
from spendgate.transforms.budget_frame import BUDGETS_SCHEMA, budget_rows, state_basis
from spendgate.transforms.schemas import schema_text
from spendgate.transforms.window_limit import highest_limit, last_limit, part_of

pytestmark = pytest.mark.spark

USD = 10**9
HOUR = timedelta(hours=1)
MONTH_END = datetime(2026, 4, 1, tzinfo=UTC)
NOW = MONTH_END + HOUR
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
USER = Scope.of({"user": "*"})
OVER = Budget("over", USER, 100 * USD, parse_window("month"))
RUNNING = Budget("running", USER, 100 * USD, parse_window("week"))
LIFE = Budget("life", USER, 100 * USD, parse_window("lifetime"))
ROLLING = Budget("rolling", USER, 100 * USD, parse_window("rolling:24h"))
CARRYING = Budget(
    "carrying", USER, 100 * USD, parse_window("day"), rollover_max_nano=50 * USD,
    hard_cap_ppm=900_000,
)  # fmt: skip
POLICY = Policy(
    (OVER, RUNNING, LIFE, ROLLING, CARRYING),
    (
        Raise("r-1", "over", 20 * USD, "until the month is over", MONTH_END),
        Raise("r-2", "running", 20 * USD, "for four hours", NOON + 4 * HOUR),
        Raise("r-3", "life", 20 * USD, "for four hours", NOON + 4 * HOUR),
        Raise("r-4", "rolling", 20 * USD, "for four hours", NOON + 4 * HOUR),
        Raise("r-5", "rolling", 500 * USD, "before this window", NOW - 24 * HOUR),
    ),
)
REACHED = ["threshold 0.5", "threshold 0.75", "threshold 0.9", "threshold 1.0"]
Told = dict[tuple[str, str], tuple[Decimal, str, list[str]]]


def charge(number: int, budget_id: str, user: str, usd: int, at: datetime = NOON) -> SpendEvent:
    facts = CallFacts(1, at, {"user": user}, "m", "m", "s", "global", "v", "allow", (budget_id,))
    hold, nano = f"r{number}#1", usd * USD
    cost = Charge(cost_nano=nano)
    return SpendEvent(f"{hold}:1", hold, EventKind.SETTLED, at, facts, cost, nano, nano)


@pytest.fixture(scope="module")
def told(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What is told after the month, by budget and user: limit, status and levels.

    Of each budget ann has spent what the limit allowed while she spent it, and bob more than that.
    """
    folder = tmp_path_factory.mktemp("tables")
    raised = [("over", 110, 121), ("running", 110, 121), ("life", 110, 121), ("rolling", 110, 121)]
    spent = [
        (budget_id, who, usd)
        for budget_id, *both in raised
        for who, usd in zip(("ann", "bob"), both, strict=True)
    ]
    spent += [("carrying", "ann", 120), ("carrying", "bob", 141)]
    events = [charge(n, *one) for n, one in enumerate(spent)]
    events += [
        charge(90 + n, "carrying", who, 40, NOON - 24 * HOUR)
        for n, who in enumerate(("ann", "bob"))
    ]
    DeltaSink(folder).append("l", EventBatch(1, tuple(events), ()))
    aggregate(spark, TableSpace(folder), POLICY, [], NOW, folder / "checkpoint")
    add_alerts(spark, TableSpace(folder), POLICY, [], NOW)
    return _told(folder)


def _told(folder: Path) -> Told:
    named = (
        "CASE window_end WHEN '2026-03-31T00:00:00Z' THEN 'day before' ELSE budget_id END "
        "AS budget_id, scope_value"
    )
    states = query_rows(folder, f"SELECT {named}, limit_usd, status FROM budget_state")
    alerts = query_rows(
        folder,
        f"SELECT {named}, kind, CAST(threshold AS DOUBLE) AS share FROM budget_alerts",
    )
    return {
        (str(one["budget_id"]), str(one["scope_value"])): (
            Decimal(str(one["limit_usd"])),
            str(one["status"]),
            sorted(
                f"{row['kind']} {row['share']}"
                for row in alerts
                if (row["budget_id"], row["scope_value"]) == (one["budget_id"], one["scope_value"])
            ),
        )
        for one in states
    }


def test_a_window_that_is_over_has_the_raise_that_ended_with_it(told: Told) -> None:
    assert told["over", "ann"] == (120, "soft", ["soft_cap 0.8", *REACHED[:3]])
    assert told["over", "bob"] == (
        120, "hard", ["hard_stop 1.0", "overrun 1.0", "soft_cap 0.8", *REACHED]
    )  # fmt: skip


@pytest.mark.parametrize("budget_id", ["running", "life", "rolling"])
def test_what_a_raise_allowed_is_no_overrun_once_it_has_ended(told: Told, budget_id: str) -> None:
    stopped = ["hard_stop 1.0", "soft_cap 0.8", *REACHED]
    forecast = ["forecast 1.0"] if budget_id == "running" else []

    assert told[budget_id, "ann"] == (100, "hard", sorted(stopped + forecast))
    assert told[budget_id, "bob"] == (100, "hard", sorted([*stopped, *forecast, "overrun 1.0"]))


def test_levels_move_with_what_is_carried_in(told: Told) -> None:
    assert told["carrying", "ann"] == (150, "soft", ["soft_cap 0.8", *REACHED[:2]])
    assert told["carrying", "bob"] == (
        150, "hard", ["hard_stop 0.9", "overrun 0.9", "soft_cap 0.8", *REACHED[:3]]
    )  # fmt: skip


def test_a_window_that_left_money_to_the_next_has_crossed_nothing_by_that(told: Told) -> None:
    assert told["day before", "ann"] == (70, "ok", [])
    assert told["day before", "bob"] == (50, "hard", [])


def test_a_windows_limits_are_the_policys_at_its_instants(spark: SparkSession) -> None:
    limit_nano = 100 * USD + 1
    hourly = Budget("hourly", USER, limit_nano, parse_window("hour"), hard_cap_ppm=333_333)
    minutes = [
        (0, 7), (0, 1), (20, 30), (20, 4), (60, 5), (61, 200), (110, 50), (119, -160), (130, -250),
        (200, 9),
    ]  # fmt: skip
    start = NOON - 2 * HOUR
    minute = timedelta(minutes=1)
    raises = [
        Raise(f"r{n}", "hourly", usd * USD, "r", start + at * minute)
        for n, (at, usd) in enumerate(minutes)
    ]
    policy = Policy((hourly,), (*raises, Raise("ever", "hourly", -USD, "a cut")))
    as_of = start + 150 * minute
    windows = [window_at(hourly.window, "UTC", start + n * HOUR) for n in range(-1, 3)]

    budgets = literal_frame(spark, budget_rows(policy, as_of), BUDGETS_SCHEMA)
    bounds = "window_start timestamp, window_end timestamp"
    frame = literal_frame(spark, [(one.start, one.end) for one in windows], bounds)
    now_usd = budgets.limit_usd
    last_usd = last_limit(now_usd)
    found = frame.join(budgets).select(
        "window_start", last_usd, part_of(last_usd, "hard_cap"), highest_limit(now_usd)
    )

    rows = [tuple(row)[1:] for row in found.orderBy("window_start").collect()]
    expected: list[tuple[Decimal, ...]] = []
    for one in windows:
        assert one.start is not None
        assert one.end is not None
        instants = [one.start + n * minute for n in range(60) if one.start + n * minute <= as_of]
        last = min(one.end - timedelta(microseconds=1), as_of)
        last_nano, *others = [policy.limit(hourly, at) for at in (last, *instants)]
        figures = (last_nano, hourly.hard_of(last_nano), max(last_nano, *others))
        expected.append(tuple(to_decimal(one) for one in figures))
    assert rows == expected
    assert min(last_usd for last_usd, _, _ in rows) < 0
    assert len({highest - last_usd for last_usd, _, highest in rows}) > 2


def test_a_budget_remembers_no_more_limits_than_its_windows_ask_for() -> None:
    raises = [
        Raise(f"{budget.budget_id}-{hours}", budget.budget_id, usd * USD, "r", NOW - hours * HOUR)
        for budget in (LIFE, ROLLING, OVER)
        for hours, usd in ((1, 5), (23, -10), (24, 20), (90, -20))
    ]
    policy = Policy((LIFE, ROLLING, OVER, RUNNING), tuple(raises))

    formers = {row[0]: row[-2:] for row in budget_rows(policy, NOW)}

    def at(*hours: int) -> list[datetime]:
        return [NOW - one * HOUR for one in hours]

    assert formers == {
        "life": (at(24), [Decimal(115)]),
        "rolling": (at(23, 1), [Decimal(95), Decimal(105)]),
        "over": (at(90, 24, 23, 1), [Decimal(one) for one in (95, 115, 95, 105)]),
        "running": ([], []),
    }
    # So no lifetime is made anew because a rolling window has left a raise behind.
    bases = {state_basis(policy, NOW + n * HOUR, is_ledger_known=True) for n in range(30)}
    assert len(bases) == 1


def test_levels_are_reached_where_the_domain_says(spark: SparkSession) -> None:
    odd = Budget(
        "odd", USER, USD, parse_window("day"), hard_cap_ppm=900_001, soft_cap_ppm=777_777,
        alerts_ppm=(333_333, 999_999),
    )  # fmt: skip
    day = window_at(odd.window, "UTC", NOON)
    cases = [
        # A limit, and the hard cap with what is carried; the last ones are cut to nothing.
        (10, odd.hard_of(10)),
        (1_000_000_007, odd.hard_of(1_000_000_007)),
        (9_000_000_000_000_000_007, odd.hard_of(9 * 10**18) + 7),
        (150, odd.hard_of(100) + 50),
        (0, 0),
        (-5, odd.hard_of(-5)),
    ]
    rows: list[tuple[object, ...]] = []
    expected: set[tuple[str, str, float]] = set()
    for number, (limit, hard) in enumerate(cases):
        levels = {one.at_nano(limit, hard) for one in rungs(odd)}
        for spent in sorted(levels | {one - 1 for one in levels}):
            who = f"{number} {spent}"
            row = {
                "budget_id": "odd", "scope": "user", "scope_value": who, "window": "day",
                "window_start": day.start, "window_end": day.end, "limit_usd": to_decimal(limit),
                "spent_usd": to_decimal(spent), "held_usd": Decimal(3),
                "remaining_usd": to_decimal(hard - spent) - 3, "used_ratio": 0.0, "status": "ok",
                "requests": 1, "forecast_usd": to_decimal(spent), "updated_at": NOON,
            }  # fmt: skip
            rows.append(tuple(row.get(name) for name in BUDGET_STATE.column_names))
            expected |= {
                (who, one.kind.value, one.threshold_ppm / 10**6)
                for one in rungs(odd)
                if spent >= one.at_nano(limit, hard)
            }
    policy = Policy((odd,))

    found = _crossings(spark, policy, rows, NOON)

    told = {(row["scope_value"], row["kind"], float(row["threshold"])) for row in found.collect()}
    assert told == expected
    assert {kind for _, kind, _ in told} == {one.kind.value for one in rungs(odd)}
    assert AlertKind.OVERRUN.value in {kind for who, kind, _ in told if who.startswith("5")}


def _crossings(
    spark: SparkSession, policy: Policy, rows: list[tuple[object, ...]], as_of: datetime
) -> DataFrame:
    state = spark.createDataFrame(rows, schema_text(BUDGET_STATE))
    budgets = literal_frame(spark, budget_rows(policy, as_of), BUDGETS_SCHEMA)
    levels = literal_frame(spark, rung_rows(policy), RUNGS_SCHEMA)
    return spend_crossings(state, budgets, levels, as_of)
