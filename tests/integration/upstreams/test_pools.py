"""The clients of the policy's servers: kept while calls may use them, closed afterwards."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from spendgate.adapters.model_server import ServerLimits, named_server
from spendgate.adapters.upstream_pools import MARGIN_SECONDS, AsyncUpstreamPools, UpstreamPools
from spendgate.domain.upstream import UpstreamSpec
from spendgate.gateway.ports import UpstreamAnswer
from spendgate.gateway.wire import CHAT

LIMITS = ServerLimits(timeout_seconds=30.0, token_seconds=10.0)
LONGEST_SECONDS = 30.0 + 10.0 + MARGIN_SECONDS
BODY = {"model": "databricks-gpt-oss-20b", "messages": [{"role": "user", "content": "hi"}]}


class SettableClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def pools(clock: SettableClock) -> Any:
    made = UpstreamPools(lambda spec: named_server(spec, LIMITS), clock=clock)
    yield made
    made.close()


def test_a_server_has_one_client_however_many_ask(pools: UpstreamPools) -> None:
    spec = UpstreamSpec("u", "http://models.example/v1")

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: pools.of(replace(spec)), range(64)))

    assert len(found) == 1


def test_a_changed_server_has_another_client_and_the_old_one_serves_on(
    pools: UpstreamPools, simulator: Callable[..., Any], clock: SettableClock
) -> None:
    with simulator() as one, simulator() as other:
        spec = UpstreamSpec("u", one.url)
        old = pools.of(spec)
        new = pools.of(replace(spec, url=other.url))
        clock.now += LONGEST_SECONDS
        pools.close_unused()

        answers = [client.call(CHAT, BODY) for client in (old, new)]

        assert all(isinstance(one, UpstreamAnswer) and one.status == 200 for one in answers)
        assert (one.bill()["calls"], other.bill()["calls"]) == (1, 1)


def test_a_client_that_no_call_can_be_using_is_closed(
    pools: UpstreamPools, clock: SettableClock
) -> None:
    spec = UpstreamSpec("u", "http://127.0.0.1:9/v1")
    old = pools.of(spec)
    used = pools.of(replace(spec, name="used"))
    clock.now += LONGEST_SECONDS + 1
    assert pools.of(replace(spec, name="used")) is used
    pools.close_unused()

    with pytest.raises(RuntimeError, match="closed"):
        old.call(CHAT, BODY)
    assert pools.of(spec) is not old
    assert pools.of(replace(spec, name="used")) is used


def test_opening_another_server_closes_what_is_unused(
    pools: UpstreamPools, clock: SettableClock
) -> None:
    spec = UpstreamSpec("u", "http://127.0.0.1:9/v1")
    old = pools.of(spec)
    clock.now += LONGEST_SECONDS + 1

    pools.of(replace(spec, name="another"))

    with pytest.raises(RuntimeError, match="closed"):
        old.call(CHAT, BODY)


def test_a_server_s_own_time_out_keeps_its_client_longer(
    pools: UpstreamPools, clock: SettableClock
) -> None:
    spec = UpstreamSpec("u", "http://127.0.0.1:9/v1", timeout_seconds=600.0)
    slow = pools.of(spec)
    clock.now += LONGEST_SECONDS + 1
    pools.close_unused()

    assert pools.of(spec) is slow


def test_clients_of_an_event_loop_are_kept_and_closed_alike(
    simulator: Callable[..., Any], clock: SettableClock
) -> None:
    async def run(url: str) -> list[bool]:
        pools = AsyncUpstreamPools(lambda spec: named_server(spec, LIMITS), clock=clock)
        spec = UpstreamSpec("u", url)
        first = pools.of(spec)
        outcome = await first.call(CHAT, BODY)
        assert isinstance(outcome, UpstreamAnswer)
        is_kept = pools.of(spec) is first
        clock.now += LONGEST_SECONDS + 1
        pools.of(replace(spec, name="another"))
        is_other = pools.of(spec) is not first
        await pools.close()
        return [is_kept, is_other]

    with simulator() as one:
        assert asyncio.run(run(one.url)) == [True, True]


def test_a_call_under_way_ends_well_while_its_server_is_taken_out(
    pools: UpstreamPools, simulator: Callable[..., Any], clock: SettableClock
) -> None:
    with simulator(latency_ms=300) as slow:
        spec = UpstreamSpec("u", slow.url)
        outcomes: list[object] = []
        thread = threading.Thread(target=lambda: outcomes.append(pools.of(spec).call(CHAT, BODY)))
        thread.start()
        while slow.bill()["requests"] == 0:
            pass
        clock.now += LONGEST_SECONDS
        pools.of(replace(spec, name="another"))
        thread.join(timeout=10)

    (outcome,) = outcomes
    assert isinstance(outcome, UpstreamAnswer)
    assert outcome.status == 200
