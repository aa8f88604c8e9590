"""Tell people and programs of alerts: at least once each, a bounded number of times, one by one.

A delivery is claimed before it is tried, so that of a host and a job only one does, and again after
a while if that one died. What a place refuses is put off, each time for longer, and is dead in the
end; a place that is down holds up no other, because each is tried in a thread of its own.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from spendgate.domain.alert import Alert
from spendgate.domain.notifier import NotifierSpec

DELIVERIES_AT_ONCE = 500
"""What is claimed in one go; the rest waits for the next."""
PLACES_AT_ONCE = 8
CLAIM_SECONDS = 600.0
"""How long a claim holds: far longer than all places take together."""
ATTEMPTS_MAX = 14
"""With the waits below, a place may be down for more than a day."""
WAIT_SECONDS = 60.0
WAIT_SECONDS_MAX = 21_600.0
NO_NOTIFIER = "the policy names no such notifier"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert on its way to one notifier; `attempts` counts this one."""

    delivery_id: str
    route: str
    alert: Alert
    attempts: int


class DeliveryStore(Protocol):
    """Where deliveries are kept until they have ended."""

    def claim(self, at: datetime, until: datetime, limit: int) -> list[Delivery]:
        """Return what is due, and keep others from it until a time."""
        ...

    def end(self, delivery_id: str, at: datetime, error: str | None = None) -> None:
        """Note that it was sent, or with an error that it never will be."""
        ...

    def put_off(self, delivery_id: str, until: datetime, error: str) -> None:
        """Note why it wasn't sent, and when to try again."""
        ...


class Sender(Protocol):
    """Brings alerts to one place."""

    def send(self, notifier: NotifierSpec, alerts: Sequence[Alert]) -> list[str | None]:
        """Send alerts; return for each None, or why it failed, without anything secret."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the deliveries that were due; problems name the notifier, one line each."""

    sent: int = 0
    put_off: int = 0
    dead: int = 0
    problems: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many were tried."""
        return self.sent + self.put_off + self.dead


def wait_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: doubling, from a minute to six hours."""
    return timedelta(seconds=min(WAIT_SECONDS * 2 ** (attempts - 1), WAIT_SECONDS_MAX))


def tell_due(
    store: DeliveryStore, notifiers: Sequence[NotifierSpec], sender: Sender, at: datetime
) -> Told:
    """Try every delivery that is due, each place in a thread of its own."""
    claimed = store.claim(at, at + timedelta(seconds=CLAIM_SECONDS), DELIVERIES_AT_ONCE)
    by_route: dict[str, list[Delivery]] = {}
    for one in claimed:
        by_route.setdefault(one.route, []).append(one)
    if not by_route:
        return Told()
    known = {one.name: one for one in notifiers}

    def tell(route: str) -> list[str | None]:
        try:
            return _sent(route, by_route[route], known, sender)
        except Exception as error:  # noqa: BLE001 - whatever a service's plug-in raises
            # The other places must still be noted, or they would be told again. It is a problem of
            # the report, and this place is tried again.
            return [f"fails with {type(error).__name__}"] * len(by_route[route])

    with ThreadPoolExecutor(PLACES_AT_ONCE, thread_name_prefix="spendgate-tell") as threads:
        answers = list(threads.map(tell, by_route))
    ends = [
        _note(store, one, error, at)
        for route, errors in zip(by_route, answers, strict=True)
        for one, error in zip(by_route[route], errors, strict=True)
    ]
    problems = dict.fromkeys(
        f"notifier {route!r}: {error}"
        for route, errors in zip(by_route, answers, strict=True)
        for error in errors
        if error is not None
    )
    return Told(ends.count("sent"), ends.count("put_off"), ends.count("dead"), tuple(problems))


def _sent(
    route: str,
    deliveries: Sequence[Delivery],
    known: Mapping[str, NotifierSpec],
    sender: Sender,
) -> list[str | None]:
    notifier = known.get(route)
    if notifier is None:
        return [NO_NOTIFIER] * len(deliveries)
    return sender.send(notifier, [one.alert for one in deliveries])


def _note(store: DeliveryStore, delivery: Delivery, error: str | None, at: datetime) -> str:
    if error is None:
        store.end(delivery.delivery_id, at)
        return "sent"
    if delivery.attempts >= ATTEMPTS_MAX:
        store.end(delivery.delivery_id, at, error)
        return "dead"
    store.put_off(delivery.delivery_id, at + wait_after(delivery.attempts), error)
    return "put_off"
