"""The short way to the budgets of a caller leaves none out and changes no order."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.budget import Budget, Mode, Policy, Raise
from spendgate.domain.price import PriceBook
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import parse_window
from spendgate.gateway.rules import PAYERS_MAX, Rules

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAILY = Budget("daily", Scope.of({"user": "*"}), 10**9, parse_window("day"))
dimensions = st.sampled_from(["org", "team", "user", "tag.cc"])
scopes = st.dictionaries(dimensions, st.sampled_from(["a", "b", "*"]), max_size=3).map(Scope.of)
identities = st.builds(
    Identity,
    values=st.dictionaries(st.sampled_from(["org", "team", "user"]), st.sampled_from("abc")),
    tags=st.dictionaries(st.just("cc"), st.sampled_from("abc")),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    budgets = [
        Budget(
            f"b{index}",
            scope,
            10**9,
            parse_window(draw(st.sampled_from(["day", "month"]))),
            mode=draw(st.sampled_from(Mode)),
        )
        for index, scope in enumerate(draw(st.lists(scopes, max_size=8)))
    ]
    return Policy(budgets=tuple(budgets), version=3)


@given(policy=policies(), identity=identities)
def test_the_narrowed_policy_claims_the_same(policy: Policy, identity: Identity) -> None:
    narrowed = Rules(policy, PriceBook()).policy_for(identity)

    assert narrowed.claims(identity, NOON) == policy.claims(identity, NOON)
    assert narrowed.version == policy.version


@st.composite
def passing_policies(draw: st.DrawFn) -> Policy:
    """Budgets of every kind of window, some of which expire, and raises that do."""
    moments = st.none() | st.integers(0, 200).map(lambda hours: NOON + timedelta(hours=hours))
    kinds = st.sampled_from(["minute", "hour", "day", "week", "month", "lifetime", "rolling:90m"])
    budgets = tuple(
        Budget(f"b{index}", draw(scopes), 10**9, parse_window(draw(kinds)),
               expires_at=draw(moments))
        for index in range(draw(st.integers(0, 4)))
    )  # fmt: skip
    raises = tuple(
        Raise(f"r{index}", one.budget_id, 5, "why", draw(moments))
        for index, one in enumerate(budgets)
    )
    return Policy(budgets=budgets, raises=raises, version=3)


seconds = st.integers(-90_000, 900_000)


@given(
    policy=passing_policies(), payers=st.lists(identities, min_size=1, max_size=2), data=st.data()
)
def test_claims_that_were_kept_are_those_of_the_moment(
    policy: Policy, payers: list[Identity], data: st.DataObject
) -> None:
    rules = Rules(policy, PriceBook())
    at = NOON

    for step in data.draw(st.lists(st.sampled_from([0, 1, 59, 3_600, 86_400]) | seconds)):
        at += timedelta(seconds=step)
        payer = data.draw(st.sampled_from(payers))
        assert rules.claims(payer, at) == policy.claims(payer, at)


def test_claims_are_kept_while_nothing_ends_them() -> None:
    rules = Rules(Policy((DAILY,)), PriceBook())
    ann = Identity({"user": "ann"})

    first = rules.claims(ann, NOON)

    assert rules.claims(Identity({"user": "ann"}), NOON + timedelta(hours=11)) is first
    assert rules.claims(ann, NOON + timedelta(hours=12)) is not first


def test_claims_are_kept_for_so_many_payers_only() -> None:
    rules = Rules(Policy((DAILY,)), PriceBook())
    first = rules.claims(Identity({"user": "u0"}), NOON)

    for number in range(1, PAYERS_MAX):
        rules.claims(Identity({"user": f"u{number}"}), NOON)
    assert rules.claims(Identity({"user": "u0"}), NOON) is first

    rules.claims(Identity({"user": "one too many"}), NOON)
    assert rules.claims(Identity({"user": "u0"}), NOON) is not first


def test_rows_of_other_users_are_not_looked_at() -> None:
    budgets = [
        Budget(f"b{number}", Scope.of({"user": f"u{number}"}), 10**9, parse_window("day"))
        for number in range(50)
    ]

    narrowed = Rules(Policy(budgets=tuple(budgets)), PriceBook()).policy_for(
        Identity({"user": "u7"})
    )

    assert [one.budget_id for one in narrowed.budgets] == ["b7"]
