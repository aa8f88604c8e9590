"""The end of a hold: settled, voided or expired now, or again later if the ledger can't answer."""

import logging
from collections import deque
from dataclasses import dataclass

from spendgate.domain.reservation import Settled, Settlement
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError
from spendgate.gateway.outcome import Verb
from spendgate.gateway.ports import Ledger

_log = logging.getLogger(__name__)
_LATE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class HoldEnd:
    """What to do with one hold whose call has ended."""

    verb: Verb
    settlement: Settlement


class HoldEnds:
    """Ends holds, and remembers in memory those that the ledger couldn't end at once.

    Losing that memory is safe: the hold still covers the call, and is charged in full when it
    expires.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._late: deque[HoldEnd] = deque(maxlen=_LATE_MAX)

    def end(self, end: HoldEnd) -> None:
        """End a hold; an answer that was paid for is never held back for a ledger that is away."""
        try:
            self._apply(end)
        except (LedgerUnavailableError, LedgerBrokenError) as error:
            _log.warning("hold %s couldn't be ended now: %s", end.settlement.hold_id, error)
            self._late.append(end)

    def repeat(self) -> int:
        """End what is late; return how many holds are still waiting."""
        for _ in range(len(self._late)):
            end = self._late.popleft()
            try:
                self._apply(end)
            except (LedgerUnavailableError, LedgerBrokenError):
                self._late.appendleft(end)
                break
        return len(self._late)

    def _apply(self, end: HoldEnd) -> None:
        hold_id, at = end.settlement.hold_id, end.settlement.at
        if end.verb is Verb.VOID:
            self._ledger.void([hold_id], at)
        elif end.verb is Verb.EXPIRE:
            self._ledger.expire([hold_id], at)
        else:
            (settled,) = self._ledger.settle([end.settlement])
            _alarm_overrun(settled)


def _alarm_overrun(settled: Settled) -> None:
    if settled.is_overrun:
        _log.error(
            "overrun: hold %s cost %d nano-USD, more than was held; check the model's bound",
            settled.hold_id,
            settled.charged_nano,
        )
