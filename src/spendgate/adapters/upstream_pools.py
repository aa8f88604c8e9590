"""The clients of the policy's servers: opened when first called, closed when no call can use them.

A changed server is another server: its calls get a client of its own, and what is under way goes on
over the old one, which is closed once it has been unused for longer than any of its calls may take.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from spendgate.adapters.model_server import ModelServer
from spendgate.domain.upstream import UpstreamSpec

if TYPE_CHECKING:
    from spendgate.adapters.async_openai_upstream import AsyncOpenAIUpstream
    from spendgate.adapters.openai_upstream import OpenAIUpstream

MARGIN_SECONDS = 60.0

Client = TypeVar("Client")


@dataclass(slots=True)
class _Opened(Generic[Client]):
    client: Client
    lasts_seconds: float
    used_at: float


class _Shelf(Generic[Client]):
    """Clients by their servers; who takes what is due closes it."""

    def __init__(
        self, open_client: Callable[[ModelServer], Client], clock: Callable[[], float]
    ) -> None:
        self._open_client = open_client
        self._clock = clock
        self._opened: dict[UpstreamSpec, _Opened[Client]] = {}

    def get(self, spec: UpstreamSpec) -> Client | None:
        found = self._opened.get(spec)
        if found is None:
            return None
        found.used_at = self._clock()
        return found.client

    def add(self, spec: UpstreamSpec, server: ModelServer) -> Client:
        client = self._open_client(server)
        lasts_seconds = server.timeout_seconds + server.limits.token_seconds + MARGIN_SECONDS
        self._opened[spec] = _Opened(client, lasts_seconds, self._clock())
        return client

    def take_unused(self) -> list[Client]:
        now = self._clock()
        due = [spec for spec, one in self._opened.items() if now - one.used_at > one.lasts_seconds]
        return [self._opened.pop(spec).client for spec in due]

    def take_all(self) -> list[Client]:
        opened, self._opened = self._opened, {}
        return [one.client for one in opened.values()]


class UpstreamPools:
    """Clients for threads."""

    def __init__(
        self,
        server_of: Callable[[UpstreamSpec], ModelServer],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Each kind of host needs one of the two clients, and pays for no import of the other.
        from spendgate.adapters.openai_upstream import OpenAIUpstream  # noqa: PLC0415

        self._server_of = server_of
        self._lock = threading.Lock()
        self._shelf: _Shelf[OpenAIUpstream] = _Shelf(OpenAIUpstream, clock)

    def of(self, spec: UpstreamSpec) -> "OpenAIUpstream":
        """Return the client of a server."""
        with self._lock:
            client = self._shelf.get(spec)
            if client is not None:
                return client
            unused = self._shelf.take_unused()
            client = self._shelf.add(spec, self._server_of(spec))
        _close(unused)
        return client

    def close_unused(self) -> None:
        """Close the clients that no call can be using; they are opened again if need be."""
        with self._lock:
            unused = self._shelf.take_unused()
        _close(unused)

    def close(self) -> None:
        """Close all; what is under way over them is lost."""
        with self._lock:
            opened = self._shelf.take_all()
        _close(opened)


class AsyncUpstreamPools:
    """Clients for one event loop."""

    def __init__(
        self,
        server_of: Callable[[UpstreamSpec], ModelServer],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from spendgate.adapters.async_openai_upstream import (  # noqa: PLC0415 - see above
            AsyncOpenAIUpstream,
        )

        self._server_of = server_of
        self._shelf: _Shelf[AsyncOpenAIUpstream] = _Shelf(AsyncOpenAIUpstream, clock)
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, spec: UpstreamSpec) -> "AsyncOpenAIUpstream":
        """Return the client of a server."""
        client = self._shelf.get(spec)
        if client is not None:
            return client
        for unused in self._shelf.take_unused():
            task = asyncio.get_running_loop().create_task(unused.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return self._shelf.add(spec, self._server_of(spec))

    async def close(self) -> None:
        """Close all."""
        for client in self._shelf.take_all():
            await client.close()
        if self._closing:
            await asyncio.wait(set(self._closing))


def _close(clients: "list[OpenAIUpstream]") -> None:
    for client in clients:
        client.close()
