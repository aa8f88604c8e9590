"""Callbacks: an agent's process hears when a budget passes a threshold or stops a call."""

import inspect
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from spendgate.domain.alert import crossed
from spendgate.domain.money import parse_usd
from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import JsonObject, json_object

_log = logging.getLogger(__name__)
WINDOWS_MAX = 10_000
"""Windows of budgets that are remembered; the longest unseen is forgotten first."""

Moment = Literal["threshold-breach", "hard-stop"]
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class BudgetEvent:
    """What happened to one budget in one window; `threshold` is a part of the limit."""

    moment: Moment
    budget_id: str
    scope: str
    window: str
    resets_at: str | None
    spent_usd: Decimal
    limit_usd: Decimal
    threshold: Decimal | None = None


Callback = Callable[[BudgetEvent], object]


@dataclass(slots=True)
class _Seen:
    spent_nano: int
    is_stopped: bool = False


class Watch:
    """Calls back once for each crossing of each window that this process sees; thread-safe.

    `thresholds_of` answers a budget's thresholds in parts per million.
    """

    def __init__(self, thresholds_of: Callable[[str], Sequence[int]]) -> None:
        self._thresholds_of = thresholds_of
        self._callbacks: dict[str, list[Callback]] = {name: [] for name in get_args(Moment)}
        self._seen: OrderedDict[_Key, _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def on(self, moment: object, callback: object) -> None:
        """Add a callback.

        Raises:
            InvalidRequestError: if there is no such moment, the callback can't be called, or it
                would have to be awaited.
        """
        if not isinstance(moment, str) or moment not in self._callbacks:
            known, said = ", ".join(self._callbacks), repr(moment)[:40]
            raise InvalidRequestError(f"there is no moment {said}; known: {known}", "on")
        if not callable(callback):
            message = f"a callback is called with an event; {type(callback).__name__} can't be"
            raise InvalidRequestError(message, "on")
        if inspect.iscoroutinefunction(callback):
            message = "a callback is called, not awaited; give a plain function"
            raise InvalidRequestError(message, "on")
        self._callbacks[moment].append(callback)

    def see(self, budgets: Iterable[object]) -> None:
        """Look at budgets as a `spend` object lists them."""
        for one in budgets:
            self._tell(self._breaches(json_object(one)))

    def stopped(self, budget: JsonObject) -> None:
        """Note that this budget refused a call."""
        key = _key(budget)
        with self._lock:
            seen = self._remembered(key, parse_usd(str(budget["spent_usd"])))
            is_first = not seen.is_stopped
            seen.is_stopped = True
        if is_first:
            self._tell([_event("hard-stop", budget)])

    def _breaches(self, budget: JsonObject) -> list[BudgetEvent]:
        spent, limit = (parse_usd(str(budget[name])) for name in ("spent_usd", "limit_usd"))
        if limit <= 0:
            return []
        with self._lock:
            seen = self._remembered(_key(budget), spent)
            before, seen.spent_nano = seen.spent_nano, max(seen.spent_nano, spent)
        if spent <= before:
            return []
        passed = crossed(before, spent, limit, self._thresholds_of(str(budget["budget_id"])))
        return [_event("threshold-breach", budget, Decimal(one) / 10**6) for one in passed]

    def _remembered(self, key: _Key, spent_nano: int) -> _Seen:
        """Return what is known of a window; what it spent before the first look isn't news."""
        seen = self._seen.setdefault(key, _Seen(spent_nano))
        self._seen.move_to_end(key)
        if len(self._seen) > WINDOWS_MAX:
            self._seen.popitem(last=False)
        return seen

    def _tell(self, events: Sequence[BudgetEvent]) -> None:
        for event in events:
            for callback in tuple(self._callbacks[event.moment]):
                try:
                    callback(event)
                except Exception:  # noqa: BLE001 - whatever a user's function raises
                    # It only wants to know: the call it hears of is made and paid for regardless.
                    _log.exception("a callback for %s of %s failed", event.moment, event.budget_id)


def _key(budget: JsonObject) -> _Key:
    return str(budget["budget_id"]), str(budget["scope"]), str(budget["resets_at"])


def _event(moment: Moment, budget: JsonObject, threshold: Decimal | None = None) -> BudgetEvent:
    resets_at = budget["resets_at"]
    return BudgetEvent(
        moment,
        str(budget["budget_id"]),
        str(budget["scope"]),
        str(budget["window"]),
        None if resets_at is None else str(resets_at),
        Decimal(str(budget["spent_usd"])),
        Decimal(str(budget["limit_usd"])),
        threshold,
    )
