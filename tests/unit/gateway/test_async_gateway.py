"""The gate on an event loop: no call holds a thread, and no cancelled call loses money."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.domain.decision import Granted
from spendgate.errors import LedgerBrokenError, LedgerBusyError, LedgerUnavailableError
from spendgate.gateway.admission import Incoming
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.ports import UpstreamLost
from spendgate.gateway.reply import Reply
from spendgate.gateway.streamed_call import StreamedCall
from spendgate.gateway.wire import CHAT, Host

USED_NANO = 135_000


def asked(**fields: object) -> Incoming:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
        "custom_inputs": {"model": "big", "user": "alice"},
        **fields,
    }
    return Incoming(CHAT, body, Host.ASGI, may_stream=body.get("stream") is True)


class SlowUpstream:
    """Answers when it is told to."""

    name = "slow"

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer
        self.go = asyncio.Event()
        self.in_flight = 0
        self.threads_most = 0
        self.words: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": "a"}}]}]

    async def call(self, route: str, body: Mapping[str, object]) -> Any:
        self.in_flight += 1
        self.threads_most = max(self.threads_most, threading.active_count())
        await self.go.wait()
        return self._answer()

    async def stream(self, route: str, body: Mapping[str, object]) -> Any:
        return SlowStream(self.go, self.words)

    async def close(self) -> None:
        """Nothing to close."""


class SlowStream:
    def __init__(self, go: asyncio.Event, words: list[dict[str, Any]]) -> None:
        events = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in words]
        # What follows the first comes together, with the end mark.
        rest = [b"".join([*events[1:], b"data: [DONE]\n\n"])] if len(events) > 1 else []
        self._pieces = [*events[:1], *rest]
        self._go = go
        self.is_closed = asyncio.Event()

    async def read(self) -> bytes | UpstreamLost | None:
        if self._pieces:
            return self._pieces.pop(0)
        closed = asyncio.create_task(self.is_closed.wait())
        go = asyncio.create_task(self._go.wait())
        await asyncio.wait({closed, go}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        go.cancel()
        return UpstreamLost("closed")

    def close(self) -> None:
        self.is_closed.set()


@pytest.fixture(params=["threads", "at once"])
def on_loop(request: pytest.FixtureRequest, answer: Any) -> Callable[..., Any]:
    """Run a scenario with an opened gate on an event loop, with and without the ledger at once."""

    def run(opened: Any, scenario: Callable[[AsyncGateway, SlowUpstream], Any]) -> Any:
        async def main() -> Any:
            upstream = SlowUpstream(answer)
            with ThreadPoolExecutor(4) as threads:
                at_once = opened.ledger.at_once() if request.param == "at once" else None
                gateway = opened.gateway.on_event_loop(upstream, threads, at_once=at_once)
                try:
                    return await scenario(gateway, upstream)
                finally:
                    upstream.go.set()
                    assert await gateway.close(60) == 0

        return asyncio.run(main())

    return run


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_call_is_answered_as_in_a_thread(gate: Callable[..., Any], on_loop: Any) -> None:
    opened = gate()

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> Reply:
        upstream.go.set()
        return await gateway.handle(asked())

    reply = on_loop(opened, scenario)

    assert reply.status == 200
    assert reply.body["spend"]["cost_usd"] == "0.000135000"
    assert (opened.spent_nano, opened.held_nano) == (USED_NANO, 0)


def test_two_thousand_calls_are_in_flight_and_no_thread_is_held(
    gate: Callable[..., Any], budget: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate(budget(limit_usd=10_000))
    threads_before = threading.active_count()

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Reply]:
        calls = [asyncio.create_task(gateway.handle(asked())) for _ in range(2_000)]
        await until(lambda: upstream.in_flight == 2_000)
        assert upstream.threads_most <= threads_before + 4
        assert opened.held_nano > 0
        upstream.go.set()
        return list(await asyncio.gather(*calls))

    replies = on_loop(opened, scenario)

    assert {reply.status for reply in replies} == {200}
    assert (opened.spent_nano, opened.held_nano) == (2_000 * USED_NANO, 0)
    assert opened.ledger.audit().problems == ()


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


def test_a_wait_for_held_money_holds_no_thread_and_is_woken(
    gate: Callable[..., Any], budget: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False), held_wait_seconds=60.0)

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Reply]:
        first = asyncio.create_task(gateway.handle(asked()))
        await until(lambda: upstream.in_flight == 1)
        waiting = [asyncio.create_task(gateway.handle(asked())) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert upstream.in_flight == 1
        upstream.go.set()
        return list(await asyncio.gather(first, *waiting))

    replies = on_loop(opened, scenario)

    paid = sum(reply.status == 200 for reply in replies)
    assert paid > 1
    assert opened.spent_nano == paid * USED_NANO <= 3_000_000


def test_a_call_cancelled_while_the_model_works_is_charged_in_full(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> None:
        call = asyncio.create_task(gateway.handle(asked()))
        await until(lambda: upstream.in_flight == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    on_loop(opened, scenario)

    assert opened.events[-1].kind.value == "expired"
    assert opened.held_nano == 0


def test_a_call_cancelled_while_its_money_is_asked_for_is_voided(
    gate: Callable[..., Any], answer: Any
) -> None:
    opened = gate()
    is_asked, may_grant = threading.Event(), threading.Event()
    reserve = opened.ledger.reserve

    def slow(requests: Any) -> Any:
        is_asked.set()
        assert may_grant.wait(60)
        verdicts = reserve(requests)
        assert isinstance(verdicts[0], Granted)
        return verdicts

    opened.failing.reserve = slow

    async def scenario() -> SlowUpstream:
        upstream = SlowUpstream(answer)
        with ThreadPoolExecutor(2) as threads:
            gateway = opened.gateway.on_event_loop(upstream, threads)
            call = asyncio.create_task(gateway.handle(asked()))
            await until(is_asked.is_set)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            may_grant.set()
            await until(lambda: bool(opened.events))
            assert await gateway.close(60) == 0
        return upstream

    upstream = asyncio.run(scenario())

    assert upstream.in_flight == 0
    assert opened.events[-1].kind.value == "voided"
    assert (opened.spent_nano, opened.held_nano) == (0, 0)


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


def together(count: int) -> Any:
    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Reply]:
        calls = asyncio.gather(*(gateway.handle(asked()) for _ in range(count)))
        await until(lambda: upstream.in_flight == count)
        upstream.go.set()
        return list(await calls)

    return scenario


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


def test_a_stream_that_is_cut_off_when_its_end_was_read_is_charged_what_it_used(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    said = [
        {"choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "delta": {"content": "b"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> None:
        upstream.words = said
        call = await gateway.stream(asked(stream=True))
        assert isinstance(call, StreamedCall)
        assert await call.begin() is None
        await call.read()
        await call.read()
        assert opened.held_nano > 0
        await call.cut_off()

    on_loop(opened, scenario)

    assert (opened.spent_nano, opened.held_nano) == (USED_NANO, 0)


def test_a_cut_off_stream_is_charged_in_full(gate: Callable[..., Any], on_loop: Any) -> None:
    opened = gate()

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> None:
        call = await gateway.stream(asked(stream=True))
        assert isinstance(call, StreamedCall)
        assert await call.begin() is None
        await call.read()
        reading = asyncio.create_task(call.read())  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert call.is_over

    on_loop(opened, scenario)

    assert opened.events[-1].kind.value == "expired"
    assert opened.held_nano == 0


def test_a_client_that_leaves_closes_the_stream_where_its_budget_says_so(
    gate: Callable[..., Any], budget: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate(budget(on_client_abort="close"))

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> None:
        call = await gateway.stream(asked(stream=True))
        assert isinstance(call, StreamedCall)
        await call.begin()
        await call.read()
        reading = asyncio.create_task(call.read())  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        call.leave()  # while somebody waits for the next chunk, which never comes
        await asyncio.wait_for(reading, 30)
        assert call.is_over

    on_loop(opened, scenario)

    assert opened.events[-1].kind.value == "expired"


def test_a_large_body_is_looked_at_in_another_thread(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()
    loop_thread = threading.get_ident()
    seen: list[bool] = []
    arrival = opened.gateway._calling.reserving.arrival

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> Reply:
        upstream.go.set()
        reserving = gateway._calling.reserving
        reserving.arrival = lambda incoming: (  # type: ignore[method-assign]
            seen.append(threading.get_ident() == loop_thread) or arrival(incoming)
        )
        incoming = asked()
        return await gateway.handle(
            Incoming(incoming.route, incoming.body, incoming.host, body_bytes=10**6)
        )

    assert on_loop(opened, scenario).status == 200
    assert seen == [False]
