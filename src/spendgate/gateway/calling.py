"""The whole way of a call: admit, ask the upstream, end; an answer for whatever happens between."""

from spendgate.gateway.admission import Incoming
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.outcome import Ending, Verb, judge
from spendgate.gateway.parts import GateParts
from spendgate.gateway.ports import AsyncUpstream
from spendgate.gateway.reply import Reply
from spendgate.gateway.reserving import Reserving
from spendgate.gateway.settling import Settling

CUT_OFF = Ending(Verb.EXPIRE, 500, problem="the call was cut off inside the gate")


class Calling:
    """Answers calls over one host's lanes; safe for many at once."""

    def __init__(self, parts: GateParts, lanes: Lanes, upstream: AsyncUpstream) -> None:
        self._parts = parts
        self._lanes = lanes
        self._upstream = upstream
        self.reserving = Reserving(parts, lanes)
        self.settling = Settling(parts, lanes)

    async def handle(self, incoming: Incoming) -> Reply:
        """Answer one request; every failure is a reply."""
        admitted = await self.reserving.admit(incoming)
        if isinstance(admitted, Reply):
            return admitted
        ending = CUT_OFF
        try:
            outcome = await self._upstream.call(incoming.route, admitted.body)
            ending = judge(
                outcome,
                bills_5xx=self._parts.terms.bills_5xx,
                write_ttl=admitted.prepared.offers.write_ttl,
            )
        finally:
            # Also when the thread or task is told to die: what may have been sent is charged.
            reply = await self._lanes.protected(self.settling.finish(admitted, ending))
        return reply
