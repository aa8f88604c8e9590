"""A model server on an event loop that answers when it is told to."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from spendgate.gateway.admission import Incoming
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.ports import UpstreamLost
from spendgate.gateway.reply import Reply
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


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def run_on_loop(
    opened: Any,
    scenario: Callable[[AsyncGateway, SlowUpstream], Any],
    answer: Callable[..., Any],
    *,
    at_once: bool,
) -> Any:
    """Run a scenario with an opened gate on an event loop, with or without the ledger at once."""

    async def main() -> Any:
        upstream = SlowUpstream(answer)
        with ThreadPoolExecutor(4) as threads:
            ledger = opened.ledger.at_once() if at_once else None
            gateway = opened.gateway.on_event_loop(upstream, threads, at_once=ledger)
            try:
                return await scenario(gateway, upstream)
            finally:
                upstream.go.set()
                assert await gateway.close(60) == 0

    return asyncio.run(main())


def together(count: int) -> Any:
    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> list[Reply]:
        calls = asyncio.gather(*(gateway.handle(asked()) for _ in range(count)))
        await until(lambda: upstream.in_flight == count)
        upstream.go.set()
        return list(await calls)

    return scenario
