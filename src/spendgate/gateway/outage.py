"""The calls of an outage: let out without a hold where their budgets say so, booked afterwards."""

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from spendgate.domain.adjustment import NotAdjusted
from spendgate.domain.decision import Granted
from spendgate.domain.event import Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.outage import UnheldCall, ended, granted_without_ledger, unheld_call
from spendgate.domain.reservation import ReserveRequest, Settled, Settlement
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError
from spendgate.gateway.outcome import Verb
from spendgate.gateway.ports import Clock, Ledger

_log = logging.getLogger(__name__)
UNHELD_MAX = 10_000
"""Calls of one process that wait to be booked; beyond, calls are refused as without the key."""

_STATES = {
    Verb.SETTLE: HoldState.SETTLED,
    Verb.VOID: HoldState.VOIDED,
    Verb.EXPIRE: HoldState.EXPIRED,
}


class UnheldCalls(Protocol):
    """Where calls without a hold are kept until the ledger has them; survives a process."""

    def put(self, call: UnheldCall) -> None:
        """Keep a call, in the place of what was kept under its hold id.

        Raises:
            OSError: if it can't be kept.
        """
        ...

    def remove(self, hold_id: str) -> None:
        """Forget a call."""
        ...

    def due(self, at: datetime) -> Sequence[UnheldCall]:
        """Return what is to be booked at a time, also what other processes kept."""
        ...


class Outage:
    """Admits and books the calls of an outage; safe for many threads."""

    def __init__(self, ledger: Ledger, kept: UnheldCalls | None, clock: Clock) -> None:
        self._ledger = ledger
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, UnheldCall] = {}
        self._admitted = 0

    @property
    def admitted(self) -> int:
        """How many calls this process let out without a hold since its start."""
        return self._admitted

    def admit(self, request: ReserveRequest) -> Granted | None:
        """Let a call out if its budgets say so and its cost can be kept; None: it is refused."""
        granted = granted_without_ledger(request)
        if granted is None or self._kept is None:
            return None
        call = unheld_call(request, granted, self._clock())
        with self._lock:
            if len(self._open) >= UNHELD_MAX:
                _log.error("%d calls wait to be booked; no more go out", UNHELD_MAX)
                return None
            self._open[call.hold_id] = call
        try:
            self._kept.put(call)
        except OSError as error:
            _log.error("no call goes out without a hold: it can't be kept: %s", error.strerror)
            with self._lock:
                del self._open[call.hold_id]
            return None
        self._admitted += 1
        _log.warning("the ledger is away: %s goes out without a hold", call.hold_id)
        return granted

    def end(self, hold_id: str, verb: Verb, charge: Charge) -> None:
        """Keep how a call ended; it is booked when the ledger answers."""
        with self._lock:
            call = self._open.get(hold_id)
            if call is None:
                _log.error("%s ended past its time; its worst case was booked", hold_id)
                return
            final = self._open[hold_id] = ended(call, _STATES[verb], charge, self._clock())
        if self._kept is not None:
            try:
                self._kept.put(final)
            except OSError as error:
                # It stays in memory; after a death of this process its worst case is booked.
                _log.error("the end of %s can't be kept: %s", hold_id, error.strerror)

    def book(self) -> int:
        """Book what is due; return how many calls still wait, in flight ones included."""
        if self._kept is None:
            return 0
        now = self._clock()
        with self._lock:
            own = dict(self._open)
        found = {one.hold_id: one for one in self._kept.due(now)}
        due = {**found, **{key: one for key, one in own.items() if one.due_at <= now}}
        for call in due.values():
            try:
                is_booked = _book(self._ledger, call)
            except (LedgerUnavailableError, LedgerBrokenError):
                break
            if is_booked:
                self._kept.remove(call.hold_id)
                with self._lock:
                    self._open.pop(call.hold_id, None)
        with self._lock:
            return len(self._open)


def _book(ledger: Ledger, call: UnheldCall) -> bool:
    """Book a call once, whoever else tries; the reserve may have reached the ledger after all."""
    found = _ended_hold(ledger, call)
    if found.state is not None or call.end is HoldState.VOIDED:
        return True
    (booked,) = ledger.adjust([call.adjustment])
    if isinstance(booked, NotAdjusted):
        _log.warning("%s isn't booked yet: %s", call.hold_id, booked.problem.value)
        return False
    if booked.moved:
        _log.warning("booked %s: %d nano-USD", call.hold_id, booked.amount_nano)
    return True


def _ended_hold(ledger: Ledger, call: UnheldCall) -> Settled:
    ids = [call.hold_id]
    if call.end is HoldState.SETTLED:
        (found,) = ledger.settle([Settlement(call.hold_id, call.booking.charge, call.at)])
    elif call.end is HoldState.VOIDED:
        (found,) = ledger.void(ids, call.at)
    else:
        (found,) = ledger.expire(ids, call.at)
    return found
