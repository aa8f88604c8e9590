"""Collection on real stores: what goes, what must stay, and that the money still adds up."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.integration.ledger.conftest import NOON, Helper, Till
from tests.ledgers.sinks import VersionedSink

from spendgate.domain.adjustment import Adjusted, Adjustment, Booking, NotAdjusted, Transfer
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Granted
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import AlreadyReserved
from spendgate.domain.retention import Collected
from spendgate.gateway.drain import flush_outbox

KEEP = timedelta(days=7)
LATER = NOON + timedelta(days=30)


def deliver(till: Till) -> VersionedSink:
    sink = VersionedSink()
    flush_outbox(till.ledger.outbox, sink, till.ledger.ledger_id, limit=100)
    return sink


def collect(till: Till, at: datetime = LATER, keep: timedelta = KEEP) -> Collected:
    return till.ledger.collect(at, keep)


def rows(till: Till) -> dict[str, int]:
    tables = ("hold", "outbox", "balance", "carried", "decision_outbox", "batch", "adjustment")
    return {name: till.query(f"SELECT COUNT(*) FROM {name}")[0][0] for name in tables}


def spend(till: Till, hold_id: str, nano: int, at: datetime = NOON, **more: object) -> None:
    till.reserve(hold_id, nano, at=at, **more)
    till.settle(hold_id, nano, at=at)


@pytest.fixture
def busy(till: Till) -> Till:
    """Thirty days of one call each on a daily and a lifetime budget, all delivered."""
    till.budget("each", "user:*", 100)
    till.budget("all", "all", 10_000, "lifetime")
    for day in range(31):
        spend(till, f"h{day}", 10, NOON + timedelta(days=day))
    deliver(till)
    # A collection skips holds whose ends are being confirmed, which ends soon.
    deadline = time.monotonic() + 30
    while till.ledger.lanes().ends_unconfirmed and time.monotonic() < deadline:
        time.sleep(0.01)
    return till


def test_what_is_old_ended_and_delivered_goes_and_the_money_stays(busy: Till) -> None:
    before = busy.ledger.audit()

    collected = collect(busy)

    after = busy.ledger.audit()
    assert (collected.holds, collected.entries) == (24, 24)
    # Whoever looks at day 30 may still look at the two before it, and a day more.
    assert collected.balances == 24
    assert rows(busy)["hold"] == rows(busy)["outbox"] == 7
    assert busy.totals("all") == (310, 0)
    assert after.problems == ()
    assert (after.spent_nano, after.events) == (before.spent_nano, before.events) == (310, 31)


def test_a_second_collection_finds_nothing(busy: Till) -> None:
    collect(busy)

    assert collect(busy) == Collected()


@pytest.mark.parametrize("keep_days", [0, 1, 29, 40])
def test_what_is_within_the_retention_stays(busy: Till, keep_days: int) -> None:
    collected = collect(busy, keep=timedelta(days=keep_days))

    assert collected.holds == max(0, 31 - keep_days)
    busy.assert_sound()


def test_an_open_hold_stays_with_its_balances(busy: Till) -> None:
    busy.reserve("open", 5, at=NOON)
    spend(busy, "today", 1, LATER)

    collect(busy, LATER, timedelta(0))

    assert busy.standing()["each", "ann", "2026-03-14"] == (10, 5)
    assert busy.settle("open", 3, LATER).moved
    assert busy.standing()["each", "ann", "2026-03-14"] == (13, 0)
    busy.assert_sound()


def test_what_the_sink_does_not_have_stays(till: Till) -> None:
    till.budget("each", "user:*", 100)
    spend(till, "old", 10)
    spend(till, "now", 10, LATER)
    till.ledger.outbox.claim_batch(1)  # numbered, and perhaps appended, but not confirmed

    collected = collect(till)

    assert collected == Collected()
    assert sum(event.cost_nano for event in deliver(till).events) == 20
    assert collect(till).holds == 1


def test_a_hold_that_was_corrected_lately_stays_whole(busy: Till) -> None:
    busy.reserve("long", 50, at=NOON)
    busy.expire("long", NOON)
    deliver(busy)
    busy.settle("long", 20, LATER)
    deliver(busy)

    collect(busy)
    kept = busy.ledger.hold_record("long")
    collect(busy, LATER, timedelta(0))

    assert kept is not None
    assert busy.ledger.hold_record("long") is None
    busy.assert_sound()


def test_a_late_end_of_a_collected_hold_is_told_so_and_moves_nothing(busy: Till) -> None:
    collect(busy)
    before = busy.standing()

    settled = busy.settle("h0", 4, LATER)

    assert (settled.state, settled.moved) == (None, False)
    assert busy.standing() == before


def test_within_the_retention_a_repeated_id_is_known_and_after_it_is_a_new_one(busy: Till) -> None:
    collect(busy)

    assert isinstance(busy.reserve("h30", 10, at=LATER), AlreadyReserved)
    assert isinstance(busy.reserve("h0", 10, at=LATER), Granted)


def test_a_collected_balance_is_made_again_by_the_reserve_that_needs_it(busy: Till) -> None:
    collect(busy)

    again = busy.reserve("a clock far behind", 60, at=NOON)

    assert isinstance(again, Granted)
    assert busy.standing()["each", "ann", "2026-03-14"] == (0, 60)
    busy.assert_sound()


def test_the_day_before_is_kept_for_rollover(till: Till) -> None:
    made = till.budget("each", "user:*", 100)
    till.ledger.policies.put_budgets([replace(made, rollover_max_nano=50)])
    spend(till, "yesterday", 80)
    tomorrow = NOON + timedelta(days=1)
    spend(till, "today", 1, tomorrow)
    deliver(till)

    collect(till, tomorrow, timedelta(0))

    (position,) = till.ledger.positions(till.claims({"user": "ann"}, tomorrow))
    assert position.limit_nano == 120
    assert rows(till)["hold"] == 0


def test_idle_sessions_are_forgotten_only_if_their_budget_says_so(till: Till) -> None:
    made = till.budget("session", "session:*", 100, "lifetime")
    forgetful = replace(made, budget_id="task", scope=made.scope.of({"task": "*"}))
    till.ledger.policies.put_budgets([replace(forgetful, idle_ttl_seconds=30 * 86_400)])
    till.budget("all", "all", 10_000, "lifetime")
    spend(till, "a", 10, scopes={"session": "s1"})
    spend(till, "b", 10, scopes={"task": "t1"})
    spend(till, "c", 10, NOON + timedelta(days=1), scopes={"task": "t2"})
    spend(till, "d", 10, LATER, scopes={})
    deliver(till)

    collect(till)

    assert {value for name, value, _ in till.standing() if name != "all"} == {"s1", "t2"}
    assert till.totals("all") == (40, 0)
    till.assert_sound()


def test_a_collector_s_clock_is_believed_as_far_as_traffic_confirms_it(busy: Till) -> None:
    collected = collect(busy, LATER + timedelta(days=3650))

    assert collected.holds == 24
    assert busy.standing()["each", "ann", f"{LATER:%Y-%m-%d}"] == (10, 0)


def test_balances_that_do_not_add_up_are_left_for_the_audit(busy: Till) -> None:
    busy.tamper("UPDATE hold SET charged = charged + 1 WHERE hold_id = 'h3'")
    busy.tamper("UPDATE balance SET spent = spent + 1 WHERE period = '2026-03-20'")
    problems = busy.ledger.audit().problems

    collect(busy)

    assert busy.ledger.audit().problems == problems
    assert len(problems) == 2


def test_adjustments_go_with_their_holds(busy: Till) -> None:
    facts = CallFacts(1, NOON, {"user": "ann"}, "", "m", "", "", "", "", ("each",))
    keys = (BalanceKey("each", "ann", "2026-03-14"),)
    others = (BalanceKey("each", "bob", "2026-03-14"),)
    moved = replace(facts, scopes={"user": "bob"})
    changes = (Booking(7, keys, facts, Charge(cost_nano=7)), Transfer("h0", others, moved))
    made = [
        Adjustment(f"adj{n}", "fp", change, "me", "why", NOON + timedelta(hours=n))
        for n, change in enumerate(changes)
    ]
    assert all(isinstance(one, Adjusted) for one in busy.ledger.adjust(made))
    deliver(busy)
    assert busy.ledger.audit().problems == ()

    collected = collect(busy)

    assert (collected.holds, collected.entries, rows(busy)["adjustment"]) == (25, 27, 0)
    assert {value for _, value, period in busy.standing() if period == "2026-03-14"} == set()
    late = replace(made[1], adjustment_id="late")
    (refused,) = busy.ledger.adjust([late])
    assert isinstance(refused, NotAdjusted)
    assert busy.ledger.audit().problems == ()


def test_a_balance_that_an_entry_names_after_a_transfer_stays(busy: Till) -> None:
    spend(busy, "also", 5)
    facts = CallFacts(1, NOON, {"user": "bob"}, "", "m", "", "", "", "", ("each",))
    to_bob = Transfer("h0", (BalanceKey("each", "bob", "2026-03-14"),), facts)
    cy = replace(facts, scopes={"user": "cy"})
    to_cy = Transfer("h0", (BalanceKey("each", "cy", "2026-03-14"),), cy)
    busy.ledger.adjust([Adjustment("a", "fp", to_bob, "me", "why", NOON)])
    busy.ledger.adjust([Adjustment("b", "fp", to_cy, "me", "why", LATER)])
    deliver(busy)

    collect(busy)

    assert busy.ledger.hold_record("also") is None
    assert busy.standing()["each", "ann", "2026-03-14"] == (5, 0)
    busy.assert_sound()


def test_decisions_and_batches_go_when_they_are_delivered(till: Till) -> None:
    till.budget("each", "user:*", 100)
    spend(till, "a", 1)
    for number in range(5):
        till.decide(number)
        deliver(till)
    till.decide(5)

    first = collect(till, NOON, timedelta(0))
    deliver(till)
    spend(till, "b", 1, LATER)
    later = deliver(till)

    assert (first.holds, first.decisions, first.batches) == (1, 5, 4)
    assert len(later.events) == 1
    assert list(later.versions.values()) == [7]
    assert collect(till, LATER, timedelta(0)).batches == 2


def test_many_go_in_chunks_and_an_interrupted_collection_is_gone_on_with(till: Till) -> None:
    till.budget("all", "all", 10**9, "lifetime")
    for start in range(0, 700, 100):
        ids = [f"h{n}" for n in range(start, start + 100)]
        till.ledger.reserve([till.request(one, 1) for one in ids])
        till.ledger.expire(ids, NOON)
    spend(till, "now", 1, LATER)
    deliver(till)
    store = till.store if hasattr(till, "store") else till.server
    chunks = 0
    write = store.write

    def dying() -> object:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            raise KeyboardInterrupt
        return write()

    store.write = dying  # type: ignore[method-assign]  # a process that is killed between chunks
    with pytest.raises(KeyboardInterrupt):
        collect(till)
    left = rows(till)["hold"]
    store.write = write  # type: ignore[method-assign]

    assert left == 451
    till.assert_sound()
    assert collect(till).holds == 450
    assert till.totals("all") == (701, 0)
    till.assert_sound()


def collect_all(pipe: object, place: str) -> None:
    till = Till(place)
    pipe.send("ready")  # type: ignore[attr-defined]  # a Connection has no public type
    pipe.recv()  # type: ignore[attr-defined]
    pipe.send(collect(till))  # type: ignore[attr-defined]
    till.ledger.close()


def test_two_collectors_beside_traffic_take_each_hold_once(
    till: Till, start_helper: Callable[..., Helper]
) -> None:
    till.budget("all", "all", 10**9, "lifetime")
    till.budget("each", "user:*", 10**9)
    for start in range(0, 1000, 250):
        ids = [f"h{n}" for n in range(start, start + 250)]
        till.ledger.reserve([till.request(one, 1) for one in ids])
        till.ledger.expire(ids, NOON)
    spend(till, "now", 1, LATER)
    deliver(till)
    till.ledger.close()
    collectors = [start_helper(collect_all, till.place) for _ in range(2)]
    for one in collectors:
        assert one.hear() == "ready"
    for one in collectors:
        one.pipe.send("go")

    for number in range(50):
        till.settle(f"h{number}", 0, LATER)  # a correction, or too late for one
        spend(till, f"t{number}", 2, LATER)

    collected = [one.hear() for one in collectors]
    deliver(till)
    corrected = till.ledger.audit()
    assert corrected.problems == ()
    assert sum(one.holds for one in collected) + rows(till)["hold"] == 1051
    assert corrected.spent_nano == till.totals("all")[0]
    collect(till)
    till.assert_sound()


def test_a_killed_collector_leaves_all_or_nothing_of_a_chunk(
    till: Till, start_helper: Callable[..., Helper]
) -> None:
    till.budget("all", "all", 10**9, "lifetime")
    for start in range(0, 2000, 250):
        ids = [f"h{n}" for n in range(start, start + 250)]
        till.ledger.reserve([till.request(one, 1) for one in ids])
        till.ledger.expire(ids, NOON)
    spend(till, "now", 1, LATER)
    deliver(till)
    till.ledger.close()
    collector = start_helper(collect_all, till.place)
    assert collector.hear() == "ready"
    collector.pipe.send("go")
    while rows(till)["hold"] > 1500:
        pass

    collector.signal(signal.SIGKILL)
    collector.join()

    till.assert_sound()
    collect(till)
    assert rows(till)["hold"] == 1
    assert till.totals("all") == (2001, 0)
    till.assert_sound()


def test_a_state_before_its_end_is_what_is_told_of_a_kept_hold(busy: Till) -> None:
    collect(busy)

    assert busy.void("h29", LATER).state is HoldState.SETTLED


def test_a_ledger_of_the_version_before_is_counted_at_its_start(
    till: Till, open_till: Callable[..., Till]
) -> None:
    till.budget("each", "user:*", 100)
    spend(till, "settled", 10)
    till.reserve("corrected", 20)
    till.expire("corrected")
    till.settle("corrected", 5)
    till.reserve("open", 7)
    till.reserve("voided", 7)
    till.void("voided")
    for sql in (
        "DROP TABLE carried",
        "DROP TABLE delivery",
        "DROP TABLE policy_change",
        "DROP TABLE budget_request",
        "ALTER TABLE balance DROP COLUMN entries",
        "UPDATE meta SET value = '2' WHERE key = 'schema_version'",
    ):
        till.tamper(sql)
    till.ledger.close()

    migrated = open_till()

    migrated.assert_sound()
    assert migrated.query("SELECT entries FROM balance") == [(5,)]
