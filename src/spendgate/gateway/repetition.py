"""The loop guard at work: the same request too often within one task or session is refused.

What was counted is in this process's memory, oldest requests dropped first: with several workers
each counts for itself. Budgets are what holds money; this only stops a runaway sooner.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from spendgate.domain.budget import Mode
from spendgate.domain.event import DecisionRecord
from spendgate.domain.loop import LoopGuard
from spendgate.domain.scope import PRINCIPAL, Dimension
from spendgate.gateway.admission import Arrival, Prepared
from spendgate.gateway.record import REFUSE, SHADOW, forbidden_record
from spendgate.gateway.reply import Reply, SpendNote, error_reply
from spendgate.gateway.value_object import value_object
from spendgate.gateway.wire import Call

LOOP_DETECTED = "loop_detected"
_WITHIN = (Dimension.TASK, Dimension.SESSION)
_CALLS_MAX = 100_000
"""Calls remembered, about 300 bytes each; a loop repeats itself long before so many others."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A call that a guard has seen too often."""

    guard: LoopGuard
    dimension: str
    budget_id: str | None
    is_shadow: bool


@value_object
class Entry:
    """What became of a call at the guards: counted, and found in a loop or not."""

    is_counted: bool = False
    loop: Loop | None = None


def loop_refusal(loop: Loop, note: SpendNote) -> Reply:
    """Refuse a loop: 403, which no client tries again by itself."""
    where = "defaults" if loop.budget_id is None else f"budget '{loop.budget_id}'"
    message = (
        f"this same request was already made {loop.guard.repeats} times within "
        f"{loop.guard.minutes} minutes in this {loop.dimension}, a loop (loop_guard of {where}); "
        "change the request, or raise the guard"
    )
    param = f"custom_inputs.{loop.dimension}"
    return error_reply(403, LOOP_DETECTED, message, param=param, note=note)


def loop_record(arrival: Arrival, loop: Loop) -> DecisionRecord:
    """Record a loop, refused or only seen by a shadow budget."""
    decision = SHADOW if loop.is_shadow else REFUSE
    return forbidden_record(arrival, LOOP_DETECTED, decision=decision, budget_id=loop.budget_id)


@dataclass(frozen=True, slots=True)
class _Guarding:
    """A guard, and the budget that asks for it; None: the policy's defaults."""

    guard: LoopGuard
    budget_id: str | None = None
    is_shadow: bool = False


class Repetitions:
    """The calls that guards look at, by caller, task or session, and request."""

    def __init__(self, calls_max: int = _CALLS_MAX) -> None:
        self._calls_max = calls_max
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, dict[str, datetime]] = OrderedDict()
        self._calls = 0

    def __len__(self) -> int:
        """Return how many calls are remembered."""
        return self._calls

    def enter(self, prepared: Prepared) -> Entry:
        """Count a call, unless a guard refuses it; a shadow guard's loop is told and counted.

        A request id counts once: a retry with an idempotency key repeats nothing.
        """
        guards = _guards(prepared)
        within = _within(prepared) if guards else {}
        if not within:
            return Entry()
        request_id, at = prepared.arrival.request_id, prepared.arrival.at
        with self._lock:
            found: Loop | None = None
            for dimension, key in within.items():
                seen = self._counted(key, guards, at)
                if request_id in seen:
                    return Entry()
                times = tuple(seen.values())
                for one in guards:
                    if not one.guard.allows(times, at) and (found is None or found.is_shadow):
                        found = Loop(one.guard, dimension, one.budget_id, one.is_shadow)
            is_counted = found is None or found.is_shadow
            if is_counted:
                for key in within.values():
                    self._add(key, request_id, at)
                self._forget_oldest()
            return Entry(is_counted, found)

    def leave(self, prepared: Prepared) -> None:
        """Forget a call that wasn't made after all."""
        if not _guards(prepared):
            return
        with self._lock:
            for key in _within(prepared).values():
                seen = self._seen.get(key, {})
                if seen.pop(prepared.arrival.request_id, None) is not None:
                    self._calls -= 1
                if not seen:
                    self._seen.pop(key, None)

    def _counted(self, key: str, guards: Sequence[_Guarding], at: datetime) -> dict[str, datetime]:
        """Return a request's calls after dropping those that no guard looks at any more."""
        seen = self._seen.get(key, {})
        longest = max((one.guard for one in guards), key=lambda guard: guard.minutes)
        counted = set(longest.counted(tuple(seen.values()), at))
        kept = {one: time for one, time in seen.items() if time in counted}
        self._calls -= len(seen) - len(kept)
        self._seen.pop(key, None)
        if kept:
            self._seen[key] = kept  # the newest now
        return kept

    def _add(self, key: str, request_id: str, at: datetime) -> None:
        self._seen.setdefault(key, {})[request_id] = at
        self._calls += 1

    def _forget_oldest(self) -> None:
        while self._calls > self._calls_max:
            _, seen = self._seen.popitem(last=False)
            self._calls -= len(seen)


def _guards(prepared: Prepared) -> list[_Guarding]:
    """Return the guards of the budgets that cover a call, or the default where none has one."""
    own = [
        _Guarding(guard, claim.budget.budget_id, claim.budget.mode is Mode.SHADOW)
        for claim in prepared.claims
        if (guard := claim.budget.loop_guard) is not None
    ]
    default = prepared.rules.policy.defaults.loop_guard
    if default is not None and all(one.is_shadow for one in own):
        own.append(_Guarding(default))
    return own


def _within(prepared: Prepared) -> dict[str, str]:
    """Return a key for the call's task and one for its session, as far as it has them.

    A key belongs to who pays, so that nobody can fill up a stranger's task.
    """
    values = prepared.caller.identity.values
    named = [one.value for one in _WITHIN if one.value in values]
    if not named:
        return {}
    parts = [*(values.get(name, "") for name in PRINCIPAL), _request_digest(prepared.call)]
    return {name: _digest([name, values[name], *parts]) for name in named}


def _request_digest(call: Call) -> str:
    """Return a digest of what is asked, whoever asks in whichever task."""
    return _digest([call.route, call.model, call.body])


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
