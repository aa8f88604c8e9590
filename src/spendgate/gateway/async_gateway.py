"""The gate on an event loop: thousands of calls in flight, and no thread held by any of them."""

from concurrent.futures import Executor

from spendgate.gateway.admission import Incoming
from spendgate.gateway.async_lanes import AsyncLanes
from spendgate.gateway.calling import Calling
from spendgate.gateway.hold_end import HoldEnds
from spendgate.gateway.offered_models import offered_models
from spendgate.gateway.parts import GateParts
from spendgate.gateway.ports import AsyncUpstream, Ledger
from spendgate.gateway.reply import Reply
from spendgate.gateway.servers import AsyncServers, Servers, awaited
from spendgate.gateway.streamed_call import StreamedCall


class AsyncGateway:
    """One gate over one ledger and its model servers, for the tasks of one event loop."""

    def __init__(
        self,
        parts: GateParts,
        ends: HoldEnds,
        upstream: AsyncUpstream | None,
        servers: AsyncServers | None,
        threads: Executor,
        at_once: Ledger | None = None,
    ) -> None:
        self._lanes = AsyncLanes(parts.ledger, ends, parts.clock, threads, at_once)
        self._parts = parts
        self._upstream = upstream
        self._servers = servers
        opened: Servers[AsyncUpstream] = Servers(upstream, servers.of if servers else None)
        self._calling = Calling(parts, self._lanes, ends, awaited(opened))

    async def handle(self, incoming: Incoming) -> Reply:
        """Answer one request; every failure is a reply, nothing is raised."""
        return await self._calling.handle(incoming)

    async def stream(self, incoming: Incoming) -> Reply | StreamedCall:
        """Answer one request that asks for a stream.

        A reply is a refusal, a failure, or a whole answer with `chunks`. A stream is to be begun
        and read to its end, whether the client is still there or not.
        """
        return await self._calling.stream(incoming)

    async def models(self) -> tuple[tuple[str, int], ...]:
        """Return the models that clients may name, each with the time since when it is priced."""
        return await self._lanes.run(self._offered)

    def report(self) -> None:
        """Tell who watches of all that has ended; any thread may ask for it."""
        self._lanes.do_late()

    async def close(self, seconds: float) -> int:
        """Wait until what is under way has settled, but not longer; return how many have not."""
        left = await self._lanes.close(seconds)
        for one in (self._upstream, self._servers):
            if one is not None:
                await one.close()
        return left

    def _offered(self) -> tuple[tuple[str, int], ...]:
        parts = self._parts
        rules = parts.rules.at_hand or parts.rules.reload(None)
        return offered_models(rules, parts.terms.geo, parts.clock())
