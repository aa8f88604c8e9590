"""The short way to the budgets of a caller leaves none out and changes no order."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.budget import Budget, Mode, Policy
from spendgate.domain.price import PriceBook
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.window import parse_window
from spendgate.gateway.rules import Rules

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
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


def test_rows_of_other_users_are_not_looked_at() -> None:
    budgets = [
        Budget(f"b{number}", Scope.of({"user": f"u{number}"}), 10**9, parse_window("day"))
        for number in range(50)
    ]

    narrowed = Rules(Policy(budgets=tuple(budgets)), PriceBook()).policy_for(
        Identity({"user": "u7"})
    )

    assert [one.budget_id for one in narrowed.budgets] == ["b7"]
