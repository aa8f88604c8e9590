"""Requests for more budget and the journal of changes, on both kinds of ledger."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.budget_admin import BudgetAdmin
from spendgate.adapters.budget_requests import BudgetRequest, BudgetRequests, RequestStatus
from spendgate.adapters.stored_policy import PolicyEdit, RequestRow
from spendgate.domain.price import PriceBook
from spendgate.domain.scope import Scope
from spendgate.errors import AlreadyThereError, SpendgateError

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
ASKED = {"budget_id": "day", "amount_usd": "5", "reason": "a long report", "lasts": "4h"}


def desk(till: "Till", at: datetime = NOON) -> BudgetRequests:
    admin = BudgetAdmin(till.ledger, PriceBook, lambda: at)
    return BudgetRequests(admin, lambda: at)


def limit_nano(till: "Till", at: datetime) -> int:
    policy = till.ledger.policies.policy()
    budget = policy.budget("day")
    assert budget is not None
    return policy.limit(budget, at)


def test_an_approval_raises_the_limit_for_as_long_as_was_asked(
    till: "Till", open_till: Callable[..., "Till"]
) -> None:
    till.budget("day", "user:ann", 1_000_000_000)
    asked = desk(till).ask(ASKED, "ann")
    assert limit_nano(till, NOON) == 1_000_000_000

    decided = desk(till, NOON + timedelta(hours=1)).approve(asked.request_id, "bob", "fine")

    assert (decided.status, decided.decided_by) == (RequestStatus.APPROVED, "bob")
    assert decided.expires_at == NOON + timedelta(hours=5)
    assert limit_nano(till, NOON + timedelta(hours=4)) == 6_000_000_000
    assert limit_nano(till, NOON + timedelta(hours=5)) == 1_000_000_000
    # Another process reads the same.
    assert desk(open_till()).listed() == [decided]
    assert desk(till).approve(asked.request_id, "eve") == decided
    with pytest.raises(AlreadyThereError, match="approved by bob already"):
        desk(till).deny(asked.request_id, "eve")


def test_a_denial_raises_nothing_and_frees_no_name(till: "Till") -> None:
    till.budget("day", "user:ann", 1_000_000_000)
    asked = desk(till).ask({**ASKED, "request_id": "r-1"}, "ann")
    assert desk(till).ask({**ASKED, "request_id": "r-1"}, "ann") == asked
    with pytest.raises(AlreadyThereError, match="another request 'r-1' already"):
        desk(till).ask({**ASKED, "request_id": "r-1", "amount_usd": "6"}, "ann")

    desk(till).deny("r-1", "bob", "no")

    assert limit_nano(till, NOON) == 1_000_000_000
    assert desk(till).listed("pending") == []
    (denied,) = desk(till).listed("denied")
    assert (denied.decision_reason, denied.raise_id) == ("no", None)
    assert till.query("SELECT request_id, status FROM budget_request") == [("r-1", "denied")]


def test_each_change_is_journalled_once_with_its_author(till: "Till") -> None:
    till.budget("day", "user:ann", 1_000_000_000)
    policies = till.ledger.policies
    seen = policies.changes_since(0)[-1].seq
    asked = desk(till).ask({**ASKED, "request_id": "r-1"}, "ann")
    desk(till).approve(asked.request_id, "bob", "fine")
    desk(till).approve(asked.request_id, "eve")
    policies.by("carl", "runaway").pause(Scope.parse("user:ann"), "loops", NOON)

    changes = policies.changes_since(seen)

    assert [(one.actor, one.reason, one.kind, one.name) for one in changes] == [
        ("ann", "a long report", "request", "r-1"),
        ("bob", "fine", "request", "r-1"),
        ("bob", "fine", "raise", "raise-r-1"),
        ("carl", "runaway", "pause", "user:ann"),
    ]
    assert changes[0].before is None
    assert changes[1].before == changes[0].after
    assert changes[3].after == "loops"
    assert all(one.changed_at.tzinfo is UTC for one in changes)
    # In pages, oldest first; nothing twice and nothing left out.
    pages, after = [], seen
    while page := policies.changes_since(after, 3):
        pages += page
        after = page[-1].seq
    assert pages == changes


def test_an_edit_of_an_older_request_or_policy_moves_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 1_000_000_000)
    policies = till.ledger.policies
    row = RequestRow("r-1", "pending", "{}", None)
    assert policies.apply_edit(PolicyEdit(requests=(row,)), version=policies.version())
    before = policies.changes_since(0)

    # It isn't new any more; the other one isn't there; the policy is of another version.
    for edit, version in (
        (PolicyEdit(requests=(row,)), policies.version()),
        (PolicyEdit(requests=(RequestRow("r-2", "denied", "{}", "{}"),)), policies.version()),
        (PolicyEdit(requests=(RequestRow("r-1", "denied", "{}", "{}"),)), policies.version() - 1),
    ):
        assert not policies.apply_edit(edit, version=version)

    assert policies.requests() == ["{}"]
    assert policies.changes_since(0) == before


def test_of_two_who_decide_at_once_one_decides(
    till: "Till", open_till: Callable[..., "Till"]
) -> None:
    till.budget("day", "user:ann", 1_000_000_000)
    requests = [desk(till).ask({**ASKED, "request_id": f"r-{n}"}, "ann") for n in range(5)]
    start = threading.Barrier(2)
    told: dict[tuple[str, str], BudgetRequest | SpendgateError] = {}

    def decide(verb: str) -> None:
        mine = desk(open_till())
        for one in requests:
            start.wait(30)
            try:
                told[one.request_id, verb] = getattr(mine, verb)(one.request_id, verb)
            except SpendgateError as error:
                told[one.request_id, verb] = error

    deciders = [threading.Thread(target=decide, args=(verb,)) for verb in ("approve", "deny")]
    for one in deciders:
        one.start()
    for one in deciders:
        one.join(60)

    raised = 0
    for one in desk(till).listed():
        answers = [told[one.request_id, verb] for verb in ("approve", "deny")]
        refused = [answer for answer in answers if isinstance(answer, AlreadyThereError)]
        assert len(refused) == 1, answers
        assert [answer for answer in answers if answer not in refused] == [one]
        raised += one.status is RequestStatus.APPROVED
    assert limit_nano(till, NOON) == 1_000_000_000 + raised * 5_000_000_000
    assert len(till.ledger.policies.policy().raises) == raised


def test_a_ledger_of_the_version_before_keeps_its_policy_and_gets_the_tables(
    till: "Till", open_till: Callable[..., "Till"]
) -> None:
    budget = till.budget("day", "user:ann", 1_000_000_000)
    till.tamper("DROP TABLE policy_change")
    till.tamper("DROP TABLE budget_request")
    till.tamper("UPDATE meta SET value = '4' WHERE key = 'schema_version'")

    migrated = open_till()
    asked = desk(migrated).ask(ASKED, "ann")

    assert migrated.ledger.policies.policy().budgets == (budget,)
    assert [one.kind for one in migrated.ledger.policies.changes_since(0)] == ["request"]
    assert desk(migrated).listed() == [asked]
    migrated.assert_sound()
