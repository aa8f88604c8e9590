"""Random lives of a ledger in which operators adjust what was spent."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.ledgers.crashing import BEFORE_COMMIT
from tests.properties.ledger_machine import (
    LedgerMachine,
    amounts,
    commit_deaths,
    payer_of,
    recent,
    sessions,
    users,
)
from tests.properties.ledger_model import Told

from spendgate.domain.adjustment import Adjusted, Adjustment, NotAdjusted, Repricing
from spendgate.gateway.adjusting import booking, transfer

signed = st.integers(-60, 60).filter(bool)
# Mostly a new adjustment; else another one under the name of one of the latest.
repeats = st.sampled_from([None, None, None, 0, 1])


class AdjustingMachine(LedgerMachine):
    """Bookings, new prices and transfers among everything else."""

    @initialize()
    def remember_adjustments(self) -> None:
        self.sent: dict[str, Adjustment] = {}

    @rule(again=repeats, amount=signed, user=users, session=sessions, death=commit_deaths)
    def book(
        self, again: int | None, amount: int, user: str, session: str | None, death: str | None
    ) -> None:
        policy, payer = self.ledger.policies.policy(), payer_of(user, session)
        claims = policy.claims(payer.identity, self.at)
        change = booking(claims, payer, amount, self.at)
        asked = ("book", amount, user, session)

        told = self.adjust(again, change, asked, death)

        if self.trap.sprung != BEFORE_COMMIT:
            expected = self.model.book(self.named, asked, amount, (user, session), self.at)
            assert told in {None, expected}

    @rule(again=repeats, which=recent, cost=amounts, death=commit_deaths)
    def reprice(self, again: int | None, which: int, cost: int, death: str | None) -> None:
        hold_id = self.hold_id(which)
        asked = ("reprice", hold_id, cost)

        told = self.adjust(again, Repricing(hold_id, cost), asked, death)

        if self.trap.sprung != BEFORE_COMMIT:
            assert told in {None, self.model.reprice(self.named, asked, hold_id, cost)}

    @rule(again=repeats, which=recent, user=users, session=sessions, death=commit_deaths)
    def let_somebody_else_pay(
        self, again: int | None, which: int, user: str, session: str | None, death: str | None
    ) -> None:
        hold_id = self.hold_id(which)
        hold = self.ledger.hold_record(hold_id)
        if hold is None:
            assert hold_id not in self.model.holds
            return
        policy = self.ledger.policies.policy()
        change, _ = transfer(policy, hold_id, hold, payer_of(user, session))
        asked = ("transfer", hold_id, user, session)

        told = self.adjust(again, change, asked, death)

        if self.trap.sprung != BEFORE_COMMIT:
            expected = self.model.transfer(self.named, asked, hold_id, user, session)
            assert told in {None, expected}

    @precondition(lambda self: self.model.adjustments)
    @rule(which=recent, death=commit_deaths)
    def adjust_once_more(self, which: int, death: str | None) -> None:
        names = list(reversed(self.model.adjustments))
        name = names[min(which, len(names) - 1)]
        one = replace(self.sent[name], at=self.at)

        outcomes = self.dying(death, lambda: self.ledger.adjust([one]))

        first, hold_id, amount = self.model.adjustments[name]
        assert one.fingerprint == str(first)
        assert outcomes is None or outcomes == [Adjusted(name, hold_id, amount, moved=False)]

    def adjust(
        self, again: int | None, change: Any, asked: tuple[object, ...], death: str | None
    ) -> Told | None:
        """Adjust under a new name, or under an earlier one; None if the process died."""
        earlier = list(reversed(self.model.adjustments))
        is_new = again is None or again >= len(earlier)
        self.named = f"a{len(self.sent)}" if is_new else earlier[again or 0]
        one = Adjustment(self.named, str(asked), change, "olga", "why", self.at)
        self.sent.setdefault(self.named, one)
        outcomes = self.dying(death, lambda: self.ledger.adjust([one]))
        if outcomes is None:
            return None
        (told,) = outcomes
        if isinstance(told, NotAdjusted):
            return told.problem.value
        return (told.hold_id, told.amount_nano, told.moved)
