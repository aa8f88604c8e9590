"""Budgets: what covers a call, with which limit, in which window."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spendgate.domain.budget import (
    BalanceKey,
    BoundKind,
    Budget,
    Claim,
    DowngradeStep,
    Mode,
    Policy,
    Raise,
    bound_of,
    find_loop,
    parse_window,
)
from spendgate.domain.decision import Position
from spendgate.domain.scope import Identity, Scope

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALICE = Identity({"org": "acme", "user": "alice"})
BOB = Identity({"org": "acme", "user": "bob"})


def budget(
    budget_id: str,
    scope: str = "all",
    limit: int = 1000,
    window: str = "month",
    tz: str = "UTC",
    soft_cap_ppm: int = 800_000,
    hard_cap_ppm: int = 10**6,
    mode: Mode = Mode.ENFORCE,
    expires_at: datetime | None = None,
    auto_downgrade: tuple[DowngradeStep, ...] = (),
) -> Budget:
    return Budget(
        budget_id,
        Scope.parse(scope),
        limit,
        parse_window(window),
        tz=tz,
        soft_cap_ppm=soft_cap_ppm,
        hard_cap_ppm=hard_cap_ppm,
        mode=mode,
        expires_at=expires_at,
        auto_downgrade=auto_downgrade,
    )


def covering(policy: Policy, identity: Identity, at: datetime = NOON) -> list[str]:
    return [claim.budget.budget_id for claim in policy.claims(identity, at)]


def only_claim(policy: Policy, identity: Identity = ALICE, at: datetime = NOON) -> Claim:
    (claim,) = policy.claims(identity, at)
    return claim


def test_every_budget_that_covers_a_caller_binds() -> None:
    policy = Policy((budget("all"), budget("org", "org:acme"), budget("user", "user:*")))

    assert covering(policy, ALICE) == ["all", "org", "user"]
    assert covering(policy, Identity({"org": "acme"})) == ["all", "org"]
    assert covering(policy, Identity()) == ["all"]


def test_a_caller_that_nothing_covers_has_no_claims() -> None:
    policy = Policy((budget("alice", "user:alice"), budget("session", "session:*")))

    assert policy.claims(BOB, NOON) == ()


def test_an_explicit_row_replaces_the_wildcard_for_its_value_alone() -> None:
    policy = Policy((budget("each", "user:*"), budget("alice", "user:alice")))

    assert covering(policy, ALICE) == ["alice"]
    assert covering(policy, BOB) == ["each"]


def test_an_explicit_row_leaves_a_wildcard_of_another_window_alone() -> None:
    policy = Policy((budget("daily", "user:*", window="day"), budget("monthly", "user:alice")))

    assert covering(policy, ALICE) == ["daily", "monthly"]


def test_an_explicit_row_leaves_a_wildcard_of_other_dimensions_alone() -> None:
    policy = Policy((budget("pairs", "org:*,user:*"), budget("alice", "user:alice")))

    assert covering(policy, ALICE) == ["pairs", "alice"]


def test_rows_that_are_each_explicit_somewhere_else_both_bind() -> None:
    policy = Policy(
        (
            budget("any", "org:*,user:*"),
            budget("acme", "org:acme,user:*"),
            budget("alice", "org:*,user:alice"),
        )
    )

    assert covering(policy, ALICE) == ["acme", "alice"]


def test_an_expired_budget_no_longer_covers_and_the_wildcard_is_back() -> None:
    policy = Policy((budget("each", "user:*"), budget("alice", "user:alice", expires_at=NOON)))

    assert covering(policy, ALICE, NOON - timedelta(microseconds=1)) == ["alice"]
    assert covering(policy, ALICE, NOON) == ["each"]


def test_unexpired_raises_add_to_the_limit_of_their_budget() -> None:
    policy = Policy(
        (budget("a", limit=1000),),
        raises=(
            Raise("r1", "a", 50, "launch"),
            Raise("r2", "a", 7, "demo", expires_at=NOON),
            Raise("r3", "b", 900, "another budget's"),
        ),
    )

    assert only_claim(policy, at=NOON - timedelta(seconds=1)).limit_nano == 1057
    assert only_claim(policy, at=NOON).limit_nano == 1050


def test_caps_are_parts_of_the_raised_limit_rounded_down() -> None:
    capped = budget("a", limit=1000, soft_cap_ppm=333_333, hard_cap_ppm=900_001)
    policy = Policy((capped,), raises=(Raise("r", "a", 1, "one more nano"),))

    position = Position(only_claim(policy), 0, 0)

    assert position.soft_nano == 333
    assert position.hard_nano == 900


def test_a_claim_names_the_balance_of_its_value_and_window() -> None:
    claim = only_claim(Policy((budget("each", "user:*"),)))

    assert claim.scope.text == "user:alice"
    assert claim.keys == (BalanceKey("each", "alice", claim.window.key),)


def test_a_window_follows_the_budgets_time_zone() -> None:
    late = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    here, there = (
        only_claim(Policy((budget("a", tz=tz),)), at=late) for tz in ("UTC", "Europe/Berlin")
    )

    assert here.keys != there.keys
    assert here.window.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert there.window.resets_at == datetime(2026, 12, 31, 23, tzinfo=UTC)


def test_a_rolling_claim_reads_the_buckets_before_the_one_it_moves() -> None:
    claim = only_claim(Policy((budget("a", window="rolling:24h"),)))

    assert claim.keys[0].period == claim.window.key
    assert [key.period for key in claim.keys[1:]] == list(claim.window.also_keys)
    assert len(set(claim.keys)) == len(claim.keys) > 1


def test_the_first_paused_scope_that_covers_a_caller_is_named() -> None:
    paused = (Scope.parse("user:alice"), Scope.parse("org:*"))
    policy = Policy(paused=paused)

    assert policy.paused_scope(ALICE) == paused[0]
    assert policy.paused_scope(BOB) == paused[1]
    assert policy.paused_scope(Identity({"user": "bob"})) is None


def test_pausing_everything_covers_every_caller() -> None:
    assert Policy(paused=(Scope(),)).paused_scope(Identity()) == Scope()


def test_a_budget_is_found_by_its_id() -> None:
    policy = Policy((budget("a"), budget("b")))

    assert policy.budget("b") == policy.budgets[1]
    assert policy.budget("c") is None


def test_the_first_step_from_a_model_counts() -> None:
    steps = (DowngradeStep(("x", "y"), "z"), DowngradeStep(("y",), "never"))
    chained = budget("a", auto_downgrade=steps)

    assert chained.step_from("y") == "z"
    assert chained.step_from("z") is None


@pytest.mark.parametrize(
    ("steps", "loop"),
    [
        ([], None),
        ([("x", "y"), ("y", "z")], None),
        ([("x", "z"), ("y", "z")], None),
        ([("x", "x")], ("x", "x")),
        ([("x", "y"), ("y", "x")], ("x", "y", "x")),
        ([("w", "x"), ("x", "y"), ("y", "x")], ("x", "y", "x")),
        ([("x", "y"), ("y", "z"), ("y", "x")], None),
    ],
)
def test_a_loop_in_a_chain_is_named_from_its_start(
    steps: list[tuple[str, str]], loop: tuple[str, ...] | None
) -> None:
    assert find_loop(DowngradeStep((model,), to) for model, to in steps) == loop


def test_a_loop_behind_one_of_several_models_is_found() -> None:
    steps = [DowngradeStep(("a", "b"), "c"), DowngradeStep(("c",), "b")]

    assert find_loop(steps) == ("c", "b", "c")


def test_a_call_is_counted_only_where_every_budget_that_may_refuse_it_says_so() -> None:
    def bound(*budgets: Budget) -> BoundKind:
        return bound_of(Policy(budgets).claims(ALICE, NOON))

    counted = replace(budget("counted"), bound=BoundKind.COUNTED)

    assert bound(counted) is BoundKind.COUNTED
    assert bound(counted, budget("strict")) is BoundKind.STRICT
    assert bound(counted, budget("tried", mode=Mode.SHADOW)) is BoundKind.COUNTED
    assert bound(replace(counted, mode=Mode.SHADOW)) is BoundKind.STRICT
    assert bound() is BoundKind.STRICT


def test_a_shadow_row_does_not_lift_the_wildcard_in_force() -> None:
    tried = budget("tried", "user:alice", mode=Mode.SHADOW)

    assert covering(Policy((budget("each", "user:*"), tried)), ALICE) == ["each", "tried"]
