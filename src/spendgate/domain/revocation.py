"""Which spend tokens are refused although their signature and their time are good."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from spendgate.domain.scope import Identity, Scope, ScopeError, checked_value

_CLOCKS_DIFFER_BY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Revocation:
    """One token by its id, or every token of a scope that was minted up to `revoked_at`.

    `expires_at` is when a token would have ended by itself, as far as that is known.
    """

    subject: str | Scope
    reason: str
    revoked_at: datetime
    expires_at: datetime | None = None

    @classmethod
    def of_token(
        cls, token_id: str, reason: str, at: datetime, expires_at: datetime | None = None
    ) -> "Revocation":
        """Revoke one token, with all that were narrowed from it.

        Raises:
            ScopeError: if this can't be the id of a token.
        """
        checked_value("the token's id", token_id)
        return cls(token_id, reason, at, expires_at)

    @property
    def text(self) -> str:
        """What is revoked: `token <id>` or `scope user:ann`; never the same for two subjects."""
        if isinstance(self.subject, Scope):
            return f"scope {self.subject.text}"
        return f"token {self.subject}"

    def is_over(self, at: datetime) -> bool:
        """Tell whether the revoked token has long ended by itself."""
        return self.expires_at is not None and self.expires_at + _CLOCKS_DIFFER_BY <= at


def subject_of(text: str) -> str | Scope:
    """Read what `Revocation.text` wrote.

    Raises:
        ScopeError: if it is another text.
    """
    kind, _, subject = text.partition(" ")
    if kind == "scope":
        return Scope.parse(subject)
    if kind == "token":
        return subject
    raise ScopeError(f"{text[:60]!r} names no token and no scope")


@dataclass(frozen=True, slots=True)
class Revocations:
    """All revocations in force, for the look at each call."""

    token_ids: frozenset[str] = frozenset()
    scopes: tuple[tuple[Scope, datetime], ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Revocation]) -> "Revocations":
        """Sort revocations by what they name."""
        listed = list(rows)
        return cls(
            frozenset(one.subject for one in listed if isinstance(one.subject, str)),
            tuple(
                (one.subject, one.revoked_at) for one in listed if isinstance(one.subject, Scope)
            ),
        )

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
            (minted_at is None or minted_at <= revoked_at) and scope.match(vouched) is not None
            for scope, revoked_at in self.scopes
        )


NOTHING_REVOKED = Revocations()
