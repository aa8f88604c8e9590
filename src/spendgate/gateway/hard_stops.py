"""Budgets whose money is gone, as one process sees it: told at once, and never waited for."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime

from spendgate.domain.alert import Alert, AlertKey, AlertKind, period_of, period_start
from spendgate.domain.budget import Mode
from spendgate.domain.decision import Position

WAITING_MAX = 1_000
"""Stops that wait to be told; a burst beyond that is told by the job, which sees them all."""
KNOWN_MAX = 10_000
"""Stops that are remembered; one that is forgotten is told by its name once all the same."""


class HardStops:
    """Notes each stop once; for many threads, in bounded memory, without waiting for anybody."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._waiting: deque[Alert] = deque(maxlen=WAITING_MAX)
        self._lock = threading.Lock()

    def see(self, positions: Iterable[Position], at: datetime) -> None:
        """Look at where budgets stand after a call that was reserved or refused at a time."""
        for one in positions:
            if one.is_hard and one.claim.budget.mode is Mode.ENFORCE:
                self._note(one, at)

    def take(self) -> list[Alert]:
        """Return the stops since the last time."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def _note(self, position: Position, at: datetime) -> None:
        claim = position.claim
        budget, start = claim.budget, period_start(claim.budget.window, claim.window.start, at)
        key = AlertKey(
            AlertKind.HARD_STOP,
            budget.budget_id,
            claim.scope.value_text,
            period_of(start),
            budget.hard_cap_ppm,
        )
        alert_id = key.alert_id
        with self._lock:
            if alert_id in self._known:
                return
            self._known[alert_id] = None
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
            self._waiting.append(
                Alert(
                    alert_id=alert_id,
                    kind=AlertKind.HARD_STOP,
                    crossed_at=at,
                    threshold_ppm=budget.hard_cap_ppm,
                    budget_id=budget.budget_id,
                    scope=claim.scope.kind,
                    scope_value=claim.scope.value_text,
                    window=budget.window.text,
                    window_start=start,
                    window_end=claim.window.end,
                    limit_nano=position.limit_nano,
                    spent_nano=position.spent_nano,
                )
            )
