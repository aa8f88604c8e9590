"""Windows follow the calendar of their zone, across every jump of its clock."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from spendgate.domain.window import (
    Window,
    WindowError,
    WindowKind,
    WindowSpec,
    parse_time_zone,
    parse_window,
    window_at,
)

NOVEMBER = datetime(2026, 11, 23, 13, 7, 42, 5, tzinfo=UTC)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # pyright: ignore[reportArgumentType] six ints at most


def window(kind: str, tz: str, at: datetime) -> Window:
    return window_at(parse_window(kind), tz, at)


@pytest.mark.parametrize(
    ("kind", "tz", "key", "start", "end"),
    [
        ("minute", "UTC", "2026-11-23T13:07+0000", (23, 13, 7), (23, 13, 8)),
        ("minute", "Asia/Kolkata", "2026-11-23T18:37+0530", (23, 13, 7), (23, 13, 8)),
        ("hour", "UTC", "2026-11-23T13+0000", (23, 13), (23, 14)),
        ("hour", "Europe/Berlin", "2026-11-23T14+0100", (23, 13), (23, 14)),
        ("hour", "Asia/Kolkata", "2026-11-23T18+0530", (23, 12, 30), (23, 13, 30)),
        ("day", "UTC", "2026-11-23", (23,), (24,)),
        ("day", "Europe/Berlin", "2026-11-23", (22, 23), (23, 23)),
        ("day", "Pacific/Kiritimati", "2026-11-24", (23, 10), (24, 10)),
        ("week", "UTC", "2026-W48", (23,), (30,)),
        ("week", "America/New_York", "2026-W48", (23, 5), (30, 5)),
    ],
)
def test_a_calendar_window_has_local_edges_and_a_local_key(
    kind: str, tz: str, key: str, start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    expected_end = utc(2026, 11, *end)

    assert window(kind, tz, NOVEMBER) == Window(
        key=key, start=utc(2026, 11, *start), end=expected_end, resets_at=expected_end
    )


def test_a_month_spans_a_change_of_offset() -> None:
    month = window("month", "America/New_York", NOVEMBER)

    # New York leaves summer time on 1 November.
    assert (month.key, month.start, month.end) == (
        "2026-11",
        utc(2026, 11, 1, 4),
        utc(2026, 12, 1, 5),
    )


def test_a_month_at_the_end_of_the_year_ends_in_the_next() -> None:
    assert window("month", "UTC", utc(2026, 12, 31, 23)).end == utc(2027, 1, 1)


@pytest.mark.parametrize(
    ("at", "key"),
    [
        (utc(2027, 1, 1), "2026-W53"),
        (utc(2024, 12, 31), "2025-W01"),  # its Monday is in the old year, its number isn't
        (utc(2025, 1, 5), "2025-W01"),
        (utc(2024, 1, 1), "2024-W01"),
    ],
)
def test_a_week_has_the_year_of_its_iso_number(at: datetime, key: str) -> None:
    assert window("week", "UTC", at).key == key


def test_a_time_in_any_zone_names_the_same_window() -> None:
    local = NOVEMBER.astimezone(ZoneInfo("Asia/Tokyo"))

    assert window("day", "Europe/Berlin", local) == window("day", "Europe/Berlin", NOVEMBER)


def test_a_lifetime_has_one_key_and_never_resets() -> None:
    expected = Window(key="*", start=None, end=None, resets_at=None)

    assert window("lifetime", "UTC", NOVEMBER) == expected
    assert window("lifetime", "UTC", utc(1999, 1, 1)) == expected


def test_a_day_has_23_or_25_hours_where_its_zone_changes_the_clock() -> None:
    spring = window("day", "Europe/Berlin", utc(2026, 3, 29, 12))
    autumn = window("day", "Europe/Berlin", utc(2026, 10, 25, 12))

    assert (spring.start, spring.end) == (utc(2026, 3, 28, 23), utc(2026, 3, 29, 22))
    assert (autumn.start, autumn.end) == (utc(2026, 10, 24, 22), utc(2026, 10, 25, 23))


def test_a_day_without_midnight_starts_at_its_first_instant() -> None:
    # São Paulo went from 24:00 on the 14th to 01:00 on the 15th.
    before = window("day", "America/Sao_Paulo", utc(2017, 10, 15, 2, 59))
    after = window("day", "America/Sao_Paulo", utc(2017, 10, 15, 3))

    assert (before.key, before.end) == ("2017-10-14", utc(2017, 10, 15, 3))
    assert (after.key, after.start) == ("2017-10-15", utc(2017, 10, 15, 3))


def test_a_gap_that_began_before_midnight_starts_the_day_too() -> None:
    # Toronto went from 23:30 on 30 March 1919 to 00:30 on the 31st.
    before = window("day", "America/Toronto", utc(1919, 3, 31, 4, 29, 59))
    after = window("day", "America/Toronto", utc(1919, 3, 31, 4, 30))

    assert (before.key, before.end) == ("1919-03-30", utc(1919, 3, 31, 4, 30))
    assert (after.key, after.start) == ("1919-03-31", utc(1919, 3, 31, 4, 30))


def test_a_skipped_day_has_no_window() -> None:
    # Samoa had no 30 December 2011.
    before = window("day", "Pacific/Apia", utc(2011, 12, 30, 9, 59))
    after = window("day", "Pacific/Apia", utc(2011, 12, 30, 10))

    assert (before.key, before.end) == ("2011-12-29", utc(2011, 12, 30, 10))
    assert (after.key, after.start, after.end) == (
        "2011-12-31",
        utc(2011, 12, 30, 10),
        utc(2011, 12, 31, 10),
    )


def test_a_clock_set_back_across_midnight_stays_in_the_new_day() -> None:
    # St John's went from 00:01 on 26 October 1997 back to 23:01 on the 25th.
    first_midnight = utc(1997, 10, 26, 2, 30)

    shown_again = window("day", "America/St_Johns", utc(1997, 10, 26, 3))

    assert (shown_again.key, shown_again.start) == ("1997-10-26", first_midnight)
    assert window("day", "America/St_Johns", first_midnight - timedelta(1e-6)).key == "1997-10-25"


def test_the_hour_that_autumn_repeats_is_two_windows() -> None:
    first = window("hour", "America/New_York", utc(2026, 11, 1, 5, 30))
    second = window("hour", "America/New_York", utc(2026, 11, 1, 6, 30))

    assert (first.key, second.key) == ("2026-11-01T01-0400", "2026-11-01T01-0500")
    assert first.end == second.start == utc(2026, 11, 1, 6)


@pytest.mark.parametrize(
    ("at", "key", "start", "end"),
    [
        # Spring: 02:00 becomes 02:30.
        ((2026, 10, 3, 15, 29), "2026-10-04T01+1030", (3, 14, 30), (3, 15, 30)),
        ((2026, 10, 3, 15, 40), "2026-10-04T02+1100", (3, 15, 30), (3, 16)),
        # Autumn: 02:00 becomes 01:30.
        ((2026, 4, 4, 14, 59), "2026-04-05T01+1100", (4, 14), (4, 15)),
        ((2026, 4, 4, 15, 10), "2026-04-05T01+1030", (4, 15), (4, 15, 30)),
    ],
)
def test_a_change_of_half_an_hour_cuts_the_hour(
    at: tuple[int, ...], key: str, start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    year, month = at[:2]

    cut = window("hour", "Australia/Lord_Howe", utc(*at))

    assert (cut.key, cut.start, cut.end) == (key, utc(year, month, *start), utc(year, month, *end))


def test_a_change_within_an_hour_ends_the_window_before_it() -> None:
    # Nepal moved from +05:30 to +05:45 at midnight of 1986, Kathmandu time.
    change = utc(1985, 12, 31, 18, 30)
    # Liberia moved from -00:44:30 to UTC at 00:44:30 UTC on 7 January 1972.
    monrovia = utc(1972, 1, 7, 0, 44, 30)

    before = window("hour", "Asia/Kathmandu", change - timedelta(seconds=1))
    after = window("hour", "Asia/Kathmandu", change)
    minute = window("minute", "Africa/Monrovia", monrovia)
    hour = window("hour", "Africa/Monrovia", monrovia)
    toronto = window("hour", "America/Toronto", utc(1919, 3, 31, 4, 15))

    assert before.end == after.start == change
    assert (after.key, after.end) == ("1986-01-01T00+0545", utc(1985, 12, 31, 19, 15))
    assert minute.start == hour.start == monrovia
    assert (minute.end, hour.end) == (utc(1972, 1, 7, 0, 45), utc(1972, 1, 7, 1))
    assert (toronto.start, toronto.end) == (utc(1919, 3, 31, 4), utc(1919, 3, 31, 4, 30))


def test_a_rolling_window_charges_one_bucket_and_reads_sixty_more() -> None:
    rolling = window("rolling:1h", "UTC", utc(1970, 1, 1, 2, 0, 30))

    assert rolling.key == "rolling:1h#120"
    assert rolling.also_keys == tuple(f"rolling:1h#{n}" for n in range(60, 120))
    assert (rolling.start, rolling.end, rolling.resets_at) == (
        utc(1970, 1, 1, 1, 0, 30),
        None,
        None,
    )


def test_buckets_of_a_duration_that_sixty_does_not_divide_are_rounded_up() -> None:
    # A bucket lasts 61/60 s, which is 1,016,667 µs.
    edge = utc(1970, 1, 1) + timedelta(microseconds=1_016_667)

    assert window("rolling:61s", "UTC", edge).key == "rolling:61s#1"
    assert window("rolling:61s", "UTC", edge - timedelta(microseconds=1)).key == "rolling:61s#0"


def test_rolling_windows_of_other_durations_share_no_bucket() -> None:
    day, week = (window(f"rolling:{text}", "UTC", NOVEMBER) for text in ("24h", "7d"))

    assert not {day.key, *day.also_keys} & {week.key, *week.also_keys}


@pytest.mark.parametrize("kind", ["minute", "hour", "day", "week", "month", "lifetime"])
def test_a_calendar_window_is_parsed_and_written_by_its_name(kind: str) -> None:
    spec = parse_window(kind)

    assert spec == WindowSpec(WindowKind(kind))
    assert spec.text == kind


@pytest.mark.parametrize(
    ("value", "seconds", "written"),
    [
        ("rolling:24h", 86_400, "rolling:24h"),
        ({"rolling": "24h"}, 86_400, "rolling:24h"),
        ({"rolling": "1d"}, 86_400, "rolling:24h"),
        ("rolling:7d", 604_800, "rolling:7d"),
        ("rolling:366d", 31_622_400, "rolling:366d"),
        ("rolling:60s", 60, "rolling:1m"),
        ("rolling:1m", 60, "rolling:1m"),
        ("rolling:90m", 5_400, "rolling:90m"),
        ("rolling:61s", 61, "rolling:61s"),
    ],
)
def test_a_rolling_window_is_parsed_and_written_in_its_largest_unit(
    value: object, seconds: int, written: str
) -> None:
    spec = parse_window(value)

    assert spec == WindowSpec(WindowKind.ROLLING, seconds)
    assert spec.text == written


@pytest.mark.parametrize(
    "value",
    [
        "",
        "year",
        "Month",
        "rolling",
        "24h",
        "rolling:",
        "rolling:h",
        "rolling:24",
        "rolling:-1h",
        "rolling:1.5h",
        "rolling:59s",
        "rolling:0m",
        "rolling:367d",
        "rolling:99999999999h",
        "rolling:\u0661h",
        "rolling:24h ",
        {"rolling": "rolling:24h"},
        {"rolling": 24},
        {"rolling": "24h", "tz": "UTC"},
        {},
        None,
        7,
        ["day"],
    ],
)
def test_anything_else_is_refused_with_the_allowed_forms(value: object) -> None:
    with pytest.raises(WindowError, match="minute, hour, day, week, month, lifetime") as refusal:
        parse_window(value)

    assert str(refusal.value).startswith(repr(value))


def test_a_long_value_is_not_echoed_whole() -> None:
    with pytest.raises(WindowError) as refusal:
        parse_window("x" * 10_000)

    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("kind", "seconds", "problem"),
    [
        (WindowKind.ROLLING, None, "belongs to rolling windows"),
        (WindowKind.DAY, 86_400, "belongs to rolling windows"),
        (WindowKind.ROLLING, 59, "from 1m to 366d"),
        (WindowKind.ROLLING, 366 * 86_400 + 1, "from 1m to 366d"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(
    kind: WindowKind, seconds: int | None, problem: str
) -> None:
    with pytest.raises(WindowError, match=problem):
        WindowSpec(kind, seconds)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "America", "../UTC", "/etc/passwd", "a\0b"])
def test_an_unknown_zone_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(WindowError, match="is not a time zone; use an IANA name"):
        parse_time_zone(name)
    with pytest.raises(WindowError, match="is not a time zone"):
        window("day", name, NOVEMBER)


@pytest.mark.parametrize("kind", ["day", "lifetime", "rolling:24h"])
def test_a_time_without_a_zone_is_refused(kind: str) -> None:
    with pytest.raises(WindowError, match="time with a time zone"):
        window(kind, "UTC", NOVEMBER.replace(tzinfo=None))


@pytest.mark.parametrize("year", [1, 9999])
def test_a_time_at_the_end_of_the_calendar_is_refused(year: int) -> None:
    with pytest.raises(WindowError, match="from 2 to 9998"):
        window("month", "UTC", datetime(year, 6, 1, tzinfo=UTC))


def test_hours_tile_across_a_cut_under_different_keys() -> None:
    for tz, day in (("Australia/Lord_Howe", utc(2026, 4, 4)), ("Africa/Monrovia", utc(1972, 1, 6))):
        at, windows = day, list[Window]()
        while at < day + timedelta(days=2):
            windows.append(window("hour", tz, at))
            assert windows[-1].end is not None
            at = windows[-1].end
        assert all(before.end == after.start for before, after in pairwise(windows))
        assert len({hour.key for hour in windows}) == len(windows)
