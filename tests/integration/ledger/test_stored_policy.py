"""The policy in the ledger: who owns which row, and a version that rises with changes alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.stored_policy import Pause, StoredPolicy
from spendgate.domain.budget import (
    Budget,
    DowngradeStep,
    Mode,
    ModelLimits,
    Policy,
    PolicyDefaults,
    Raise,
    parse_window,
)
from spendgate.domain.decision import Granted, Refused
from spendgate.domain.reservation import StalePolicy
from spendgate.domain.revocation import Revocation, Revocations
from spendgate.domain.scope import Identity, Scope

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
ANN = Identity(values={"user": "ann"})
FULL = Budget(
    budget_id="org-month",
    scope=Scope.parse("org:acme,team:*"),
    limit_nano=500_000_000_001,
    window=parse_window("rolling:24h"),
    tz="Europe/Berlin",
    soft_cap_ppm=700_001,
    hard_cap_ppm=900_000,
    auto_downgrade=(DowngradeStep(("large", "middle"), "small"),),
    disable_tools=("web_search",),
    alerts_ppm=(500_000,),
    routes=("mail",),
    mode=Mode.SHADOW,
    fit=False,
    min_output_tokens=3,
    trust={"team": "asserted"},
    expires_at=NOON,
)


def simple(budget_id: str, limit_nano: int = 100, source: str = "file") -> Budget:
    scope, window = Scope.parse("user:ann"), parse_window("day")
    return Budget(budget_id, scope, limit_nano, window, fit=False, source=source)


@pytest.fixture
def policies(till: "Till") -> StoredPolicy:
    """The policy store of an empty ledger."""
    return till.ledger.policies


def test_what_is_imported_is_what_is_read(policies: StoredPolicy) -> None:
    policy = Policy(
        budgets=(FULL, simple("user-day")),
        raises=(Raise("more", "user-day", 7, "launch", NOON),),
        models={"small": ModelLimits(image_tokens=1000)},
        defaults=PolicyDefaults(max_output_tokens=99, unmatched="allow", held_wait_seconds=0.5),
    )

    kept = policies.import_policy(policy)

    assert kept == []
    assert policies.policy() == replace(policy, version=policies.version())


def test_the_file_replaces_its_own_rows_and_no_others(policies: StoredPolicy) -> None:
    policies.put_budgets([simple("theirs", 1, "people"), simple("imported", 2, "import")])
    policies.put_raise(Raise("their-raise", "theirs", 5, "asked", source="people"))
    first = Policy((simple("old"), simple("kept")), (Raise("old-raise", "old", 5, "asked"),))
    policies.import_policy(first)

    policies.import_policy(Policy((simple("kept", 300), simple("new"))))

    found = policies.policy()
    limits = {one.budget_id: one.limit_nano for one in found.budgets}
    assert limits == {"theirs": 1, "imported": 2, "kept": 300, "new": 100}
    assert [one.raise_id for one in found.raises] == ["their-raise"]


def test_rows_that_people_own_win_over_the_file(policies: StoredPolicy) -> None:
    policies.import_policy(Policy((simple("day"),), (Raise("more", "day", 5, "in the file"),)))
    policies.put_budgets([simple("day", 300, "people")])
    policies.put_raise(Raise("more", "day", 50, "by hand", source="people"))

    kept = policies.import_policy(
        Policy((simple("day", 200), simple("other")), (Raise("more", "day", 6, "in the file"),))
    )

    assert kept == ["day"]
    found = policies.policy()
    budget = found.budget("day")
    assert budget == simple("day", 300, "people")
    assert [(one.amount_nano, one.source) for one in found.raises] == [(50, "people")]


def test_importing_the_same_file_again_changes_no_version(policies: StoredPolicy) -> None:
    policy = Policy((FULL, simple("day")), (Raise("more", "day", 5, "launch"),))
    policies.import_policy(policy)
    version = policies.version()

    policies.import_policy(policy)

    assert policies.version() == version


def test_each_change_raises_the_version_once_and_repeating_it_does_not(
    policies: StoredPolicy,
) -> None:
    later = NOON + timedelta(hours=1)
    scope = Scope.parse("user:ann")
    changes = [
        lambda: policies.import_policy(Policy((simple("file"),))),
        lambda: policies.import_policy(
            Policy((simple("file"),), defaults=PolicyDefaults(unmatched="allow"))
        ),
        lambda: policies.put_budgets([simple("day", 1, "people"), simple("two", 2, "people")]),
        lambda: policies.put_budgets([simple("day", 2, "people")]),
        lambda: policies.put_raise(Raise("more", "day", 5, "launch", source="people")),
        lambda: policies.pause(scope, "runaway", NOON),
        lambda: policies.pause(scope, "investigated", later),
        lambda: policies.resume(scope),
        lambda: policies.remove_budget("day"),
    ]

    steps: list[tuple[int, int]] = []
    for change in changes:
        before = policies.version()
        change()
        between = policies.version()
        change()
        steps.append((between - before, policies.version() - between))

    assert steps == [(1, 0)] * len(changes)


def test_a_removed_budget_takes_its_raises_along(policies: StoredPolicy) -> None:
    policies.put_budgets([simple("day"), simple("other")])
    policies.put_raise(Raise("more", "day", 5, "launch"))
    policies.put_raise(Raise("else", "other", 5, "launch"))

    answers = [policies.remove_budget("day"), policies.remove_budget("day")]

    assert answers == [True, False]
    assert [one.budget_id for one in policies.policy().budgets] == ["other"]
    assert [one.raise_id for one in policies.policy().raises] == ["else"]


def test_a_pause_keeps_its_first_time_and_its_last_reason(policies: StoredPolicy) -> None:
    scope = Scope.parse("org:a%2Cb,agent:*")
    policies.pause(scope, "runaway", NOON)

    policies.pause(scope, "investigated", NOON + timedelta(hours=1))

    assert policies.pauses() == [Pause(scope.text, "investigated", NOON)]
    assert policies.policy().paused == (scope,)
    assert policies.resume(scope) is True
    assert policies.resume(scope) is False
    assert policies.policy().paused == ()


def test_a_raise_counts_until_it_expires(policies: StoredPolicy) -> None:
    policies.put_budgets([simple("day")])
    policies.put_raise(Raise("more", "day", 50, "launch", NOON))

    (before,) = policies.policy().claims(ANN, NOON - timedelta(microseconds=1))
    (after,) = policies.policy().claims(ANN, NOON)

    assert (before.limit_nano, after.limit_nano) == (150, 100)


def test_price_rows_are_kept_in_their_order(policies: StoredPolicy) -> None:
    version = policies.version()

    for row in ('{"b": 1}', '{"a": 2}', '{"b": 1}'):
        policies.put_price(row)

    assert policies.prices() == ['{"b": 1}', '{"a": 2}', '{"b": 1}']
    assert policies.version() == version + 3


def test_a_raised_limit_admits_at_the_next_reserve(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 100)
    refused = till.reserve("h#2", 10)
    stale = till.request("h#2", 10)

    till.ledger.policies.put_raise(Raise("more", "day", 10, "launch", source="people"))

    assert isinstance(refused, Refused)
    assert isinstance(till.ledger.reserve([stale])[0], StalePolicy)
    assert isinstance(till.reserve("h#2", 10), Granted)


def test_a_ledger_keeps_its_name(till: "Till") -> None:
    name = till.ledger.ledger_id
    till.ledger.close()

    assert till.ledger.ledger_id == name
    assert len(name) == 32


def test_revocations_are_kept_and_raise_the_version(policies: StoredPolicy) -> None:
    version = policies.version()
    token = Revocation.of_token("t-1", "lost", NOON, NOON + timedelta(hours=1))
    scope = Revocation(Scope.parse("user:a%b"), "left", NOON)

    policies.revoke(token)
    policies.revoke(scope)

    assert policies.version() == version + 2
    assert sorted(one.text for one in policies.revocations()) == ["scope user:a%25b", "token t-1"]
    assert policies.revocations() == [scope, token]
    assert policies.policy().revoked == Revocations.of([scope, token])


def test_a_revocation_goes_when_its_token_would_have_ended(policies: StoredPolicy) -> None:
    policies.revoke(Revocation.of_token("t-1", "lost", NOON, NOON + timedelta(hours=1)))
    policies.revoke(Revocation.of_token("t-2", "lost", NOON + timedelta(hours=26)))

    assert [one.subject for one in policies.revocations()] == ["t-2"]


def test_importing_a_file_lifts_no_revocation(policies: StoredPolicy) -> None:
    policies.revoke(Revocation.of_token("t-1", "lost", NOON))

    policies.import_policy(Policy(budgets=(simple("a"),)))

    assert policies.policy().revoked.token_ids == {"t-1"}
