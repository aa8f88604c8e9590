"""A host's part in telling alerts: its own hard stops at once, and what else is due."""

from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.domain.budget import Policy
from spendgate.domain.notifier import NotifierKind, taking
from spendgate.gateway.hard_stops import HardStops
from spendgate.gateway.telling import tell_due


class HostAlerts:
    """Tells alerts in a chore's thread; `policy` is the one at hand, None before the first call."""

    def __init__(
        self,
        ledger: StoredLedger,
        stops: HardStops,
        policy: Callable[[], Policy | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._stops = stops
        self._policy = policy
        self._clock = clock

    def keep(self) -> None:
        """Give the stops to the ledger, whose deliveries any host or job tells."""
        policy = self._policy()
        alerts = self._stops.take()
        if policy is None or not alerts or not policy.notifiers:
            return
        routes = {one.budget_id: one.routes or policy.defaults.routes for one in policy.budgets}
        self._ledger.deliveries.add(
            [
                (one, taking(policy.notifiers, routes.get(one.budget_id, ()), one.kind))
                for one in alerts
            ],
            self._clock(),
        )

    def tell(self) -> None:
        """Tell what is due; a host without apprise leaves that to the job where it is needed."""
        self.keep()
        policy = self._policy()
        if policy is None or not policy.notifiers:
            return
        kinds = {one.kind for one in policy.notifiers}
        if NotifierKind.MESSAGE in kinds and find_spec("apprise") is None:
            return
        from spendgate.adapters.notifier import Notifier  # noqa: PLC0415 - HTTP is slow to load

        sender = Notifier(f"/spendgate/{self._ledger.ledger_id}", self._clock)
        tell_due(self._ledger.deliveries, policy.notifiers, sender, self._clock())
