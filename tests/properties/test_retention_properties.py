"""No window that a decision could still look at is over."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from spendgate.domain.budget import Budget, Policy, parse_window
from spendgate.domain.retention import kept_until
from spendgate.domain.rollover import CALENDAR
from spendgate.domain.scope import Identity, Scope

START = datetime(2024, 1, 1, tzinfo=UTC)
instants = st.integers(0, 3 * 366 * 86_400).map(lambda after: START + timedelta(seconds=after))
zones = st.sampled_from(
    ["UTC", "America/New_York", "Pacific/Kiritimati", "Etc/GMT+12", "Australia/Lord_Howe"]
)
windows = st.sampled_from([*sorted(map(str, CALENDAR)), "rolling:1m", "rolling:24h", "rolling:7d"])


@given(instants, zones, windows)
@example(datetime(2024, 12, 31, tzinfo=UTC), "UTC", "week")  # its key names the next year
def test_what_is_read_is_kept_for_two_windows_more(at: datetime, tz: str, window: str) -> None:
    spec = parse_window(window)
    carries = 1 if spec.kind in CALENDAR else 0
    budget = Budget("b", Scope(), 1, spec, tz=tz, rollover_max_nano=carries)
    (claim,) = Policy((budget,)).claims(Identity({}), at)
    seconds = spec.rolling_seconds
    length = timedelta(seconds=seconds or 0)
    if claim.window.start is not None and claim.window.end is not None:
        length = claim.window.end - claim.window.start
    slack = timedelta(days=4)  # months and nights of other lengths

    for key in claim.read_keys:
        until = kept_until(key.period)
        assert until is not None
        assert until > at
        if key == claim.keys[0]:
            assert claim.window.end is None or until >= claim.window.end
            assert until - at > length
            assert until - at < 4 * length + slack + timedelta(days=5)
