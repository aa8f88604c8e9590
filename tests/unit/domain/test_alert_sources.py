"""Alerts that no level of spend makes: each has its figures, and one name in its life."""

from datetime import UTC, datetime, timedelta

from spendgate.domain.alert import AlertKind
from spendgate.domain.alert_sources import raise_alerts, sink_alert
from spendgate.domain.budget import CUT, Budget, Policy, Raise
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
BUDGET = Budget("b", Scope.of({"org": "acme"}), 10 * 10**9, parse_window("day"))


def test_a_raise_is_told_with_its_amount_end_and_reason_while_it_holds() -> None:
    until = NOW + timedelta(hours=1)
    policy = Policy(
        (BUDGET,),
        (
            Raise("r1", "b", 5 * 10**9, "launch", until),
            Raise("r2", "b", 10**9, "over", NOW),
            Raise("r3", "b", -(10**9), "restore", source=CUT),
            Raise("r4", "gone", 1, "orphan"),
        ),
    )

    told, orphan = raise_alerts(policy, NOW)

    assert (told.kind, told.budget_id, told.scope, told.scope_value) == (
        AlertKind.RAISED, "b", "org", "acme"
    )  # fmt: skip
    assert told.limit_nano == 14 * 10**9
    assert told.window_end == until
    assert told.detail == "by 5.000000000 USD until 2026-03-10T13:30:00+00:00: launch"
    assert raise_alerts(policy, NOW + timedelta(minutes=1))[0].alert_id == told.alert_id
    assert (orphan.scope, orphan.limit_nano, orphan.detail) == (
        "",
        None,
        "by 0.000000001 USD: orphan",
    )
    assert orphan.alert_id != told.alert_id


def test_a_sink_that_is_behind_is_told_once_a_day() -> None:
    def told(oldest_at: datetime | None, at: datetime = NOW) -> str | None:
        alert = sink_alert(oldest_at, 3, at, limit_seconds=60)
        return None if alert is None else alert.alert_id

    assert told(None) is None
    assert told(NOW - timedelta(seconds=60)) is None
    late = sink_alert(NOW - timedelta(seconds=61), 3, NOW, limit_seconds=60)
    assert late is not None
    assert late.detail == "3 events wait for the tables, the oldest for 61 s"
    assert late.window_end == datetime(2026, 3, 11, tzinfo=UTC)
    assert told(NOW - timedelta(hours=9)) == late.alert_id
    assert told(NOW, NOW + timedelta(days=1)) != late.alert_id
