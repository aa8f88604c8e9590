"""Which spend tokens are refused although their signature and their time are good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from spendgate.domain.scope import Identity, Scope


@dataclass(frozen=True, slots=True)
class RevokedScope:
    """Every token that names a scope's values and was minted up to a time."""

    scope: Scope
    minted_until: datetime


@dataclass(frozen=True, slots=True)
class Revocations:
    """Single tokens by their ids, and all older tokens of a scope."""

    token_ids: frozenset[str] = frozenset()
    scopes: tuple[RevokedScope, ...] = ()

    def cover(
        self, token_ids: Sequence[str], minted_at: datetime | None, vouched: Identity
    ) -> bool:
        """Tell whether a token is revoked.

        Args:
            token_ids: its own id and those of the tokens it was narrowed from: with one of them it
                is revoked too.
            minted_at: when it, or the first of those, was minted; one that doesn't say is as old
                as any.
            vouched: what it says about its bearer.
        """
        if not self.token_ids.isdisjoint(token_ids):
            return True
        return any(
            (minted_at is None or minted_at <= one.minted_until)
            and one.scope.match(vouched) is not None
            for one in self.scopes
        )


NOTHING_REVOKED = Revocations()
