"""Windows tile time in every zone, and their keys are their names."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import example, given
from hypothesis import strategies as st

from spendgate.domain.window import (
    Window,
    WindowKind,
    WindowSpec,
    parse_window,
    window_at,
)

SMALLEST = timedelta(microseconds=1)
LONGEST = {
    WindowKind.MINUTE: timedelta(minutes=1),
    WindowKind.HOUR: timedelta(hours=1),
}
# Zones whose clocks jump in unusual ways, and all the others.
ODD_ZONES = (
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Toronto",
    "Africa/Monrovia",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "UTC",
)
zones = st.sampled_from(ODD_ZONES) | st.sampled_from(sorted(available_timezones() - {"localtime"}))
calendar_kinds = st.sampled_from(
    [WindowKind.MINUTE, WindowKind.HOUR, WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH]
)
specs = st.builds(WindowSpec, calendar_kinds) | st.builds(
    WindowSpec, st.just(WindowKind.ROLLING), st.integers(60, 366 * 86_400)
)


def utc_times(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    first, last = (datetime(year, 1, 1, tzinfo=UTC) for year in (first_year, last_year))
    return st.timedeltas(timedelta(0), last - first).map(lambda since: first + since)


@st.composite
def times(draw: st.DrawFn, tz: str) -> datetime:
    """Any time, preferring those right around a change of the zone's offset."""
    at = draw(utc_times(1880, 2060))
    if not draw(st.booleans()):
        return at
    zone = ZoneInfo(tz)
    low, high = at, at + timedelta(days=200)
    offset = low.astimezone(zone).utcoffset()
    if high.astimezone(zone).utcoffset() == offset:
        return at
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        same = middle.astimezone(zone).utcoffset() == offset
        low, high = (middle, high) if same else (low, middle)
    change = high.replace(microsecond=0)
    return change + timedelta(seconds=draw(st.integers(-7_200, 7_200)))


def edges(window: Window) -> tuple[datetime, datetime]:
    assert window.start is not None
    assert window.end is not None
    return window.start, window.end


@given(calendar_kinds, zones, st.data())
def test_calendar_windows_hold_their_time_and_tile(
    kind: WindowKind, tz: str, data: st.DataObject
) -> None:
    spec, at = WindowSpec(kind), data.draw(times(tz))

    window = window_at(spec, tz, at)
    start, end = edges(window)

    assert start <= at < end
    assert window.resets_at == end
    assert window.also_keys == ()
    assert end - start <= LONGEST.get(kind, timedelta(days=33))
    assert edges(window_at(spec, tz, end))[0] == end
    assert edges(window_at(spec, tz, start - SMALLEST))[1] == start
    assert window_at(spec, tz, start) == window_at(spec, tz, end - SMALLEST) == window


@given(calendar_kinds, zones, st.data())
def test_keys_are_equal_only_within_one_window(
    kind: WindowKind, tz: str, data: st.DataObject
) -> None:
    spec, at = WindowSpec(kind), data.draw(times(tz))
    other = at + data.draw(st.timedeltas(timedelta(days=-40), timedelta(days=40)))

    one, two = window_at(spec, tz, at), window_at(spec, tz, other)

    assert (one.key == two.key) == (one == two)


@given(zones, st.data())
def test_a_day_starts_when_its_date_is_first_shown(tz: str, data: st.DataObject) -> None:
    at = data.draw(times(tz))

    start, _ = edges(window_at(WindowSpec(WindowKind.DAY), tz, at))
    key = window_at(WindowSpec(WindowKind.DAY), tz, at).key

    zone = ZoneInfo(tz)
    assert start.astimezone(zone).date().isoformat() == key
    assert (start - SMALLEST).astimezone(zone).date().isoformat() < key


@given(
    st.integers(60, 366 * 86_400),
    utc_times(1971, 2060),
    st.floats(0, 1),
)
@example(61, datetime(2026, 11, 23, tzinfo=UTC), 1.0)
def test_a_rolling_window_reads_every_bucket_of_its_duration_and_no_older_one(
    seconds: int, at: datetime, share: float
) -> None:
    spec = WindowSpec(WindowKind.ROLLING, seconds)
    duration = timedelta(seconds=seconds)
    bucket = duration / 60 + SMALLEST
    window = window_at(spec, "UTC", at)
    read = (*window.also_keys, window.key)

    charged_within = window_at(spec, "UTC", at - duration * share).key
    charged_long_ago = window_at(spec, "UTC", at - duration - 2 * bucket).key

    assert charged_within in read
    assert charged_long_ago not in read
    assert len(set(read)) == 61
    assert window.start == at - duration


@given(specs)
def test_a_window_is_read_back_as_it_was_written(spec: WindowSpec) -> None:
    written = spec.text

    assert parse_window(written) == spec
    assert parse_window(written).text == written


@given(specs, zones, st.data())
def test_a_window_does_not_depend_on_the_zone_of_the_time(
    spec: WindowSpec, tz: str, data: st.DataObject
) -> None:
    at = data.draw(times(tz))
    local = at.astimezone(ZoneInfo(data.draw(zones)))

    assert window_at(spec, tz, local) == window_at(spec, tz, at)
