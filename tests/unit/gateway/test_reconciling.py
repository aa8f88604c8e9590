"""Evidence for open ends, and spend around the gate: booked once, corrected by the difference."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.gateway.conftest import price_row

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.price_book import parse_price_row
from spendgate.domain.budget import Budget, Policy
from spendgate.domain.decision import Candidate
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.price import PriceBook, UnpricedModelError
from spendgate.domain.reservation import ReserveRequest, Settlement
from spendgate.domain.scope import Identity, Scope, ScopeError
from spendgate.domain.usage import TokenUsage
from spendgate.domain.window import parse_window
from spendgate.gateway.reconciling import (
    BypassSum,
    SeenCall,
    book_bypass,
    close_open_ends,
    hour_start,
    payers_of,
    price_of,
)

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
ROBOT = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
BOOK = PriceBook(
    (
        parse_price_row(price_row("big", "3.00", "15.00"), where="test"),
        parse_price_row(
            price_row("cached", "1.00", "5.00")
            | {
                "usd_per_million": {"input": "1.00", "cache_write": "1.25", "output": "5.00"},
                "caches_implicitly": True,
            },
            where="test",
        ),
    )
)
SEEN = SeenCall("req-1", "ws", "r#1", AT, "big", None, "ann@acme.com", 200, 20, 5, None, None, None)


@pytest.fixture
def ledger() -> MemoryLedger:
    """A ledger with a budget per user, one for everything, and holds of 1,000 that ended open."""
    made = MemoryLedger()
    budgets = [
        Budget("users", Scope.parse("user:*"), 10**9, parse_window("day")),
        Budget("agents", Scope.parse("agent:*"), 10**9, parse_window("day")),
    ]
    made.policies.put_budgets(budgets)
    for hold_id in ("r#1", "full#1", "running#1"):
        reserve(made, hold_id)
    made.expire(["r#1"], AT)
    made.settle([Settlement("full#1", Charge(), AT)])
    return made


def reserve(ledger: MemoryLedger, hold_id: str, geo: str = "global") -> None:
    policy = ledger.policies.policy()
    scopes = {"user": "ann@acme.com"}
    ledger.reserve(
        [
            ReserveRequest(
                hold_id,
                "body",
                policy.claims(Identity(scopes), AT),
                {"big": Candidate("big", 0, 1000, 1000, 0, "v1")},
                "big",
                CallFacts(1, AT, scopes, "big", "", "main", geo, "", "", ("users",)),
                policy_version=policy.version,
                expires_at=AT + timedelta(minutes=5),
            )
        ]
    )


def spent(ledger: MemoryLedger) -> dict[str, int]:
    return {f"{one.budget_id} {one.scope_value}": one.spent_nano for one in ledger.balances()}


def events(ledger: MemoryLedger) -> tuple[SpendEvent, ...]:
    batch = ledger.outbox.claim_batch(100)
    return () if batch is None else batch.events


def bypass(cost_nano: int, payer: str = "user:bob", **fields: object) -> BypassSum:
    made = BypassSum("ws", hour_start(AT), "big", "bob", Scope.parse(payer), {}, requests=2)
    made.cost_nano = cost_nano
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_usage_that_was_found_settles_an_expired_hold_and_reprices_one_that_was_charged_in_full(
    ledger: MemoryLedger,
) -> None:
    calls = [SEEN, replace(SEEN, client_request_id="full#1", input_tokens=10)]

    booked = close_open_ends(ledger, calls, BOOK, "global", AT)

    # 20 in at 3 USD and 5 out at 15 USD per million are 135,000 nano-USD; far above the hold.
    assert (booked.settled, booked.freed_nano) == (2, 2000 - 135_000 - 105_000)
    assert spent(ledger) == {"users ann@acme.com": 240_000}
    assert [one.kind.value for one in events(ledger)] == [
        "expired", "settled", "corrected", "corrected",
    ]  # fmt: skip

    again = close_open_ends(ledger, calls, BOOK, "global", AT)

    assert (again.settled, spent(ledger)) == (0, {"users ann@acme.com": 240_000})


def test_evidence_is_settled_at_the_price_of_the_holds_place_and_time(
    ledger: MemoryLedger,
) -> None:
    dearer = {"geo": "eu", "effective_from": "2026-03-10T12:30:01Z"}
    rows = (
        price_row("big", "3.00", "15.00"),
        price_row("big", "6.00", "30.00", geo="eu"),
        price_row("big", "9.00", "45.00", **dearer),
    )
    book = PriceBook(tuple(parse_price_row(row, where="test") for row in rows))
    reserve(ledger, "eu#1", geo="eu")
    ledger.expire(["eu#1"], AT)
    seen = replace(SEEN, client_request_id="eu#1", requested_at=AT + timedelta(seconds=2))

    booked = close_open_ends(ledger, [seen], book, "global", AT)

    assert (booked.settled, booked.freed_nano) == (1, 1000 - 2 * 135_000)


@pytest.mark.parametrize(
    ("row", "left"),
    [
        ({"status_code": 429, "input_tokens": None}, 1000),
        ({"status_code": 503, "input_tokens": None}, 2000),
        ({"input_tokens": None}, 2000),
        ({"input_tokens": 0, "output_tokens": 0}, 2000),
        ({"output_tokens": -1}, 2000),
        ({"input_tokens": 10**12}, 2000),
    ],
    ids=["refused", "failed", "no tokens", "no input", "garbage", "more than a call costs"],
)
def test_only_evidence_moves_money(
    ledger: MemoryLedger, row: Mapping[str, object], left: int
) -> None:
    close_open_ends(ledger, [replace(SEEN, **row)], BOOK, "global", AT)  # type: ignore[arg-type]

    assert spent(ledger) == {"users ann@acme.com": left}


def test_holds_that_are_gone_or_have_no_price_are_told(ledger: MemoryLedger) -> None:
    gone = replace(SEEN, client_request_id="gone#1")

    booked = close_open_ends(ledger, [gone, SEEN], PriceBook(), "global", AT)

    assert (booked.too_late, booked.settled) == (1, 0)
    assert booked.problems == [
        "hold r#1 stays charged in full: big has no price in global at 2026-03-10T12:30:00+00:00"
    ]


def test_calls_around_the_gate_are_charged_once_and_corrected_by_the_difference(
    ledger: MemoryLedger,
) -> None:
    policy, before = ledger.policies.policy(), len(events(ledger))

    first = book_bypass(
        ledger, policy, [bypass(700), bypass(5, "org:none", context={"a": "b"})], AT
    )

    assert (first.charged, first.uncovered, first.bypass_nano) == (2, 1, 705)
    assert spent(ledger)["users bob"] == 700

    # The same again, from another run or one that was killed in between.
    second = book_bypass(ledger, policy, [bypass(700)], AT + timedelta(hours=1))
    assert (second.charged, second.corrected, second.bypass_nano) == (0, 0, 0)

    # More rows have come, then a row is restated, then it is as before.
    for hours, cost in ((2, 900), (3, 100), (4, 900), (4, 900)):
        booked = book_bypass(ledger, policy, [bypass(cost)], AT + timedelta(hours=hours))
        assert spent(ledger)["users bob"] == cost
        assert not booked.problems
    number = ledger.outbox.claim_batch(1)
    assert number is not None
    ledger.outbox.confirm_batch(number.number)
    made = [one for one in events(ledger) if one.charge.note is not None]
    assert [one.cost_nano for one in made][-3:] == [200, -800, 800]
    assert before == 2


def test_who_pays_is_what_the_call_says_then_who_made_it_then_what_is_set_up() -> None:
    context = {"org": "acme", "agent_id": "bot", "user": "mallory", "session": "", "x": "y"}
    call = replace(SEEN, context=context)
    open_, closed = payers_of({}, must_be_vouched=False), payers_of({}, must_be_vouched=True)

    assert open_.of(call).text == "org:acme,agent:bot,user:ann@acme.com"
    assert closed.of(replace(call, context={**context, "task": "t"})).text == (
        "user:ann@acme.com,task:t"
    )
    assert closed.of(replace(call, requester=ROBOT)).text == f"agent:{ROBOT}"
    assert open_.of(replace(call, requester=ROBOT)).text == "org:acme,agent:bot,user:mallory"
    assert open_.of(replace(SEEN, requester="a\nb")).text == "all"
    known = payers_of({ROBOT: "agent:triage,org:acme"}, must_be_vouched=True)
    assert known.of(replace(SEEN, requester=ROBOT)).text == "org:acme,agent:triage"
    for wrong in ("agent:*", "all", "robot:x"):
        with pytest.raises(ScopeError):
            payers_of({ROBOT: wrong}, must_be_vouched=True)


def test_a_booking_is_named_by_what_was_seen_and_not_by_who_pays() -> None:
    assert bypass(1).booking_id == bypass(2, "agent:x").booking_id
    assert bypass(1).booking_id != bypass(1, requester="eve").booking_id
    assert bypass(1).booking_id != bypass(1, workspace_id="other").booking_id


def test_tokens_are_priced_as_the_platform_counted_them_and_never_below_the_bill() -> None:
    cached = replace(SEEN, endpoint="cached", input_tokens=100, output_tokens=0)

    # Not told what a cache had, every token may have been written to one.
    assert cost(cached) == 125_000
    assert cost(replace(cached, cache_read_tokens=0, cache_write_tokens=40)) == 110_000
    apart = replace(cached, cache_read_tokens=0, cache_write_tokens=200, reasoning_tokens=9)
    assert apart.usage == TokenUsage(300, 0, cache_write_tokens=200)
    # An endpoint of another name is priced as the model behind it.
    assert cost(replace(cached, endpoint="ours", model="cached")) == 125_000
    with pytest.raises(UnpricedModelError):
        cost(replace(cached, endpoint="ours"))


def cost(call: SeenCall) -> int | None:
    charge = price_of(call, BOOK, "global", at=AT)
    return None if charge is None else charge.cost_nano


def test_calls_of_an_hour_add_up() -> None:
    one = bypass(0, requests=0)
    one.add(Charge(cost_nano=5, dbu_nano=2), TokenUsage(3, 4))
    one.add(Charge(cost_nano=7, dbu_nano=None), TokenUsage(1, 1))
    one.add(Charge(cost_nano=1, dbu_nano=9), TokenUsage(1, 1))

    assert (one.requests, one.cost_nano, one.dbu_nano) == (3, 13, None)
    assert (one.input_tokens, one.output_tokens) == (5, 6)
    assert Policy().claims(one.payer.identity, one.hour) == ()
