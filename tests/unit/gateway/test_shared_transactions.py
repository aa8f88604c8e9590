"""Calls of an event loop share the ledger's transactions, and each gets its own answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.gateway.slow_upstream import USED_NANO, SlowUpstream, asked, together, until

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.errors import LedgerBrokenError, LedgerBusyError, LedgerUnavailableError
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.reply import Reply


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each transaction of a ledger has taken."""
    sizes: list[int] = []
    reserve = SqliteLedger.reserve

    def counted(ledger: SqliteLedger, requests: Any) -> Any:
        sizes.append(len(requests))
        return reserve(ledger, requests)

    monkeypatch.setattr(SqliteLedger, "reserve", counted)
    return sizes


def test_calls_that_are_in_flight_together_share_transactions(
    gate: Callable[..., Any], on_loop: Any, batches: list[int]
) -> None:
    opened = gate()

    replies = on_loop(opened, together(60))

    assert [reply.status for reply in replies] == [200] * 60
    assert max(batches) > 1


def test_a_burst_never_passes_the_limit(
    gate: Callable[..., Any],
    budget: Callable[..., Any],
    on_loop: Any,
) -> None:
    opened = gate(budget(limit_usd="0.005"), held_wait_seconds=60.0)

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Reply]:
        upstream.go.set()
        return list(await asyncio.gather(*(gateway.handle(asked()) for _ in range(60))))

    replies = on_loop(opened, scenario)

    paid = sum(reply.status == 200 for reply in replies)
    assert opened.spent_nano == paid * USED_NANO <= 5_000_000
    assert opened.held_nano == 0
    assert paid >= 20


def test_a_ledger_that_is_away_refuses_each_call_of_a_batch_with_its_own_error(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()

    def away(_requests: object) -> Any:
        raise LedgerUnavailableError("it is away")

    opened.failing.reserve = away
    impatient = opened.ledger.at_once()
    opened.ledger.at_once = lambda: _Faulty(impatient, reserve=LedgerUnavailableError("it is away"))

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Reply]:
        upstream.go.set()
        return list(await asyncio.gather(*(gateway.handle(asked()) for _ in range(20))))

    replies = on_loop(opened, scenario)

    assert {reply.status for reply in replies} == {503}


@pytest.mark.parametrize("error", [LedgerBusyError, LedgerUnavailableError, LedgerBrokenError])
def test_ends_that_a_ledger_cant_take_at_once_are_booked_by_a_thread(
    gate: Callable[..., Any], on_loop: Any, error: type[Exception]
) -> None:
    opened = gate()
    impatient = opened.ledger.at_once()
    opened.ledger.at_once = lambda: _Faulty(impatient, settle=error("not now"))

    replies = on_loop(opened, together(20))

    assert {reply.status for reply in replies} == {200}
    assert (opened.spent_nano, opened.held_nano) == (20 * USED_NANO, 0)


def test_a_ledger_that_others_keep_busy_is_asked_by_a_thread(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()
    impatient = opened.ledger.at_once()
    opened.ledger.at_once = lambda: _Faulty(impatient, reserve=LedgerBusyError("a moment"))

    replies = on_loop(opened, together(60))

    assert {reply.status for reply in replies} == {200}
    assert (opened.spent_nano, opened.held_nano) == (60 * USED_NANO, 0)


class _Faulty:
    """A ledger some of whose verbs fail."""

    def __init__(self, ledger: Any, **faults: Exception) -> None:
        self._ledger = ledger
        for verb, error in faults.items():
            setattr(self, verb, self._failing(error))

    def _failing(self, error: Exception) -> Callable[..., Any]:
        def fail(*_: object) -> Any:
            raise error

        return fail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


class _OneFaulty:
    """A ledger that one of the requests is too much for."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def reserve(self, requests: Any) -> Any:
        if any(one.facts.scopes["user"] == "eve" for one in requests):
            raise OverflowError("a number that no column takes")
        return self._ledger.reserve(requests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def test_a_fault_of_one_job_in_a_batch_is_not_the_others(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()
    opened.failing.reserve = _OneFaulty(opened.ledger).reserve
    impatient = opened.ledger.at_once()
    opened.ledger.at_once = lambda: _OneFaulty(impatient)

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Any]:
        users = ["alice", "bob", "carol", "dave", "finn", "gus", "eve", "hal"]
        own = [{"model": "big", "user": user} for user in users]
        calls = asyncio.gather(
            *(gateway.handle(asked(custom_inputs=one)) for one in own), return_exceptions=True
        )
        await until(lambda: upstream.in_flight == len(users) - 1)
        upstream.go.set()
        return list(await calls)

    *others, eve, hal = on_loop(opened, scenario)

    assert isinstance(eve, OverflowError)
    assert {reply.status for reply in (*others, hal)} == {200}
