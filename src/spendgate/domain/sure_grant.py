"""Calls that are far from every limit: granted whole wherever the balances stay under a ceiling.

A store that can compare numbers under its locks needn't come back to ask `decide`, which says the
same: where all ceilings hold, it answers a plain `ALLOW` of all the tokens wanted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spendgate.domain.budget import BalanceKey, Claim, Mode
from spendgate.domain.decision import Candidate


class Ceiling(NamedTuple):
    """Up to where one balance may be before the call, nano-USD; None where it doesn't bind."""

    key: BalanceKey
    spent_max_nano: int | None = None
    used_max_nano: int | None = None


@dataclass(frozen=True, slots=True)
class SureGrant:
    """A grant of all that is wanted, under a ceiling for each claim in its order."""

    candidate: Candidate
    amount_nano: int
    ceilings: tuple[Ceiling, ...]


def sure_grant(
    claims: Sequence[Claim], candidates: Mapping[str, Candidate], model: str
) -> SureGrant | None:
    """Say under which balances a call is granted whole.

    Returns None where that can't be told by each balance alone (rolling windows, money carried
    from one window to the next), and where no balance would be low enough.
    """
    candidate = candidates[model]
    amount = candidate.amount_nano(candidate.tokens_wanted)
    ceilings: list[Ceiling] = []
    for claim in claims:
        if claim.keys[1:] or claim.neighbours is not None:
            return None
        key, budget = claim.keys[0], claim.budget
        if budget.mode is Mode.SHADOW:
            ceilings.append(Ceiling(key))
            continue
        used_max = claim.hard_nano - amount
        if used_max < 0:
            return None
        spent_max = claim.soft_nano - candidate.expected_nano
        ceilings.append(Ceiling(key, spent_max, used_max))
    return SureGrant(candidate, amount, tuple(ceilings))
