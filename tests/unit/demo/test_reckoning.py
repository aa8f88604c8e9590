"""The second reckoning says what the gate's own matching and windows say."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.policy_source import load_policy
from spendgate.demo.cast import BURST_AGENT, ORG, make_crowd, policy_text
from spendgate.demo.reckoning import lines_of, nano_of, read_limits
from spendgate.domain.scope import Identity
from spendgate.errors import PolicyError

VALUES: Mapping[str, list[str | None]] = {
    "org": [ORG, "other", None],
    "team": ["research", "data", None],
    "agent": [BURST_AGENT, "a-1", None],
    "user": ["u", None],
    "session": ["s", None],
    "task": ["t", None],
}
PAYERS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})
TAGS = st.dictionaries(st.sampled_from(["cost_center", "burst", "other"]), st.just("1"))
TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


ROWS = """
budgets:
  - {id: everything, scope: {}, limit_usd: 0.000000001, window: lifetime}
  - {id: pairs, scope: {org: "*", team: "*"}, limit_usd: 1, window: day}
  - {id: pair, scope: {org: acme, team: "*"}, limit_usd: 2, window: day}
  - {id: tried, scope: {org: acme, team: data}, limit_usd: 3, window: day, mode: shadow}
  - {id: other-window, scope: {org: "*", team: "*"}, limit_usd: 4, window: hour}
  - {id: tried-all, scope: {agent: "*"}, limit_usd: 5, mode: shadow}
  - {id: tried-one, scope: {agent: a-1}, limit_usd: 6, mode: shadow}
  - {id: tagged, scope: {team: "*", tags: {other: "*", burst: "*"}}, limit_usd: 7, window: week}
"""


@pytest.fixture(scope="module", params=["demo", "rows"])
def policy_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("policy") / "budgets.yml"
    text = policy_text(make_crowd(36)) if request.param == "demo" else ROWS
    file.write_text(text, encoding="utf-8")
    return file


@given(payer=PAYERS, tags=TAGS, at=TIMES)
def test_both_find_the_same_budgets_values_and_windows(
    policy_file: Path, payer: dict[str, str | None], tags: dict[str, str], at: datetime
) -> None:
    scopes = {name: value for name, value in payer.items() if value is not None}
    policy = load_policy(policy_file, book=None, at=at)

    claims = policy.claims(Identity(scopes, tags), at)
    lines = lines_of(read_limits(policy_file), scopes, tags, at)

    assert {(one.budget_id, one.value, one.period) for _, one in lines} == {
        (claim.budget.budget_id, claim.scope.value_text, claim.window.key) for claim in claims
    }
    assert {limit.budget_id: limit.limit_nano for limit, _ in lines} == {
        claim.budget.budget_id: claim.limit_nano for claim in claims
    }


@pytest.mark.parametrize("line", ["window: minute", "tz: Europe/Berlin", "hard_cap: 0.9"])
def test_a_budget_that_the_reckoning_does_not_know_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "budgets.yml"
    file.write_text(f"budgets:\n  - {{id: one, scope: {{}}, limit_usd: 1, {line}}}\n", "utf-8")

    with pytest.raises(PolicyError, match="budget one"):
        read_limits(file)


def test_dollars_are_read_exactly_or_not_at_all() -> None:
    assert nano_of(Decimal("0.100000001")) == 100_000_001
    with pytest.raises(ValueError, match="no whole number"):
        nano_of("0.0000000001")
