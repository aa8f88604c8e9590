"""What the import of a policy file did to the budgets that were there: whoever opens a ledger with
another file should hear which limits are gone and which spend isn't counted any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.budget_admin import first_named
from spendgate.adapters.left_spend import left_spend
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.stored_policy import Author
from spendgate.domain.budget import Policy


@dataclass(frozen=True, slots=True)
class PolicyImport:
    """Budgets by id: kept as people set them, removed, and changed by the file."""

    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Sentences: which spend of running windows isn't counted any more, and how it can be."""

    def losses(self, file_name: str) -> Iterator[str]:
        """Say which budgets were removed, and which spend was left behind, if any."""
        if self.removed:
            yield f"budgets removed, which {file_name} does not have: {first_named(self.removed)}"
        yield from self.left

    def changes(self, file_name: str) -> Iterator[str]:
        """Say which budgets were changed, if any."""
        if self.changed:
            yield f"budgets changed to what {file_name} says: {first_named(self.changed)}"


NOTHING_IMPORTED = PolicyImport()


def import_policy(
    ledger: StoredLedger, author: Author, policy: Policy, at: datetime
) -> PolicyImport:
    """Replace the rows that the file owns, and tell what that did."""
    policies = ledger.policies.by(author.actor, author.reason)
    before = {one.budget_id: one for one in policies.policy().budgets}
    kept = policies.import_policy(policy)
    listed = {one.budget_id: one for one in policy.budgets}
    own = {name: one for name, one in before.items() if name not in kept and one.source == "file"}
    after = policies.policy().budgets
    return PolicyImport(
        tuple(kept),
        tuple(sorted(name for name in own if name not in listed)),
        tuple(sorted(name for name, one in own.items() if listed.get(name, one) != one)),
        tuple(left_spend(list(before.values()), after, ledger.balances, at)),
    )
