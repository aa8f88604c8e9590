"""Each check of the proof under fire can fail."""

from dataclasses import replace
from datetime import UTC, datetime

from spendgate.demo.books import Bill, Event
from spendgate.demo.proof import Check
from spendgate.demo.reckoning import Limit, Line
from spendgate.demo.traffic import CallRecord
from spendgate.prove.account import (
    Accounts,
    before_checks,
    limit_checks,
    line_accounts,
    sum_checks,
)
from spendgate.prove.evidence import open_ended
from spendgate.prove.traffic import RefusedBy

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
ANN = Line("users", "ann", "2026-06-10")
USERS = Limit("users", (("user", "*"),), 100, "day", True)


def event(hold_id: str, nano: int, kind: str = "settled", number: int = 1) -> Event:
    payer = {"user": "ann"}
    return Event(f"{hold_id}:{number}", hold_id, kind, NOON, nano, ("users",), payer)


def call(request_id: str, cost_usd: str | None, code: str | None = None) -> CallRecord:
    status = 200 if code is None else 402
    return CallRecord(
        "storm", {"user": "ann"}, {}, "m", NOON, NOON, status, request_id, code, cost_usd=cost_usd
    )


EVENTS = (event("a#1", 60), event("b#1", 90, "expired"), event("b#1", -55, "corrected", 2))
BILL = Bill(95, {"a#1": 60, "b#1": 35}, {"m": 95})
CALLS = [
    call("a", "0.000000060"),
    call("b", None, "idempotency_replayed"),
    call("c", None, "budget_exhausted"),
]
SOUND = Accounts({ANN: 95}, 0, 95, 3, 0, (), EVENTS)
LAST = [(RefusedBy("users", "user:ann"), CALLS[2])]


def failing(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.holds]


def checked(bill: Bill = BILL, accounts: Accounts = SOUND, calls: list[CallRecord] = CALLS) -> str:
    lines = line_accounts([USERS], bill, calls, accounts, LAST)
    return "; ".join(
        failing([*limit_checks([USERS], lines), *sum_checks(bill, calls, accounts, lines)])
    )


def test_books_that_agree_within_limits_prove_it() -> None:
    (line,) = line_accounts([USERS], BILL, CALLS, SOUND, LAST)

    assert checked() == ""
    assert (line.line, line.bill_nano, line.ledger_nano, line.delta_nano) == (ANN, 95, 95, 95)
    assert (line.admitted, line.affordable, line.is_last) == (2, 2, True)


def test_a_bill_above_the_limit_is_no_proof_even_if_the_books_agree() -> None:
    events = (event("a#1", 60), event("b#1", 41))
    bill = Bill(101, {"a#1": 60, "b#1": 41}, {})

    assert checked(bill, Accounts({ANN: 101}, 0, 101, 2, 0, (), events)) == (
        "bill within limit: users"
    )


def test_a_nano_dollar_of_difference_is_found() -> None:
    assert "bill = ledger" in checked(accounts=replace(SOUND, ledger_lines={ANN: 96}))
    assert "sum of ledger = sum of Delta" in checked(accounts=replace(SOUND, journal_nano=96))
    assert "each call: bill = Delta" in checked(replace(BILL, by_call={"a#1": 61, "b#1": 34}))


def test_an_event_that_is_delivered_twice_is_found() -> None:
    again = replace(SOUND, events=(*EVENTS, EVENTS[0]))

    assert "each event is in Delta once" in checked(accounts=again)


def test_two_billed_attempts_of_one_call_are_found() -> None:
    assert "no call was billed twice" in checked(replace(BILL, by_call={"a#1": 60, "a#2": 35}))


def test_a_call_that_nobody_made_is_found() -> None:
    assert "every billed call is one that a client made" in checked(calls=CALLS[:1])


def test_an_answer_that_told_another_price_is_found() -> None:
    assert "each answer told its client" in checked(calls=[call("a", "0.000000061"), *CALLS[1:]])


def test_problems_and_open_holds_of_the_ledger_are_found() -> None:
    assert "audit" in checked(accounts=replace(SOUND, problems=("budget users: …",)))
    assert "audit" in checked(accounts=replace(SOUND, held_nano=1))


def test_a_budget_that_refuses_while_money_is_left_starves_its_callers() -> None:
    dear = replace(USERS, limit_nano=101)
    lines = line_accounts([dear], BILL, CALLS, SOUND, LAST)

    assert failing(limit_checks([dear], lines)) == []
    starving = replace(USERS, limit_nano=150)
    lines = line_accounts([starving], BILL, CALLS, SOUND, LAST)
    assert failing(limit_checks([starving], lines)) == ["nobody starved: users"]


def test_a_run_in_which_no_budget_ran_out_proves_nothing() -> None:
    lines = line_accounts([USERS], BILL, CALLS, SOUND, [])

    assert failing(limit_checks([USERS], lines)) == ["some budgets ran out"]


def test_only_a_call_whose_end_is_unknown_may_be_charged_above_its_bill() -> None:
    left = replace(SOUND, events=EVENTS[:2], journal_nano=150)

    assert open_ended(left.events) == {"b#1": 90}
    assert failing(before_checks(BILL, left)) == []


def test_an_ended_call_that_is_charged_otherwise_is_found() -> None:
    wrong = (event("a#1", 61), EVENTS[1])
    (first, *_) = failing(before_checks(BILL, replace(SOUND, events=wrong, journal_nano=151)))

    assert "each call that ended, bill = ledger" in first


def test_an_unknown_end_that_is_billed_above_its_charge_is_found() -> None:
    freed = (EVENTS[0], event("b#1", 30, "expired"))
    names = failing(before_checks(BILL, replace(SOUND, events=freed, journal_nano=90)))

    assert any("each unknown end is charged in full" in name for name in names)


def test_a_bill_without_any_charge_is_found() -> None:
    lost = replace(SOUND, events=EVENTS[:1], journal_nano=60)

    assert any("each call that ended" in name for name in failing(before_checks(BILL, lost)))
