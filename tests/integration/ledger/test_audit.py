"""The audit recounts everything from the journal, and notices whatever was changed behind it."""

from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.stored_audit import AuditReport

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

TAMPERINGS = {
    "less spent": "UPDATE balance SET spent = spent - 1 WHERE budget_id = 'day'",
    "more spent": "UPDATE balance SET spent = spent + 1 WHERE budget_id = 'all'",
    "less held": "UPDATE balance SET held = held - 1 WHERE budget_id = 'day'",
    "a balance removed": "DELETE FROM balance WHERE budget_id = 'day'",
    "a cheaper hold": "UPDATE hold SET amount = 1 WHERE hold_id = 'open'",
    "a hold released": "UPDATE hold SET state = 'voided' WHERE hold_id = 'open'",
    "a charge lowered": "UPDATE hold SET charged = 0 WHERE hold_id = 'paid'",
    "a charge reopened": "UPDATE hold SET state = 'held' WHERE hold_id = 'paid'",
    "a paid hold's amount": "UPDATE hold SET amount = 1000 WHERE hold_id = 'paid'",
    "a hold removed": "DELETE FROM hold WHERE hold_id = 'paid'",
    "an open hold removed": "DELETE FROM hold WHERE hold_id = 'open'",
    "an expiry called void": "UPDATE hold SET state = 'voided' WHERE hold_id = 'late'",
    "a cheaper event": "UPDATE outbox SET delta = 1 WHERE hold_id = 'paid'",
    "an event moved": "UPDATE outbox SET bals = '[1]' WHERE hold_id = 'paid'",
    "an event removed": "DELETE FROM outbox WHERE hold_id = 'paid'",
    "a void's event removed": "DELETE FROM outbox WHERE hold_id = 'gone'",
    "an event of no hold": """
        INSERT INTO outbox
          (event_id, hold_id, kind, delta, reserved, bals, facts, charge, recorded_at)
        VALUES ('x:1', 'x', 'settled', 5, 5, '[]', '{}', '{}', 0)
    """,
}


@pytest.fixture
def used(till: "Till") -> "Till":
    """A ledger with a hold in each state."""
    till.budget("day", "user:ann", 100)
    till.budget("all", "all", 100)
    for hold_id in ("paid", "gone", "late", "open"):
        till.reserve(hold_id, 20)
    till.settle("paid", 7)
    till.void("gone")
    till.expire("late")
    return till


def test_an_honest_ledger_has_no_problems(used: "Till") -> None:
    report = used.ledger.audit()

    assert report == AuditReport((), balances_checked=2, events=3, holds_open=1, spent_nano=27)


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_change_behind_the_ledger_s_back_is_noticed(used: "Till", tampering: str) -> None:
    changed = used.tamper(TAMPERINGS[tampering])

    problems = used.ledger.audit().problems

    assert changed == 1
    assert problems != ()


def test_a_problem_names_the_balance_and_both_numbers(used: "Till") -> None:
    used.tamper("UPDATE balance SET spent = 26, held = 19 WHERE budget_id = 'day'")

    (problem,) = used.ledger.audit().problems

    assert problem == (
        "budget day (ann, 2026-03-14): spent 26 nano-USD, journal says 27; "
        "held 19, open holds say 20"
    )
