"""A host tells of its hard stops at once, and shares the telling with other hosts and the job."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.alerts.conftest import Place

from spendgate.adapters.host_alerts import HostAlerts
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import Budget, Claim, Policy, PolicyDefaults
from spendgate.domain.decision import Position
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window, window_at
from spendgate.gateway.hard_stops import HardStops

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
BUDGET = Budget("b", Scope.of({"org": "acme"}), 10**9, parse_window("day"))
HOOK = NotifierSpec("hook", "env:PLACE", NotifierKind.WEBHOOK, "env:KEY")
POLICY = Policy((BUDGET,), defaults=PolicyDefaults(routes=("hook",)), notifiers=(HOOK,))


@pytest.fixture
def ledger(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteLedger]:
    monkeypatch.setenv("PLACE", f"{place.url}/in")
    monkeypatch.setenv("KEY", base64.b64encode(bytes(32)).decode())
    one = SqliteLedger(SqliteStore(tmp_path / "ledger.db"))
    yield one
    one.close()


def host(ledger: SqliteLedger, policy: Policy | None, at: datetime = NOW) -> HostAlerts:
    """A host that has just seen the budget's money go."""
    stops = HardStops()
    claim = Claim(BUDGET, BUDGET.scope, window_at(BUDGET.window, "UTC", NOW), 10**9)
    stops.see([Position(claim, 10**9, 0)], NOW)
    return HostAlerts(ledger, stops, lambda: policy, lambda: at)


def test_two_hosts_that_see_the_same_stop_tell_it_once(ledger: SqliteLedger, place: Place) -> None:
    for one in (host(ledger, POLICY), host(ledger, POLICY)):
        one.tell()
        one.tell()

    (event,) = place.received
    assert event.json()["type"] == "budget.hard_stop"
    assert event.json()["source"] == f"/spendgate/{ledger.ledger_id}"


def test_what_a_stopping_host_keeps_another_tells(ledger: SqliteLedger, place: Place) -> None:
    host(ledger, POLICY).keep()
    assert place.received == []

    HostAlerts(ledger, HardStops(), lambda: POLICY, lambda: NOW).tell()

    assert len(place.received) == 1


def test_a_place_that_is_down_is_tried_again_after_a_minute(
    ledger: SqliteLedger, place: Place
) -> None:
    place.status = 500
    host(ledger, POLICY).tell()
    place.status = 200

    host(ledger, POLICY, NOW + timedelta(seconds=59)).tell()
    assert len(place.received) == 1
    host(ledger, POLICY, NOW + timedelta(seconds=60)).tell()

    assert [one.headers["webhook-id"] for one in place.received] == [
        place.received[0].headers["webhook-id"]
    ] * 2


@pytest.mark.parametrize(
    "policy",
    [
        None,
        replace(POLICY, notifiers=()),
        replace(POLICY, defaults=PolicyDefaults()),
        replace(POLICY, notifiers=(replace(HOOK, alerts=("raised",)),)),
    ],
)
def test_nobody_is_told_who_isnt_named(
    ledger: SqliteLedger, place: Place, policy: Policy | None
) -> None:
    host(ledger, policy).tell()

    assert place.received == []
    assert ledger.deliveries.counts() == {}
