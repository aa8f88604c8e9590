"""Alerts on their way: told at least once by one of many, put off for longer, dead in the end."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.ledger.conftest import NOON

from spendgate.adapters.stored_deliveries import StoredDeliveries
from spendgate.domain.alert import Alert, AlertKind
from spendgate.domain.notifier import NotifierSpec
from spendgate.gateway.telling import (
    ATTEMPTS_MAX,
    CLAIM_SECONDS,
    NO_NOTIFIER,
    Told,
    tell_due,
    wait_after,
)

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

PLACES = (NotifierSpec("chat", "env:CHAT"), NotifierSpec("bills", "env:BILLS"))
FULL = Alert(
    "a1", AlertKind.FORECAST, NOON, 900_000, "b", "user", "Zoë @ 東京", "day", NOON,
    NOON + timedelta(days=1), 10**10, 1, 3, "why",
)  # fmt: skip
BARE = Alert("a2", AlertKind.SINK_AGE, NOON, 0)


class Places:
    """Keeps what it is sent; places that are down say so."""

    def __init__(self, *down: str) -> None:
        self.down = down
        self.got: list[tuple[str, str]] = []

    def send(self, notifier: NotifierSpec, alerts: Sequence[Alert]) -> list[str | None]:
        if notifier.name in self.down:
            return ["is down"] * len(alerts)
        self.got += [(notifier.name, one.alert_id) for one in alerts]
        return [None] * len(alerts)


@pytest.fixture
def store(till: "Till") -> StoredDeliveries:
    return till.ledger.deliveries


def tell(store: StoredDeliveries, places: Places, at: datetime = NOON) -> Told:
    return tell_due(store, PLACES, places, at)


def test_each_alert_is_told_once_to_each_place_whoever_adds_and_tells_it(
    till: "Till", store: StoredDeliveries
) -> None:
    other, places = till.again(), Places()
    store.add([(FULL, ("chat", "bills")), (BARE, ("chat",))], NOON)
    other.ledger.deliveries.add([(FULL, ("chat",)), (BARE, ())], NOON)

    assert tell(store, places) == Told(sent=3)
    assert tell(other.ledger.deliveries, places) == Told()
    other.ledger.deliveries.add([(FULL, ("chat",))], NOON)
    assert tell(store, places) == Told()

    assert sorted(places.got) == [("bills", "a1"), ("chat", "a1"), ("chat", "a2")]
    assert store.counts() == {}
    other.ledger.close()


def test_what_is_told_is_what_was_added(store: StoredDeliveries) -> None:
    store.add([(FULL, ("chat",)), (BARE, ("chat",))], NOON)

    claimed = store.claim(NOON, NOON + timedelta(hours=1), 10)

    assert [one.alert for one in claimed] == [FULL, BARE]
    assert [(one.route, one.attempts) for one in claimed] == [("chat", 1)] * 2


def test_a_place_that_is_down_is_tried_again_for_longer_and_is_dead_in_the_end(
    store: StoredDeliveries,
) -> None:
    at, down = NOON, Places("bills")
    store.add([(FULL, ("chat", "bills"))], at)

    first = tell(store, down, at)

    assert (first.sent, first.put_off, first.problems) == (1, 1, ("notifier 'bills': is down",))
    assert down.got == [("chat", "a1")]
    assert tell(store, down, at + timedelta(seconds=59)) == Told()
    last = first
    for attempt in range(1, ATTEMPTS_MAX):
        at += wait_after(attempt)
        last = tell(store, down, at)
    assert (last.put_off, last.dead) == (0, 1)
    assert store.counts() == {"dead": 1}
    (letter,) = store.dead_letters(10)
    assert (letter.route, letter.attempts, letter.error) == ("bills", ATTEMPTS_MAX, "is down")
    assert tell(store, Places(), at + timedelta(days=9)) == Told()
    assert store.states(["a1@bills", "a1@chat", "x"]).keys() == {"a1@bills", "a1@chat"}
    assert store.forget(at - timedelta(days=1)) == 1
    assert store.forget(at) == 1


def test_who_dies_while_telling_leaves_it_to_the_next(store: StoredDeliveries) -> None:
    store.add([(FULL, ("chat",))], NOON)
    store.claim(NOON, NOON + timedelta(seconds=CLAIM_SECONDS), 10)
    places = Places()

    assert tell(store, places, NOON + timedelta(seconds=CLAIM_SECONDS - 1)) == Told()
    assert tell(store, places, NOON + timedelta(seconds=CLAIM_SECONDS)) == Told(sent=1)


def test_a_route_without_a_notifier_is_a_problem_and_waits_for_one(
    store: StoredDeliveries,
) -> None:
    store.add([(FULL, ("pager",))], NOON)

    told = tell(store, Places())

    assert (told.put_off, told.problems) == (1, (f"notifier 'pager': {NO_NOTIFIER}",))
    assert store.states(["a1@pager"])["a1@pager"].error == NO_NOTIFIER


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_a_sender_that_breaks_is_a_problem_of_its_place_alone(
    store: StoredDeliveries, error: type[Exception]
) -> None:
    class Broken(Places):
        def send(self, notifier: NotifierSpec, alerts: Sequence[Alert]) -> list[str | None]:
            if notifier.name == "bills":
                raise error("s3cret")
            return super().send(notifier, alerts)

    store.add([(FULL, ("chat", "bills"))], NOON)

    told = tell(store, Broken())

    assert (told.sent, told.put_off) == (1, 1)
    assert told.problems == (f"notifier 'bills': fails with {error.__name__}",)


def test_the_waits_double_up_to_six_hours() -> None:
    assert [wait_after(n).total_seconds() for n in (1, 2, 3, 9, 10, 13)] == [
        60, 120, 240, 15_360, 21_600, 21_600
    ]  # fmt: skip
