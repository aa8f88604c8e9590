"""Any administration: the stored policy reads the same from every store as from memory."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import (
    Budget,
    ModelLimits,
    Policy,
    PolicyDefaults,
    Raise,
    parse_window,
)
from spendgate.domain.revocation import Revocation
from spendgate.domain.scope import Scope
from spendgate.domain.upstream import Router, UpstreamSpec

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
SOURCES = st.sampled_from(["file", "people", "import"])
NAMES = st.sampled_from(["a", "b", "c"])
SCOPES = st.sampled_from([Scope.parse("user:ann"), Scope.parse("org:acme,team:*"), Scope()])

budgets = st.builds(
    Budget,
    NAMES,
    SCOPES,
    st.integers(1, 3),
    st.sampled_from([parse_window("day"), parse_window("rolling:24h")]),
    source=SOURCES,
)
raises = st.builds(
    Raise,
    NAMES,
    NAMES,
    st.integers(1, 2),
    st.just("asked"),
    st.sampled_from([None, NOON]),
    source=SOURCES,
)
upstreams = st.builds(
    UpstreamSpec, NAMES, st.just("http://models.example.com/v1"), models=st.tuples(NAMES)
)
policies = st.builds(
    Policy,
    budgets=st.lists(budgets, max_size=3).map(tuple),
    raises=st.lists(raises, max_size=2).map(tuple),
    models=st.dictionaries(NAMES, st.builds(ModelLimits, st.integers(1, 2)), max_size=1),
    defaults=st.builds(PolicyDefaults, max_output_tokens=st.sampled_from([None, 9])),
    upstreams=st.lists(upstreams, max_size=2, unique_by=lambda one: one.name).map(tuple),
    router=st.builds(Router, candidates=st.sampled_from([(), ("a",)])),
)
revocations = st.builds(
    Revocation,
    NAMES | SCOPES,
    NAMES,
    st.integers(0, 4).map(lambda days: NOON + timedelta(days=days)),
    st.sampled_from([None, NOON, NOON + timedelta(days=1)]),
)
Change = Callable[[Any], Any]
changes: st.SearchStrategy[Change] = st.one_of(
    policies.map(lambda policy: lambda store: store.import_policy(policy)),
    st.lists(budgets, max_size=2).map(lambda some: lambda store: store.put_budgets(some)),
    NAMES.map(lambda name: lambda store: store.remove_budget(name)),
    raises.map(lambda one: lambda store: store.put_raise(one)),
    st.tuples(SCOPES, NAMES, st.integers(0, 2)).map(
        lambda how: lambda store: store.pause(how[0], how[1], NOON + timedelta(hours=how[2]))
    ),
    SCOPES.map(lambda scope: lambda store: store.resume(scope)),
    NAMES.map(lambda row: lambda store: store.put_price(row)),
    revocations.map(lambda one: lambda store: store.revoke(one)),
)


@given(steps=st.lists(changes, max_size=12))
@settings(max_examples=40)
def test_a_stored_policy_is_the_specification_s(tmp_path_factory: Any, steps: list[Change]) -> None:
    path: Path = tmp_path_factory.mktemp("policy") / "ledger.db"
    stored, specified = SqliteLedger(SqliteStore(path)), MemoryLedger()
    try:
        for store in (stored, specified):
            store.policies.import_policy(Policy(defaults=PolicyDefaults(max_output_tokens=1)))
        for change in steps:
            assert change(stored.policies) == change(specified.policies)

            assert stored.policies.policy() == specified.policies.policy()
            assert stored.policy_version() == specified.policy_version()
            assert stored.policies.pauses() == specified.policies.pauses()
            assert stored.policies.revocations() == specified.policies.revocations()
            assert stored.policies.prices() == specified.policies.prices()
    finally:
        stored.close()
