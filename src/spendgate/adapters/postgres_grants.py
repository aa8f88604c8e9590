"""How a batch of grants is written: the parameters of the statement `reserve`."""

from collections.abc import Collection
from dataclasses import dataclass

from spendgate.adapters.event_codec import to_micros
from spendgate.adapters.hold_rows import granted_facts
from spendgate.adapters.postgres_wire import Command, array, lines, text_array
from spendgate.adapters.statements import statements
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Granted
from spendgate.domain.reservation import ReserveRequest
from spendgate.domain.sure_grant import Ceiling

_RESERVE = statements("postgres/verbs.sql")["reserve"]
_NUMBER_MAX = 2**63 - 1
"""What fits into a column; nothing is above it."""


@dataclass(slots=True)
class _Move:
    """What a batch holds in one balance, and how high that may be at the batch's end."""

    number: int
    amount: int = 0
    entries: int = 0
    at: int = 0
    spent_max: int = _NUMBER_MAX
    total_max: int | None = None

    @property
    def used_max(self) -> int:
        """How high the balance may be before the batch; negative if the batch alone is too much."""
        return _NUMBER_MAX if self.total_max is None else self.total_max - self.amount


class GrantBatch:
    """Grants of one attempt, in their order, and what they move together."""

    def __init__(self) -> None:
        self._moves: dict[BalanceKey, _Move] = {}
        self._holds: list[tuple[str, str, int, str, str, int]] = []
        self._columns: tuple[str, str, str] | None = None

    @property
    def keys(self) -> tuple[BalanceKey, ...]:
        """The balances that are moved."""
        return tuple(self._moves)

    @property
    def can_fit(self) -> bool:
        """True if the batch is under every ceiling where nothing is spent or held yet."""
        return all(move.used_max >= 0 for move in self._moves.values())

    def add(
        self, request: ReserveRequest, granted: Granted, ceilings: tuple[Ceiling, ...] = ()
    ) -> None:
        """Add one grant, with ceilings in the order of its claims unless it is decided already."""
        at, amount = to_micros(request.facts.occurred_at), granted.amount_nano
        moves = [self._move(claim.keys[0], amount, at) for claim in request.claims]
        for move, ceiling in zip(moves, ceilings, strict=False):
            if ceiling.used_max_nano is not None and ceiling.spent_max_nano is not None:
                total_max, spent_max = ceiling.used_max_nano + amount, ceiling.spent_max_nano
                if move.total_max is None or total_max < move.total_max:
                    move.total_max = total_max
                if spent_max < move.spent_max:
                    move.spent_max = max(spent_max, -_NUMBER_MAX)
        facts, expires_at = granted_facts(request, granted), to_micros(request.expires_at)
        bals = array([move.number for move in moves])
        self._holds.append((request.hold_id, request.fingerprint, amount, bals, facts, expires_at))

    def _move(self, key: BalanceKey, amount: int, at: int) -> _Move:
        move = self._moves.get(key)
        if move is None:
            self._columns = None
            move = self._moves[key] = _Move(len(self._moves) + 1, amount, 1, at)
            return move
        move.amount += amount
        move.entries += 1
        if at > move.at:
            move.at = at
        return move

    def key_columns(self) -> tuple[str, str, str]:
        """Return the keys as the arrays that a statement unnests."""
        if self._columns is None:
            self._columns = key_columns(self._moves)
        return self._columns

    def command(self, version: int, origin: str) -> Command:
        """Compose the statement that writes them all, under a policy's version and a name."""
        moves = self._moves.values()
        ids, fingerprints, amounts, bals, facts, expires = zip(*sorted(self._holds), strict=True)
        hold_ids = text_array(ids)
        return _RESERVE, (
            *self.key_columns(),
            array([move.amount for move in moves]),
            array([move.entries for move in moves]),
            array([move.spent_max for move in moves]),
            array([move.used_max for move in moves]),
            array([move.at for move in moves]),
            version,
            hold_ids,
            origin,
            hold_ids,
            text_array(fingerprints),
            array(amounts),
            text_array(bals),
            lines(facts),
            array(expires),
        )


def key_columns(keys: Collection[BalanceKey]) -> tuple[str, str, str]:
    """Return keys as the three arrays that a statement unnests."""
    budgets, values, periods = zip(*keys, strict=True) if keys else ((), (), ())
    return text_array(budgets), text_array(values), text_array(periods)
