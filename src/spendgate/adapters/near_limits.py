"""The budgets that calls have lately found near a limit, so that they aren't asked in vain."""

from collections.abc import Sequence

from spendgate.adapters.group_commit import Outcome
from spendgate.domain.budget import BalanceKey, Mode
from spendgate.domain.decision import Granted, Position, Refused, is_soft
from spendgate.domain.reservation import ReserveRequest, Verdict

_KEYS_MAX = 10_000


class NearLimits:
    """A bounded memory of one lane; forgetting, or knowing too much, only costs a round trip."""

    def __init__(self) -> None:
        self._keys: dict[BalanceKey, None] = {}

    def touches(self, request: ReserveRequest) -> bool:
        """Tell whether a call needs one of these budgets."""
        return bool(self._keys) and any(claim.keys[0] in self._keys for claim in request.claims)

    def learn(
        self, callers: Sequence[Sequence[ReserveRequest]], outcomes: Sequence[Outcome[Verdict]]
    ) -> None:
        """Remember where calls were decided that didn't get all they wanted, or nearly so."""
        for requests, outcome in zip(callers, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                for request, verdict in zip(requests, outcome, strict=True):
                    if isinstance(verdict, Granted | Refused):
                        for position in verdict.positions:
                            self._note(request, position)
        while len(self._keys) > _KEYS_MAX:
            del self._keys[next(iter(self._keys))]

    def _note(self, request: ReserveRequest, position: Position) -> None:
        key = position.claim.keys[0]
        candidate = request.candidates[request.model]
        amount = candidate.amount_nano(candidate.tokens_wanted)
        is_near = amount > position.available_nano or is_soft(position, candidate)
        if is_near and position.claim.budget.mode is Mode.ENFORCE:
            self._keys[key] = None
        else:
            self._keys.pop(key, None)
