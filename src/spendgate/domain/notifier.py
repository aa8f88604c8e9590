"""Notifiers: where alerts go, by name; what is secret about a place is only ever referred to."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class NotifierKind(StrEnum):
    """What a place understands: a message for people, or a signed event for a program."""

    MESSAGE = "message"
    WEBHOOK = "webhook"
    CHARGEBACK = "chargeback"
    """A billing system: it gets the statements of billed periods, and no alerts."""


@dataclass(frozen=True, slots=True)
class NotifierSpec:
    """One place that alerts go to, as the policy describes it.

    `to` refers to its address and `key` to what a webhook's events are signed with, such as
    `env:NAME` or `secret:scope/key`. `alerts` names the kinds that go there; none stands for all.
    """

    name: str
    to: str
    kind: NotifierKind = NotifierKind.MESSAGE
    key: str | None = None
    alerts: tuple[str, ...] = ()

    def takes(self, kind: str) -> bool:
        """Tell whether alerts of a kind go there."""
        if self.kind is NotifierKind.CHARGEBACK:
            return False
        return not self.alerts or kind in self.alerts


def taking(notifiers: Iterable[NotifierSpec], routes: Iterable[str], kind: str) -> tuple[str, ...]:
    """Return the routes whose notifier takes a kind of alert, each once.

    One that leads to no notifier stays, so that it is seen when the alert can't be told.
    """
    known = {one.name: one for one in notifiers}
    return tuple(
        route for route in dict.fromkeys(routes) if route not in known or known[route].takes(kind)
    )
