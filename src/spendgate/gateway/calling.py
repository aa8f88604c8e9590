"""The whole way of a call: admit, ask the upstream, end; an answer for whatever happens between."""

from collections.abc import Callable
from dataclasses import replace

from spendgate.domain.upstream import UpstreamSpec
from spendgate.gateway.admission import Admission, Incoming
from spendgate.gateway.failure import LEDGER_AWAY
from spendgate.gateway.hold_end import HoldEnds
from spendgate.gateway.holding import Holding
from spendgate.gateway.json_object import json_object
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.outcome import CUT_OFF, Ending, judge
from spendgate.gateway.parts import GateParts
from spendgate.gateway.ports import (
    AsyncUpstream,
    UpstreamAnswer,
    UpstreamLost,
    UpstreamNotSent,
    UpstreamOutcome,
)
from spendgate.gateway.reply import Reply
from spendgate.gateway.reserving import Reserving
from spendgate.gateway.retrying import Retrying
from spendgate.gateway.route import BY_MODEL
from spendgate.gateway.settling import Settling
from spendgate.gateway.stream_form import streamed_form
from spendgate.gateway.stream_meter import stream_meter
from spendgate.gateway.streamed_call import StreamedCall
from spendgate.gateway.wire import EMBEDDINGS, RESPONSES, wants_stream_usage


class Calling:
    """Answers calls over one host's lanes; safe for many at once."""

    def __init__(
        self,
        parts: GateParts,
        lanes: Lanes,
        ends: HoldEnds,
        upstream_of: Callable[[UpstreamSpec], AsyncUpstream],
    ) -> None:
        self._parts = parts
        self._lanes = lanes
        self._upstream_of = upstream_of
        self.reserving = Reserving(parts, lanes)
        self.settling = Settling(parts, lanes)
        self._holding = Holding(parts, lanes, ends, self.reserving, self.settling)

    async def handle(self, incoming: Incoming) -> Reply:
        """Answer one request; every failure is a reply."""
        incoming = await self._routed(incoming)
        held = await self._holding.answer(incoming)
        if held is not None:
            return held
        admitted = await self.reserving.admit(incoming)
        if isinstance(admitted, Reply):
            return admitted
        retrying = Retrying(self.reserving, self._lanes)
        while True:
            ending = CUT_OFF
            try:
                upstream = self._upstream_of(admitted.server)
                ending = self._judged(admitted, await upstream.call(incoming.route, admitted.body))
            finally:
                # Also when the thread or task is told to die: what may have been sent is charged.
                note = await self._lanes.protected(self.settling.settle(admitted, ending))
            following = await retrying.after(admitted, ending, note)
            if following is None:
                return self.settling.reply(admitted, ending, note)
            admitted = following

    async def stream(self, incoming: Incoming) -> Reply | StreamedCall:
        """Answer one request that asks for a stream.

        Returns a reply where nothing comes in pieces: a refusal, a failure, or a whole answer,
        which then has `chunks`.
        """
        incoming = await self._routed(incoming)
        held = await self._holding.answer(incoming)
        if held is not None:
            return held
        admitted = await self.reserving.admit(incoming)
        if isinstance(admitted, Reply):
            return _as_stream(admitted, incoming.route, wants_stream_usage(incoming.body))
        wants_usage = wants_stream_usage(admitted.prepared.call.body)
        retrying = Retrying(self.reserving, self._lanes)
        while True:
            try:
                upstream = self._upstream_of(admitted.server)
                opened = await upstream.stream(incoming.route, admitted.body)
            except BaseException:
                await self._lanes.protected(self.settling.settle(admitted, CUT_OFF))
                raise
            if not isinstance(opened, UpstreamAnswer | UpstreamNotSent | UpstreamLost):
                meter = stream_meter(incoming.route, wants_usage=wants_usage)
                parts, lanes = self._parts, self._lanes
                return StreamedCall(admitted, opened, meter, parts, lanes, self.settling)
            ending = self._judged(admitted, opened)
            note = await self._lanes.protected(self.settling.settle(admitted, ending))
            following = await retrying.after(admitted, ending, note)
            if following is None:
                reply = self.settling.reply(admitted, ending, note)
                return _as_stream(reply, incoming.route, wants_usage)
            admitted = following

    async def _routed(self, incoming: Incoming) -> Incoming:
        """Say by its model's kind what a body asks for that nothing else tells."""
        if incoming.route != BY_MODEL:
            return incoming
        current = self._parts.rules
        try:
            rules = current.at_hand or await self._lanes.run(lambda: current.reload(None))
        except LEDGER_AWAY:
            return replace(incoming, route=EMBEDDINGS)  # nothing is admitted then
        named = json_object(incoming.body.get("custom_inputs")).get("model")
        model = incoming.body.get("model") if named is None else named
        is_chat = False
        if isinstance(model, str):
            price = rules.book.dearest(model, geo=None, at=self._parts.clock())
            is_chat = rules.policy.router.routes(model) if price is None else price.kind == "chat"
        return replace(incoming, route=RESPONSES if is_chat else EMBEDDINGS)

    def _judged(self, admitted: Admission, outcome: UpstreamOutcome) -> Ending:
        of_server = admitted.server.bills_5xx
        return judge(
            outcome,
            bills_5xx=self._parts.terms.bills_5xx if of_server is None else of_server,
            write_ttl=admitted.prepared.offers.write_ttl,
        )


def _as_stream(reply: Reply, route: str, wants_usage: bool) -> Reply:
    """Give an answer of status 200 the form that was asked for."""
    if reply.status != 200 or reply.chunks is not None:
        return reply
    return replace(reply, chunks=streamed_form(route, reply.body, wants_usage=wants_usage))
