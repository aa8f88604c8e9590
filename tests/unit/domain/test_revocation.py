"""Which tokens a revocation covers."""

from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.revocation import NOTHING_REVOKED, Revocations, RevokedScope
from spendgate.domain.scope import Identity, Scope

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
ANN = Identity({"org": "acme", "user": "ann"})


def test_nothing_is_revoked_at_first() -> None:
    assert not NOTHING_REVOKED.cover(["t-1"], None, ANN)


@pytest.mark.parametrize(
    ("token_ids", "is_covered"), [(["t-1"], True), (["t-0", "t-1"], True), (["t-2"], False)]
)
def test_a_token_falls_with_its_own_id_or_one_it_was_narrowed_from(
    token_ids: list[str], is_covered: bool
) -> None:
    revoked = Revocations(frozenset({"t-1"}))

    assert revoked.cover(token_ids, NOON, ANN) is is_covered


@pytest.mark.parametrize(
    ("scope", "minted_at", "is_covered"),
    [
        ("user:ann", NOON, True),
        ("user:ann", NOON + timedelta(seconds=1), False),
        ("user:ann", None, True),
        ("user:bob", NOON, False),
        ("org:acme,user:*", NOON, True),
        ("team:*", NOON, False),
        ("all", NOON, True),
    ],
)
def test_a_scope_s_tokens_fall_up_to_a_time(
    scope: str, minted_at: datetime | None, is_covered: bool
) -> None:
    revoked = Revocations(scopes=(RevokedScope(Scope.parse(scope), NOON),))

    assert revoked.cover(["t-1"], minted_at, ANN) is is_covered
