"""Start and end of one server process."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.types import ASGIApp, Receive, Scope, Send

from spendgate.errors import SpendgateError

YOUNG_OBJECTS = 20_000
"""New objects after which Python looks for unreachable circles among them.

A call makes hundreds of objects and no circle; looking after every 700 of them, as Python does by
itself, took 3 % of a busy host's time (measured)."""


class Lifespan:
    """Wrap an ASGI app: `start` before its first request, `close` after its last call has ended.

    `finish` is awaited in between, for what runs on the event loop itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        threads: int,
        start: Callable[[], object],
        close: Callable[[], None],
        finish: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._app = app
        self._threads = threads
        self._start = start
        self._close = close
        self._finish = finish

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the lifespan protocol; pass everything else on."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        loop = asyncio.get_running_loop()
        # asyncio.to_thread uses this pool: six threads on two cores by default.
        loop.set_default_executor(ThreadPoolExecutor(self._threads, thread_name_prefix="call"))
        try:
            await asyncio.to_thread(self._start)
        except SpendgateError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        # What was made until now stays: a full collection through all of it takes 0.1 s, in which
        # nobody is answered.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._finish is not None:
            await self._finish()
        # A call whose client left or timed out still runs: it must settle before the ledger closes.
        await loop.shutdown_default_executor()
        self._close()
        await send({"type": "lifespan.shutdown.complete"})
