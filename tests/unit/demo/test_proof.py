"""The proof fails as soon as any one figure is off by one nano-dollar."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spendgate.demo.books import Bill, Books, Event
from spendgate.demo.proof import Proof, reckon
from spendgate.demo.reckoning import Limit, Line
from spendgate.demo.traffic import CallRecord

AT = datetime(2026, 11, 23, 21, 59, 59, tzinfo=UTC)
LIMITS = (
    Limit("agents", (("agent", "*"),), 500, "day", is_enforced=True),
    Limit("org", (("org", "acme"),), 1_000, "month", is_enforced=True),
    Limit("what-if", (("org", "acme"),), 1, "hour", is_enforced=False),
)
COSTS = {"r1": 300, "r2": 200, "r3": 400}
AGENTS = {"r1": "a", "r2": "a", "r3": "b"}
AGENT_A = Line("agents", "a", "2026-11-23")
LINES = {
    AGENT_A: 500,
    Line("agents", "b", "2026-11-23"): 400,
    Line("org", "acme", "2026-11"): 900,
    Line("what-if", "acme", "2026-11-23T21+0000"): 900,
}


def call(request_id: str, **changes: object) -> CallRecord:
    record = CallRecord(
        part="crowd",
        scopes={"org": "acme", "agent": AGENTS.get(request_id, "a")},
        tags={},
        model_requested="m",
        sent_at=AT - timedelta(milliseconds=1),
        answered_at=AT + timedelta(milliseconds=1),
        status=200,
        request_id=request_id,
        decision="allow",
        model_served="m",
        cost_usd=f"0.{COSTS.get(request_id, 0):09d}",
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # names are those of the record


def event(request_id: str) -> Event:
    return Event(
        event_id=f"{request_id}#1:1",
        hold_id=f"{request_id}#1",
        kind="settled",
        occurred_at=AT,
        cost_nano=COSTS[request_id],
        budget_ids=("agents", "org", "what-if"),
        payer={"org": "acme", "agent": AGENTS[request_id]},
    )


REFUSED = call("r4", status=402, code="budget_exhausted", decision="refuse", model_served=None)
CALLS = (*map(call, COSTS), REFUSED)
BILL = Bill(900, {f"{one}#1": nano for one, nano in COSTS.items()}, {"m": 900})
BOOKS = Books(
    ledger_lines=LINES,
    held_nano=0,
    journal_nano=900,
    journal_events=3,
    ledger_problems=(),
    events=tuple(map(event, COSTS)),
    hourly_nano=900,
    state_lines=LINES,
    refusals=(("r4:refuse:1", "budget_exhausted"),),
)


def failed(proof: Proof) -> set[str]:
    assert proof.holds == all(check.holds for check in proof.checks)
    return {check.name for check in proof.checks if not check.holds}


def test_figures_that_agree_are_a_proof() -> None:
    proof = reckon(LIMITS, BILL, CALLS, BOOKS)

    assert failed(proof) == set()
    assert {one.line: one.bill_nano for one in proof.lines} == LINES


def more_in_the_bill(bill: Bill) -> Bill:
    return replace(
        bill,
        total_nano=bill.total_nano + 1,
        by_call={**bill.by_call, "r1#1": 301},
        by_model={"m": 901},
    )


@pytest.mark.parametrize(
    ("bill", "books", "names"),
    [
        (replace(BILL, total_nano=901), BOOKS, {"the bill adds up", "sum of bill = sum of ledger"}),
        (replace(BILL, by_model={"m": 899}), BOOKS, {"each model: bill = calls it served"}),
        (
            BILL,
            replace(BOOKS, ledger_lines={**LINES, AGENT_A: 499}),
            {"each budget and value: bill = ledger"},
        ),
        (
            BILL,
            replace(BOOKS, state_lines={**LINES, AGENT_A: 501}),
            {"each budget and value: bill = budget_state"},
        ),
        (BILL, replace(BOOKS, hourly_nano=899), {"sum of Delta = sum of spend_hourly"}),
        (
            BILL,
            replace(BOOKS, journal_nano=901),
            {"sum of bill = sum of ledger", "sum of ledger = sum of Delta"},
        ),
        (BILL, replace(BOOKS, held_nano=1), {"nothing is held any more"}),
    ],
    ids=["total", "model", "ledger", "state", "hourly", "journal", "held"],
)
def test_one_nano_in_one_figure_fails_the_checks_that_read_it(
    bill: Bill, books: Books, names: set[str]
) -> None:
    proof = reckon(LIMITS, bill, CALLS, books)

    assert failed(proof) == names
    assert not proof.holds


def test_one_nano_more_in_the_bill_passes_a_limit_that_was_just_reached() -> None:
    proof = reckon(LIMITS, more_in_the_bill(BILL), CALLS, BOOKS)

    assert "bill within limit: agents" in failed(proof)
    over = next(check for check in proof.checks if check.name == "bill within limit: agents")
    assert "0.000000501 > limit 0.000000500" in over.detail


def test_one_nano_in_one_row_of_delta_names_the_call_and_both_figures() -> None:
    first, *others = BOOKS.events
    books = replace(BOOKS, events=(replace(first, cost_nano=301), *others))

    proof = reckon(LIMITS, BILL, CALLS, books)

    assert {"each call: bill = Delta", "each budget and value: bill = Delta"} <= failed(proof)
    detail = next(one.detail for one in proof.checks if one.name == "each call: bill = Delta")
    assert "r1#1: bill 0.000000300, Delta 0.000000301" in detail


def test_one_nano_in_what_a_client_was_told_fails() -> None:
    calls = (call("r1", cost_usd="0.000000299"), *CALLS[1:])

    proof = reckon(LIMITS, BILL, calls, BOOKS)

    assert failed(proof) == {"each call: Delta = what its client was told"}


@pytest.mark.parametrize(
    ("books", "name"),
    [
        (replace(BOOKS, events=BOOKS.events * 2), "each event is in Delta once"),
        (replace(BOOKS, journal_events=4), "each event is in Delta once"),
        (
            replace(
                BOOKS, events=(replace(BOOKS.events[0], occurred_at=AT + timedelta(seconds=1)),)
            ),
            "each call was reserved between its sending and its answer",
        ),
        (replace(BOOKS, refusals=()), "each refusal is in Delta once, with its reason"),
        (
            replace(BOOKS, refusals=(("r4:refuse:1", "budget_held"),)),
            "each refusal is in Delta once, with its reason",
        ),
        (
            replace(BOOKS, refusals=BOOKS.refusals * 2),
            "each refusal is in Delta once, with its reason",
        ),
        (replace(BOOKS, ledger_problems=("balance 1",)), "the ledger's audit finds nothing"),
    ],
    ids=["twice", "missing", "outside", "unrecorded", "other-reason", "recorded-twice", "audit"],
)
def test_a_record_that_is_wrong_fails(books: Books, name: str) -> None:
    assert name in failed(reckon(LIMITS, BILL, CALLS, books))


def test_a_charge_for_a_call_that_nobody_made_fails() -> None:
    bill = replace(BILL, total_nano=901, by_call={**BILL.by_call, "r9#1": 1})

    assert "every billed call is one that a client made" in failed(
        reckon(LIMITS, bill, CALLS, BOOKS)
    )


def test_a_call_near_midnight_counts_in_the_window_in_which_it_was_reserved() -> None:
    """The client can't know on which side of the edge its money was held; the event can."""
    late = AT.replace(day=24, hour=0, minute=0, second=0)
    events = tuple(replace(one, occurred_at=late) for one in BOOKS.events)
    calls = tuple(replace(one, answered_at=late + timedelta(seconds=1)) for one in CALLS)

    proof = reckon(LIMITS, BILL, calls, replace(BOOKS, events=events))

    days = {one.line.period for one in proof.lines if one.bill_nano and one.limit.window == "day"}
    assert days == {"2026-11-24"}
