"""The policy and prices that one admission is decided by, and a short way to what concerns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.counting import CountTokens
from spendgate.domain.price import PriceBook
from spendgate.domain.scope import TAG_PREFIX, WILDCARD, Identity

_Part = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rules:
    """Policy and prices of one version."""

    policy: Policy
    book: PriceBook
    counters: Mapping[str, CountTokens] = field(default_factory=dict[str, CountTokens], repr=False)
    """The tokenizers of the models that have one here."""

    _explicit: Mapping[_Part, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _general: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        explicit: dict[_Part, tuple[int, ...]] = {}
        general: list[int] = []
        for index, budget in enumerate(self.policy.budgets):
            part = _explicit_part(budget)
            if part is None:
                general.append(index)
            else:
                explicit[part] = (*explicit.get(part, ()), index)
        object.__setattr__(self, "_explicit", explicit)
        object.__setattr__(self, "_general", tuple(general))

    def policy_for(self, identity: Identity) -> Policy:
        """Return the policy with only those budgets that could cover an identity, in their order.

        A policy with a row per user has thousands, of which one names the caller: to try them all
        took 0.6 ms per thousand, measured.
        """
        if not self._explicit:
            return self.policy
        values = [*identity.values.items()]
        values += [(f"{TAG_PREFIX}{name}", value) for name, value in identity.tags.items()]
        found = [index for part in values for index in self._explicit.get(part, ())]
        budgets = tuple(self.policy.budgets[index] for index in sorted((*self._general, *found)))
        return replace(self.policy, budgets=budgets)


def _explicit_part(budget: Budget) -> _Part | None:
    """Return a dimension and value that an identity must have; None where any value will do."""
    return next((part for part in budget.scope.parts if part[1] != WILDCARD), None)
