"""The outbox: numbered batches, repeated until confirmed, and nothing is ever lost or doubled."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest
from tests.ledgers.sinks import VersionedSink

from spendgate.adapters.stored_outbox import OutboxState, StoredOutbox
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.reservation import Settlement
from spendgate.domain.usage import TokenUsage
from spendgate.gateway.drain import FlushReport, flush_outbox
from spendgate.gateway.ports import EventBatch

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

    OpenTill = Callable[..., Till]


@pytest.fixture
def spend(till: "Till") -> Callable[[], str]:
    """Make one event; returns its id."""
    till.budget("day", "user:ann", 10**9)
    numbers = count()

    def settle_one() -> str:
        hold_id = f"h{next(numbers)}"
        till.reserve(hold_id, 10)
        till.settle(hold_id, 5)
        return f"{hold_id}:1"

    return settle_one


class BusySink(VersionedSink):
    """A sink that takes so long that a call ends during each of the first appends.

    Not for ever: a flush that never ends is to fail its test, not to hang it.
    """

    def __init__(self, spend: Callable[[], str], calls: int = 5) -> None:
        super().__init__()
        self._spend = spend
        self._calls_left = calls

    def append(self, ledger_id: str, batch: EventBatch) -> None:
        super().append(ledger_id, batch)
        if self._calls_left:
            self._calls_left -= 1
            self._spend()


def ids(batch: EventBatch | None) -> list[str]:
    assert batch is not None
    return [event.event_id for event in batch.events]


def drained(outbox: StoredOutbox, limit: int) -> Iterator[EventBatch]:
    while (batch := outbox.claim_batch(limit)) is not None:
        yield batch
        outbox.confirm_batch(batch.number)


def test_an_event_is_what_was_known_at_the_reserve_and_at_the_end(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    at = till.noon + timedelta(microseconds=123_456)
    later = at + timedelta(days=1)
    charge = Charge(TokenUsage(12, 7, 3, 4, 1, 5), 25, 9, "long", "reported", 250)
    till.reserve("h#2", 60, at=at, scopes={"user": "ann", "org": "ac\u00e9 \u0000 \"'"})
    till.ledger.settle([Settlement("h#2", charge, later)])

    batch = till.ledger.outbox.claim_batch(10)

    assert batch is not None
    assert batch.decisions == ()
    assert batch.events == (
        SpendEvent(
            event_id="h#2:1",
            hold_id="h#2",
            kind=EventKind.SETTLED,
            recorded_at=later,
            facts=CallFacts(
                attempt=1,
                occurred_at=at,
                scopes={"user": "ann", "org": "ac\u00e9 \u0000 \"'"},
                model_requested="m",
                model="m",
                upstream="main",
                geo="global",
                price_version="prices-1",
                decision="allow",
                budget_ids=("day",),
                tags={"cost_center": "4711"},
            ),
            charge=charge,
            reserved_nano=60,
            cost_nano=25,
        ),
    )


def test_a_hold_in_flight_and_a_refusal_are_no_events(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.reserve("h#2", 60)

    assert till.ledger.outbox.claim_batch(10) is None
    assert till.ledger.outbox.state() == OutboxState(0, None)


def test_an_open_batch_is_claimed_again_unchanged_until_it_is_confirmed(
    till: "Till", open_till: "OpenTill", spend: Callable[[], str]
) -> None:
    first = spend()
    claimed = till.ledger.outbox.claim_batch(10)
    second = spend()

    again = till.ledger.outbox.claim_batch(10)
    elsewhere = open_till().ledger.outbox.claim_batch(10)

    assert claimed is not None
    assert again == elsewhere == replace(claimed, is_last=False)  # the second event waits behind it
    assert ids(claimed) == [first]
    till.ledger.outbox.confirm_batch(claimed.number)
    following = till.ledger.outbox.claim_batch(10)
    assert ids(following) == [second]
    assert following is not None
    assert following.number > claimed.number


def test_of_two_flushers_at_once_neither_numbers_a_second_batch(
    till: "Till",
    open_till: "OpenTill",
    spend: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = spend()
    late = open_till().ledger.outbox
    looked: list[int | None] = [late._open_batch()]  # it looks before the other one numbers
    open_batch = late._open_batch
    monkeypatch.setattr(late, "_open_batch", lambda: looked.pop() if looked else open_batch())
    claimed = till.ledger.outbox.claim_batch(10)
    spend()

    found = late.claim_batch(10)

    assert claimed is not None
    assert found is not None
    assert (found.number, ids(found)) == (claimed.number, [first])


def test_a_batch_has_at_most_so_many_events_in_their_order(
    till: "Till", spend: Callable[[], str]
) -> None:
    made = [spend() for _ in range(7)]

    batches = list(drained(till.ledger.outbox, 3))

    assert [len(batch.events) for batch in batches] == [3, 3, 1]
    assert [one for batch in batches for one in ids(batch)] == made
    assert [batch.number for batch in batches] == sorted({batch.number for batch in batches})


def test_only_a_new_batch_with_room_left_is_the_last(
    till: "Till", spend: Callable[[], str]
) -> None:
    for _ in range(3):
        spend()

    full, last = drained(till.ledger.outbox, 2)

    assert (full.is_last, last.is_last) == (False, True)


def test_a_flush_leaves_what_comes_meanwhile_to_the_next(
    till: "Till", spend: Callable[[], str]
) -> None:
    sink = BusySink(spend)
    waited = [spend() for _ in range(3)]

    first = flush_outbox(till.ledger.outbox, sink, till.ledger.ledger_id, limit=10)
    delivered = [event.event_id for event in sink.events]
    second = flush_outbox(till.ledger.outbox, sink, till.ledger.ledger_id, limit=10)

    assert first == FlushReport(batches=1, events=3)
    assert delivered == waited
    assert second == FlushReport(batches=1, events=1)


def test_a_flush_goes_on_behind_a_batch_that_somebody_left_open(
    till: "Till", spend: Callable[[], str]
) -> None:
    first = spend()
    till.ledger.outbox.claim_batch(10)
    second = spend()
    sink = VersionedSink()

    flush_outbox(till.ledger.outbox, sink, till.ledger.ledger_id, limit=10)

    assert [event.event_id for event in sink.events] == [first, second]


def test_decisions_travel_with_the_events(till: "Till", spend: Callable[[], str]) -> None:
    event = spend()
    made = [till.decide(number) for number in range(3)]

    first, second = drained(till.ledger.outbox, 2)

    assert ids(first) == [event]
    assert list(first.decisions + second.decisions) == made
    assert second.events == ()


def test_the_state_counts_decisions_until_they_are_confirmed(till: "Till") -> None:
    made = [till.decide(number) for number in range(3)]
    claimed = till.ledger.outbox.claim_batch(2)
    before = till.ledger.outbox.state()
    assert claimed is not None

    till.ledger.outbox.confirm_batch(claimed.number)

    since = made[0].occurred_at
    assert before == OutboxState(0, None, 3, since)
    assert till.ledger.outbox.state() == OutboxState(0, None, 1, made[2].occurred_at)


def test_numbers_are_never_used_twice(
    till: "Till", open_till: "OpenTill", spend: Callable[[], str]
) -> None:
    numbers: list[int] = []

    for _ in range(3):
        spend()
        numbers += [batch.number for batch in drained(till.ledger.outbox, 10)]
        till.ledger.close()  # a sink remembers the highest number across restarts

    assert numbers == sorted(set(numbers))


def test_confirming_twice_or_the_unknown_changes_nothing(
    till: "Till", spend: Callable[[], str]
) -> None:
    spend()
    (batch,) = drained(till.ledger.outbox, 10)
    waiting = spend()

    till.ledger.outbox.confirm_batch(batch.number)
    till.ledger.outbox.confirm_batch(999)

    assert ids(till.ledger.outbox.claim_batch(10)) == [waiting]


def test_the_state_counts_until_confirmation(till: "Till", spend: Callable[[], str]) -> None:
    spend()
    spend()
    claimed = till.ledger.outbox.claim_batch(1)
    before = till.ledger.outbox.state()
    assert claimed is not None

    till.ledger.outbox.confirm_batch(claimed.number)

    assert before == OutboxState(2, till.noon)
    assert till.ledger.outbox.state() == OutboxState(1, till.noon)


def test_claims_in_the_middle_of_traffic_deliver_each_event_once(
    till: "Till", open_till: "OpenTill", spend: Callable[[], str]
) -> None:
    flusher = open_till().ledger.outbox
    delivered: list[str] = []

    def deliver() -> None:
        for batch in drained(flusher, 7):
            assert flusher.claim_batch(7) == replace(batch, is_last=False)
            delivered.extend(ids(batch))

    with ThreadPoolExecutor(2) as pool:
        traffic = [pool.submit(lambda: [spend() for _ in range(60)]) for _ in range(2)]
        while not all(one.done() for one in traffic):
            deliver()
        made = [one for done in traffic for one in done.result()]
    deliver()

    assert sorted(delivered) == sorted(made)
