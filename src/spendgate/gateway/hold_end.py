"""The end of a hold: settled, voided or expired now, or again later if the ledger can't answer."""

import logging
from collections import deque
from collections.abc import Sequence
from itertools import chain

from spendgate.domain.budget import Claim
from spendgate.domain.decision import Position, positions_of
from spendgate.domain.reservation import Settled, Settlement
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError
from spendgate.gateway.outcome import Verb
from spendgate.gateway.ports import Ledger
from spendgate.gateway.value_object import value_object

_log = logging.getLogger(__name__)
_LATE_MAX = 10_000
_AWAY = (LedgerUnavailableError, LedgerBrokenError)


@value_object
class HoldEnd:
    """What to do with one hold whose call has ended; `claims` are the budgets that it moves."""

    verb: Verb
    settlement: Settlement
    claims: tuple[Claim, ...] = ()


class HoldEnds:
    """Ends holds, and remembers in memory those that the ledger couldn't end at once.

    Losing that memory is safe: the hold still covers the call, and is charged in full when it
    expires.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._late: deque[HoldEnd] = deque(maxlen=_LATE_MAX)

    def end(self, ends: Sequence[HoldEnd]) -> list[tuple[Position, ...] | None]:
        """End holds; an answer that was paid for is never held back for a ledger that is away.

        Returns where each one's budgets stand after it, None where the ledger doesn't say.
        """
        found: dict[str, Settled] = {}
        for verb, batch in _by_verb(ends):
            try:
                found.update(_apply(self._ledger, verb, batch))
            except _AWAY as error:
                ids = ", ".join(one.settlement.hold_id for one in batch)
                _log.warning("these holds couldn't be ended now: %s: %s", ids, error)
                self._late += batch
        return [self._positions(one, found.get(one.settlement.hold_id)) for one in ends]

    def end_at_once(self, ends: Sequence[HoldEnd], ledger: Ledger) -> list[tuple[Position, ...]]:
        """End holds by a ledger that doesn't wait.

        Raises:
            LedgerUnavailableError, LedgerBrokenError: if it would have to, or can't; then `end`
                does it, also a second time.
        """
        found: dict[str, Settled] = {}
        for verb, batch in _by_verb(ends):
            found.update(_apply(ledger, verb, batch))
        moved = [_moved_positions(one, found.get(one.settlement.hold_id)) for one in ends]
        return [
            ledger.positions(end.claims) if positions is None else positions
            for end, positions in zip(ends, moved, strict=True)
        ]

    def end_told(self, end: HoldEnd) -> tuple[Settled, tuple[Position, ...]]:
        """End one hold, and say how and where its budgets stand then, as far as is known.

        Raises:
            LedgerUnavailableError, LedgerBrokenError: if it can't be now; nothing is remembered.
        """
        settled = _apply(self._ledger, end.verb, [end])[end.settlement.hold_id]
        return settled, self._positions(end, settled) or ()

    def repeat(self) -> int:
        """End what is late; return how many holds are still waiting."""
        for _ in range(len(self._late)):
            end = self._late.popleft()
            try:
                _apply(self._ledger, end.verb, [end])
            except _AWAY:
                self._late.appendleft(end)
                break
        return len(self._late)

    def _positions(self, end: HoldEnd, settled: Settled | None) -> tuple[Position, ...] | None:
        moved = _moved_positions(end, settled)
        if moved is not None:
            return moved
        try:
            return self._ledger.positions(end.claims)
        except _AWAY:
            return None


def _by_verb(ends: Sequence[HoldEnd]) -> list[tuple[Verb, list[HoldEnd]]]:
    if len(ends) == 1:
        return [(ends[0].verb, list(ends))]
    batches = [(verb, [one for one in ends if one.verb is verb]) for verb in Verb]
    return [(verb, batch) for verb, batch in batches if batch]


def _moved_positions(end: HoldEnd, settled: Settled | None) -> tuple[Position, ...] | None:
    """Say where budgets stand by the answer of the end itself, if that tells of all of them."""
    if settled is None:
        return None
    read = chain.from_iterable([claim.read_keys for claim in end.claims])
    if not all(map(settled.balances.__contains__, read)):
        return None
    return positions_of(end.claims, settled.balances)


def _apply(ledger: Ledger, verb: Verb, ends: Sequence[HoldEnd]) -> dict[str, Settled]:
    if verb is Verb.SETTLE:
        booked = ledger.settle([one.settlement for one in ends])
    else:
        act = ledger.void if verb is Verb.VOID else ledger.expire
        # The time is when it was recorded; of a batch, the last one's.
        booked = act([one.settlement.hold_id for one in ends], ends[-1].settlement.at)
    for settled in booked:
        _alarm(settled)
    return {one.hold_id: one for one in booked}


def _alarm(settled: Settled) -> None:
    if settled.state is None:
        _log.error(
            "hold %s ended, but the ledger doesn't know it: it was collected, or the ledger is "
            "another one; its charge as expired stands unless `spendgate adjust` corrects it",
            settled.hold_id,
        )
    elif settled.is_overrun:
        _log.error(
            "overrun: hold %s cost %d nano-USD, more than was held; check the model's bound",
            settled.hold_id,
            settled.charged_nano,
        )
