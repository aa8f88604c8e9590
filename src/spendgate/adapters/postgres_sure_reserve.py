"""Reserves that are surely granted, on Postgres: a durable transaction in one round trip.

The server locks the balances in the order of their ids, compares each with the ceiling that
`sure_grant` names for it, and writes all or nothing. What it saw is then decided once more by
`decide`, whose answer the callers get.
"""

from collections.abc import Sequence

from spendgate.adapters.durable_commit import DurableCommit
from spendgate.adapters.group_commit import Outcome
from spendgate.adapters.postgres_grants import GrantBatch
from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.statements import statements
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance, Decision, Granted, decide
from spendgate.domain.reservation import ReserveRequest, Verdict
from spendgate.domain.sure_grant import sure_grant
from spendgate.errors import LedgerUnavailableError

_SQL = statements("postgres/verbs.sql")

Callers = Sequence[Sequence[ReserveRequest]]


class SureBatch:
    """The requests of several callers, all of which are granted whole if all ceilings hold."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._batch = GrantBatch()
        self.grants: dict[str, Granted] = {}
        """By hold; where the budgets stand isn't known."""

    @classmethod
    def of(cls, callers: Callers) -> "SureBatch | None":
        """Return the batch, or None if one of its requests may not be granted whole."""
        made = cls(callers)
        try:
            is_sure = all(made._add(request) for caller in callers for request in caller)
        except (KeyError, ValueError, TypeError, OverflowError):
            return None  # which is whose, is found out one by one
        return made if is_sure and made._batch.can_fit else None

    def write(
        self, session: PostgresSession, commit: DurableCommit, origin: str
    ) -> dict[BalanceKey, Balance] | None:
        """Hold it all and return the balances as they were before, or None if nothing was done."""
        version = self._callers[0][0].policy_version
        answers = session.round_trip(
            *commit.begin,
            (_SQL["lock_known_balances"], self._batch.key_columns()),
            self._batch.command(version, origin),
            *commit.end,
        )
        ((is_sure, spent, held),) = answers[len(commit.begin) + 1]
        if not is_sure:
            return None
        return dict(zip(self._batch.keys, map(Balance, spent, held), strict=True))

    def verdicts(self, balances: dict[BalanceKey, Balance]) -> list[Outcome[Verdict]]:
        """Decide each request in turn where its budgets stood."""
        return [[self._verdict(one, balances) for one in caller] for caller in self._callers]

    def _add(self, request: ReserveRequest) -> bool:
        one = sure_grant(request.claims, request.candidates, request.model)
        same_policy = request.policy_version == self._callers[0][0].policy_version
        if one is None or not same_policy or request.hold_id in self.grants:
            return False
        tokens = one.candidate.tokens_wanted
        granted = Granted(Decision.ALLOW, one.candidate, tokens, one.amount_nano, (), ())
        self.grants[request.hold_id] = granted
        self._batch.add(request, granted, one.ceilings)
        return True

    def _verdict(self, request: ReserveRequest, balances: dict[BalanceKey, Balance]) -> Verdict:
        verdict = decide(request.claims, request.candidates, request.model, balances)
        written = self.grants[request.hold_id].amount_nano
        if not isinstance(verdict, Granted) or verdict.amount_nano != written:
            raise LedgerUnavailableError("a hold isn't what was decided; nothing may be sent on it")
        for claim in request.claims:
            key = claim.keys[0]
            spent, held = balances[key]
            balances[key] = Balance(spent, held + written)
        return verdict
