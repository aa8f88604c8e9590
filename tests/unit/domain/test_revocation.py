"""Which tokens a revocation covers."""

from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.revocation import NOTHING_REVOKED, Revocation, Revocations, subject_of
from spendgate.domain.scope import Identity, Scope, ScopeError

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
    revoked = Revocations.of([Revocation.of_token("t-1", "lost", NOON)])

    assert revoked.cover(token_ids, NOON + timedelta(days=9), ANN) is is_covered


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
    revoked = Revocations.of([Revocation(Scope.parse(scope), "left", NOON)])

    assert revoked.cover(["t-1"], minted_at, ANN) is is_covered


@pytest.mark.parametrize("subject", ["t-1", "scope user:ann", Scope.parse("user:ann"), Scope()])
def test_what_is_revoked_reads_back_from_its_text(subject: str | Scope) -> None:
    assert subject_of(Revocation(subject, "why", NOON).text) == subject


def test_another_text_names_nothing() -> None:
    with pytest.raises(ScopeError):
        subject_of("everything there is")


@pytest.mark.parametrize("token_id", ["", "a\nb", "x" * 300])
def test_what_cant_be_an_id_isnt_revoked(token_id: str) -> None:
    with pytest.raises(ScopeError):
        Revocation.of_token(token_id, "why", NOON)


@pytest.mark.parametrize(
    ("expires_at", "is_over"),
    [(None, False), (NOON, False), (NOON - timedelta(days=1), True)],
)
def test_a_revocation_is_over_a_day_after_its_token(
    expires_at: datetime | None, is_over: bool
) -> None:
    assert Revocation.of_token("t-1", "why", NOON, expires_at).is_over(NOON) is is_over
