"""Spark and the domain cut time into the same windows."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.window import WindowKind, WindowSpec, window_at
from spendgate.transforms.calendar_window import window_bounds

pytestmark = pytest.mark.spark

ZONES_AND_CHANGES = {
    "UTC": ["2026-02-28T23:59:59", "2024-12-31T23:59:59"],
    "Europe/Berlin": ["2026-03-29T01:00:00", "2026-10-25T00:00:00", "2026-10-25T01:00:00"],
    "America/New_York": ["2026-03-08T07:00:00", "2026-11-01T05:00:00", "2026-11-01T06:00:00"],
    "America/Havana": ["2026-03-08T05:00:00", "2026-11-01T04:00:00", "2026-11-01T05:00:00"],
    "America/St_Johns": ["2010-03-14T03:31:00", "2010-11-07T02:31:00", "2010-11-07T03:30:00"],
    "America/Sao_Paulo": ["2018-11-04T03:00:00", "2019-02-17T02:00:00"],
    "Asia/Kolkata": ["2026-05-31T18:30:00", "2026-06-01T00:29:59"],
    "Asia/Kathmandu": ["2026-05-31T18:15:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00:00", "2026-10-03T15:30:00"],
    "Pacific/Apia": ["2011-12-30T10:00:00", "2011-12-30T09:59:59"],
    "Pacific/Chatham": ["2026-04-04T14:00:00", "2026-09-26T14:00:00"],
    "Africa/Cairo": ["2026-04-23T22:00:00", "2026-10-29T21:00:00"],
}
KINDS = [kind for kind in WindowKind if kind is not WindowKind.ROLLING]


def instants() -> list[tuple[str, datetime]]:
    near = (-7200, -3600, -1801, -1800, -1, 0, 1, 899, 1799, 1800, 3599, 3600, 7200)
    chance = random.Random(7)  # the same instants in every run
    found: list[tuple[str, datetime]] = []
    for zone, changes in ZONES_AND_CHANGES.items():
        for change in changes:
            at = datetime.fromisoformat(change).replace(tzinfo=UTC)
            found += [(zone, at + timedelta(seconds=s, microseconds=999_999)) for s in near]
        start = datetime(2010, 1, 1, tzinfo=UTC)
        found += [(zone, start + timedelta(seconds=chance.randrange(5 * 10**8))) for _ in range(20)]
    return found


def test_every_calendar_window_agrees_with_the_domain(spark: SparkSession) -> None:
    cases = [(zone, at, kind) for zone, at in instants() for kind in KINDS]
    rows = [(i, zone, at, kind.value) for i, (zone, at, kind) in enumerate(cases)]
    frame = spark.createDataFrame(rows, "id int, zone string, at timestamp, kind string")

    bounds = window_bounds(F.col("at"), F.col("zone"), F.col("kind"))
    found = frame.select("id", F.unix_micros(bounds["start"]), F.unix_micros(bounds["end"]))

    found_bounds = {number: (start, end) for number, start, end in found.collect()}
    differing = [
        (zone, at.isoformat(), kind.value, found_bounds[i], expected)
        for i, (zone, at, kind) in enumerate(cases)
        if found_bounds[i] != (expected := expected_bounds(zone, at, kind))
    ]
    assert differing == []


def expected_bounds(zone: str, at: datetime, kind: WindowKind) -> tuple[int | None, int | None]:
    window = window_at(WindowSpec(kind), zone, at)
    return micros(window.start), micros(window.end)


def micros(at: datetime | None) -> int | None:
    return (
        None if at is None else (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    )


def test_the_session_time_zone_changes_nothing(spark: SparkSession) -> None:
    at = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
    frame = spark.createDataFrame([(at,)], "at timestamp")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kathmandu")

    bounds = window_bounds(F.col("at"), F.lit("America/New_York"), F.lit("month"))
    row = frame.select(F.unix_seconds(bounds["start"]), F.unix_seconds(bounds["end"])).collect()[0]

    spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert row[0] == datetime(2026, 2, 1, 5, tzinfo=UTC).timestamp()
    assert row[1] == datetime(2026, 3, 1, 5, tzinfo=UTC).timestamp()
