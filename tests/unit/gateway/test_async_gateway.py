"""The gate on an event loop: no call holds a thread, and no cancelled call loses money."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.types import Message
from tests.unit.gateway.slow_upstream import USED_NANO, SlowUpstream, asked, until

from spendgate.app.model_calls import ModelCalls
from spendgate.domain.decision import Granted
from spendgate.gateway.admission import Incoming
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.reply import Reply
from spendgate.gateway.streamed_call import StreamedCall
from spendgate.gateway.wire import CHAT


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


def test_a_stream_that_its_host_fails_to_send_is_cut_off(
    gate: Callable[..., Any], on_loop: Any
) -> None:
    opened = gate()
    requests = [{"type": "http.request", "body": json.dumps(asked(stream=True).body).encode()}]
    faults, statuses = [RuntimeError("the server has a fault")], list[int]()

    async def receive() -> Message:
        if not requests:
            await asyncio.Event().wait()
        return requests.pop()

    async def send(message: Message) -> None:
        if faults:
            raise faults.pop()
        statuses.append(message.get("status", 0))

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> None:
        calls = ModelCalls(lambda: gateway, body_bytes_max=10**6, client_seconds=30)
        await calls.answer(CHAT, {"type": "http", "headers": []}, receive, send)
        assert opened.held_nano == 0

    on_loop(opened, scenario)

    assert statuses[0] == 500
    assert opened.events[-1].kind.value == "expired"


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
