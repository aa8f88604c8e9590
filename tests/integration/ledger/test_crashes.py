"""Writers that are killed at any moment: nothing acknowledged is lost, nothing is half done."""

import signal
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from random import Random
from typing import TYPE_CHECKING

import pytest

from spendgate.domain.event import Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import AlreadyReserved, ReserveRequest, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.ledger.conftest import Helper, Till

    StartHelper = Callable[..., Helper]

Ack = tuple[str, HoldState, int]
NEXT_STATES = {
    HoldState.HELD: set(HoldState),
    HoldState.EXPIRED: {HoldState.EXPIRED, HoldState.SETTLED},
    HoldState.SETTLED: {HoldState.SETTLED},
    HoldState.VOIDED: {HoldState.VOIDED},
}


def write_forever(pipe: Connection, till: "Till", seed: int, request: ReserveRequest) -> None:
    """Open a ledger and use all verbs at random; say each thing that was answered."""
    random = Random(seed)
    ledger = till.again(busy_seconds=60).ledger
    at = request.facts.occurred_at
    number = 0
    while True:
        number += 1
        hold_id = f"{seed}-{number}"
        ledger.reserve([replace(request, hold_id=hold_id)])
        pipe.send((hold_id, HoldState.HELD, 0))
        for verb in random.choices(("settle", "void", "expire", "leave"), k=2):
            if verb == "settle":
                charge = Charge(cost_nano=random.randrange(12))
                (ended,) = ledger.settle([Settlement(hold_id, charge, at)])
            elif verb == "leave":
                continue
            else:
                (ended,) = (ledger.void if verb == "void" else ledger.expire)([hold_id], at)
            pipe.send((hold_id, ended.state, ended.charged_nano))


def acknowledged(writer: "Helper", at_least: int) -> list[Ack]:
    """Hear so many answers, kill the writer, and hear the rest that it had sent."""
    acks = [writer.hear() for _ in range(at_least)]
    writer.signal(signal.SIGKILL)
    try:
        while writer.pipe.poll(60):
            acks.append(writer.pipe.recv())
    except (EOFError, OSError):
        return acks
    pytest.fail("a killed writer kept its pipe open")


def test_killed_writers_lose_nothing_and_tear_nothing(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 10**9)
    till.budget("each-user", "user:*", 10**9)
    till.budget("hour", "user:ann", 10**9, "rolling:60m")
    request = till.request("any", 10)
    random = Random(20260314)
    acks: list[Ack] = []

    for round_number in range(8):
        writers = [
            start_helper(write_forever, till, 2 * round_number + one, request) for one in range(2)
        ]
        for writer in writers:
            acks += acknowledged(writer, random.randrange(1, 150))
        till.assert_sound()

    rows = till.query("SELECT hold_id, state, charged FROM hold")
    found = {str(one): (HoldState(str(state)), charged) for one, state, charged in rows}
    assert len(acks) > 100
    for hold_id, state, charged in acks:
        now, charged_now = found[hold_id]
        assert now in NEXT_STATES[state]
        if state in (HoldState.SETTLED, HoldState.VOIDED):
            assert charged_now == charged
    spent, held = till.totals("day")
    assert held == 10 * sum(state is HoldState.HELD for state, _ in found.values())
    assert spent == till.ledger.audit().spent_nano


def reserve_and_wait(pipe: Connection, till: "Till", request: ReserveRequest) -> None:
    till.again().ledger.reserve([request])
    pipe.send("held")
    pipe.recv()


def test_a_worker_that_dies_in_the_middle_of_a_call_is_charged_for_it(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 60, ttl_seconds=30)
    worker = start_helper(reserve_and_wait, till, request)
    worker.hear()

    worker.signal(signal.SIGKILL)
    worker.join()
    swept = till.ledger.sweep(till.noon + timedelta(seconds=30))

    assert swept == 1
    assert till.totals("day") == (60, 0)
    till.assert_sound()


def test_a_caller_that_never_heard_the_answer_asks_again_and_holds_once(
    till: "Till", start_helper: "StartHelper"
) -> None:
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 60)
    worker = start_helper(reserve_and_wait, till, request)
    worker.hear()
    worker.signal(signal.SIGKILL)
    worker.join()

    (verdict,) = till.ledger.reserve([request])

    assert verdict == AlreadyReserved(HoldState.HELD, 60, 0, "m")
    assert till.totals("day") == (0, 60)
