"""The model servers that calls may go to: the host's own, and those that the policy names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from spendgate.domain.upstream import UpstreamKind, UpstreamSpec
from spendgate.gateway.ports import (
    AsyncUpstream,
    Upstream,
    UpstreamAnswer,
    UpstreamLost,
    UpstreamNotSent,
    UpstreamOutcome,
    UpstreamStream,
)

Client = TypeVar("Client", Upstream, AsyncUpstream)


class AsyncServers(Protocol):
    """The clients of the policy's servers on one event loop."""

    def of(self, spec: UpstreamSpec) -> AsyncUpstream:
        """Return the client of a server, opened when it is first asked for."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


@dataclass(frozen=True, slots=True)
class Servers(Generic[Client]):
    """Finds the client of a server.

    `own` is the host's own upstream, `named` opens those of the policy. A host that can't open any
    answers for all of them as not reached: nothing is sent and nothing billed.
    """

    own: Client | None
    named: Callable[[UpstreamSpec], Client] | None = None

    @property
    def own_spec(self) -> UpstreamSpec | None:
        """The host's own server as a spec; only this one has no URL."""
        return None if self.own is None else UpstreamSpec(self.own.name)

    def of(self, spec: UpstreamSpec) -> Client | None:
        """Return the client of a server, or None where it can't be opened here."""
        if spec.url is None and spec.kind is UpstreamKind.OPENAI:
            return self.own
        return None if self.named is None else self.named(spec)


_NOT_OPENED = UpstreamNotSent("this host doesn't open the policy's upstreams")


def awaited(servers: Servers[AsyncUpstream]) -> Callable[[UpstreamSpec], AsyncUpstream]:
    """Return the clients for an event loop."""
    return lambda spec: servers.of(spec) or _NoUpstream(spec.name)


def blocking(servers: Servers[Upstream]) -> Callable[[UpstreamSpec], AsyncUpstream]:
    """Return the clients for `run_now`: they answer in the caller's own thread."""

    def open_one(spec: UpstreamSpec) -> AsyncUpstream:
        upstream = servers.of(spec)
        return _NoUpstream(spec.name) if upstream is None else _BlockingUpstream(upstream)

    return open_one


class _NoUpstream:
    def __init__(self, name: str) -> None:
        self.name = name

    async def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        del route, body
        return _NOT_OPENED

    async def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        del route, body
        return _NOT_OPENED

    async def close(self) -> None:
        """Nothing is open."""


class _BlockingUpstream:
    """An upstream that answers in the caller's own thread."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.name = upstream.name

    async def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self._upstream.call(route, body)

    async def stream(
        self, route: str, body: Mapping[str, object]
    ) -> "UpstreamOutcome | _BlockingStream":
        outcome = self._upstream.stream(route, body)
        if isinstance(outcome, UpstreamAnswer | UpstreamNotSent | UpstreamLost):
            return outcome
        return _BlockingStream(outcome)

    async def close(self) -> None:
        """Leave it open: it belongs to whoever made it."""


class _BlockingStream:
    """A stream that is read in the caller's own thread."""

    def __init__(self, stream: UpstreamStream) -> None:
        self._stream = stream
        self.close = stream.close

    async def read(self) -> bytes | UpstreamLost | None:
        return self._stream.read()
