"""First ends of open holds, on Postgres: a transaction in one round trip.

The server locks the holds and their balances in the order of their ids, and moves all or nothing.
"""

from collections.abc import Sequence

from spendgate.adapters.event_codec import encode_charge, to_micros
from spendgate.adapters.group_commit import Outcome
from spendgate.adapters.hold_rows import HoldEnd
from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.postgres_wire import Command, Row, array, lines, text_array
from spendgate.adapters.statements import statements
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance
from spendgate.domain.hold import HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import Settled

_SQL = statements("postgres/verbs.sql")
_TX = statements("postgres/store.sql")

Callers = Sequence[Sequence[HoldEnd]]


class SureEnds:
    """The ends of several callers, each of another hold."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._ends = [end for caller in callers for end in caller]

    @classmethod
    def of(cls, callers: Callers) -> "SureEnds | None":
        """Return the batch, or None if a hold occurs twice or a cost can't be booked."""
        made = cls(callers)
        is_each_once = len({end.hold_id for end in made._ends}) == len(made._ends)
        is_bookable = all(end.cost_nano is None or end.cost_nano >= 0 for end in made._ends)
        return made if made._ends and is_each_once and is_bookable else None

    def write(
        self, session: PostgresSession, *, is_durable: bool
    ) -> Sequence[Outcome[Settled]] | None:
        """End all holds that there are, or do nothing and return None."""
        begin: list[Command] = [(_TX["begin"], ())]
        if not is_durable:
            begin.append((_TX["without_waiting"], ()))
        ids = text_array([end.hold_id for end in self._ends])
        *_, locked, moved, _ = session.round_trip(
            *begin,
            (_SQL["lock_ends"], (ids,)),
            (_SQL["end_all"], (ids, *self._columns())),
            (_TX["commit"], ()),
        )
        # Nothing was done if a hold had ended before; none of them may exist.
        return self._outcomes(locked, moved) if moved[0][0] == len(locked) else None

    def _columns(self) -> tuple[str, str, str, str]:
        costs = ["NULL" if end.cost_nano is None else str(end.cost_nano) for end in self._ends]
        return (
            text_array([end.state.value for end in self._ends]),
            f"{{{','.join(costs)}}}",
            lines([encode_charge(end.charge) for end in self._ends]),
            array([to_micros(end.at) for end in self._ends]),
        )

    def _outcomes(self, locked: Sequence[Row], moved: Sequence[Row]) -> Sequence[Outcome[Settled]]:
        amounts: dict[str, int] = dict(locked)
        balances = {
            BalanceKey(budget, value, period): Balance(spent, held)
            for _, budget, value, period, spent, held in moved
            if budget is not None
        }
        return [
            [
                end.moved(opened(end, amounts[end.hold_id]), balances)
                if end.hold_id in amounts
                else end.unmoved()
                for end in caller
            ]
            for caller in self._callers
        ]


def opened(end: HoldEnd, amount_nano: int) -> Movement:
    """Return what an end moves of a hold that is open."""
    movement = end.transition(HoldAmounts(HoldState.HELD, amount_nano))
    assert movement is not None  # noqa: S101 - every end of an open hold moves it
    return movement
