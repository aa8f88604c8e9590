"""Spend events: one immutable fact per end of a hold."""

from datetime import UTC, datetime, timedelta

from spendgate.domain.event import CallFacts, Charge, spend_event
from spendgate.domain.hold import EventKind, HoldAmounts, HoldState, expire, settle
from spendgate.domain.usage import TokenUsage

RESERVED_AT = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
FACTS = CallFacts(
    attempt=1,
    occurred_at=RESERVED_AT,
    scopes={"team": "support"},
    model_requested="large",
    model="small",
    upstream="default",
    geo="global",
    price_version="v1",
    decision="downgrade",
    budget_ids=("team",),
)
CHARGE = Charge(TokenUsage(input_tokens=10, output_tokens=5), cost_nano=300, latency_ms=12)


def test_an_event_books_what_its_movement_adds_to_spend() -> None:
    movement = settle(HoldAmounts(HoldState.HELD, 1000), 300)
    assert movement is not None

    event = spend_event("r#1", 1, movement, FACTS, CHARGE, 1000, RESERVED_AT)

    assert event.event_id == "r#1:1"
    assert event.hold_id == "r#1"
    assert event.kind is EventKind.SETTLED
    assert (event.reserved_nano, event.cost_nano) == (1000, 300)
    assert (event.facts, event.charge) == (FACTS, CHARGE)


def test_a_correction_is_a_second_event_that_gives_the_difference_back() -> None:
    hold = HoldAmounts(HoldState.HELD, 1000)
    expired = expire(hold)
    assert expired is not None
    late = settle(HoldAmounts(expired.state, hold.amount_nano, expired.charged_nano), 300)
    assert late is not None
    next_day = RESERVED_AT + timedelta(minutes=6)

    first = spend_event("r#1", 1, expired, FACTS, Charge(), 1000, next_day)
    second = spend_event("r#1", 2, late, FACTS, CHARGE, 1000, next_day)

    assert (first.event_id, second.event_id) == ("r#1:1", "r#1:2")
    assert (first.kind, second.kind) == (EventKind.EXPIRED, EventKind.CORRECTED)
    assert (first.cost_nano, second.cost_nano) == (1000, -700)
    assert first.cost_nano + second.cost_nano == CHARGE.cost_nano


def test_an_event_falls_into_the_window_of_its_reservation_however_late_it_is_recorded() -> None:
    movement = settle(HoldAmounts(HoldState.HELD, 1000), None)
    assert movement is not None
    next_day = RESERVED_AT + timedelta(minutes=6)

    event = spend_event("r#1", 1, movement, FACTS, Charge(), 1000, next_day)

    assert event.facts.occurred_at == RESERVED_AT
    assert event.recorded_at == next_day


def test_a_charge_without_evidence_says_that_it_is_what_was_reserved() -> None:
    unknown = Charge()

    assert unknown.usage_source == "reserved"
    assert unknown.usage is None
    assert unknown.cost_nano is None
