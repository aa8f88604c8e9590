"""The rules that this process decides by, kept until the ledger's policy has a newer version."""

import threading
from collections.abc import Callable, Mapping

from spendgate.domain.budget import Policy
from spendgate.domain.counting import CountTokens
from spendgate.domain.price import PriceBook
from spendgate.gateway.ports import Ledger
from spendgate.gateway.rules import Rules

CountersOf = Callable[[Policy], Mapping[str, CountTokens]]
"""Loads the tokenizers that a policy names; those that can't be are left out."""


def no_counters(policy: Policy) -> Mapping[str, CountTokens]:
    """Know no tokenizer, so that every call gets the strict bound."""
    del policy
    return {}


class CurrentRules:
    """Policy and prices as last read; safe for many threads."""

    def __init__(
        self,
        ledger: Ledger,
        book: Callable[[], PriceBook],
        counters_of: CountersOf = no_counters,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._counters_of = counters_of
        self._lock = threading.Lock()
        self._rules: Rules | None = None

    @property
    def at_hand(self) -> Rules | None:
        """The rules as last read; None before the first time."""
        return self._rules

    def reload(self, seen: Rules | None) -> Rules:
        """Read policy and prices anew, once for all callers that saw the same old rules."""
        with self._lock:
            rules = self._rules
            if rules is None or rules is seen:
                # Prices second: a price that comes in between raises the version again.
                policy = self._ledger.policies.policy()
                rules = self._rules = Rules(policy, self._book(), self._counters_of(policy))
            return rules

    def refresh(self) -> None:
        """Reread policy and prices if they changed."""
        rules = self._rules
        if rules is not None and self._ledger.policy_version() != rules.policy.version:
            self.reload(rules)
