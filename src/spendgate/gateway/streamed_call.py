"""An admitted call whose answer comes in pieces, and what becomes of it in every case.

Whoever drives it calls `read` until nothing more comes. If the client leaves, `leave` is said once
and the driver goes on reading: either to the usage at the end (`drain`), or to the end that `leave`
has made by closing the connection (`close`), which is charged in full.
"""

from collections.abc import Sequence

from spendgate.gateway.admission import Admission
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.outcome import CUT_OFF, Ending, Verb
from spendgate.gateway.parts import GateParts
from spendgate.gateway.ports import AsyncUpstreamStream, UpstreamLost
from spendgate.gateway.reply import Reply, SpendNote, spend_object
from spendgate.gateway.settling import Settling, upstream_error
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.stream_meter import StreamMeter

CLIENT_LEFT = Ending(Verb.EXPIRE, 499, problem="the client left and the stream was closed")
KEPT_BYTES_MAX = 1024 * 1024
"""A longer stream isn't kept for its idempotency key."""


class StreamedCall:
    """One stream between an upstream and a client; driven by one thread or task."""

    def __init__(
        self,
        admission: Admission,
        stream: AsyncUpstreamStream,
        meter: StreamMeter,
        parts: GateParts,
        lanes: Lanes,
        settling: Settling,
    ) -> None:
        self._admission = admission
        self._stream = stream
        self._meter = meter
        self._parts = parts
        self._lanes = lanes
        self._settling = settling
        self._is_over = False
        self._is_drained = False
        self._is_closed_for_client = False
        self._has_sent = False
        self._first: Sequence[StreamChunk] = ()
        self._rest = b""
        self._ending: Ending | None = None
        self._failure: Reply | None = None
        self._kept = _KeptStream() if admission.prepared.call.idempotency_key else None

    @property
    def note(self) -> SpendNote:
        """What is known of the call's spend before it ends."""
        return self._settling.note(self._admission)

    @property
    def is_over(self) -> bool:
        """Whether the money is settled and nothing more is read."""
        return self._is_over

    async def begin(self) -> Reply | None:
        """Wait for the first chunk; return a reply where the stream broke before it."""
        self._first = await self.read()
        return self._failure

    async def read(self) -> Sequence[StreamChunk]:
        """Return the chunks to send next; none when the stream is over and the money settled."""
        first, self._first = self._first, ()
        if first:
            return first
        try:
            while not self._is_over:
                chunks = await self._next()
                if chunks:
                    return chunks
        except BaseException:
            # Also when the thread or task is told to die: what may have been sent is charged.
            await self.cut_off()
            raise
        return ()

    async def cut_off(self) -> None:
        """Give the stream up where nobody will read it on; it is charged in full.

        Unless its end was read already, which then says what it cost.
        """
        await self._lanes.protected(self._end(self._ending or CUT_OFF))

    def leave(self) -> None:
        """Say that the client has gone; the driver reads on until the stream is over."""
        if self._is_over or self._is_drained or self._is_closed_for_client:
            return
        if self._drains() and self._parts.draining.enter():
            self._is_drained = True
            return
        self._is_closed_for_client = True
        self._parts.draining.close()
        self._stream.close()

    async def _next(self) -> list[StreamChunk]:
        if self._ending is not None:
            return await self._ended(self._ending)
        piece = await self._read()
        is_lost = isinstance(piece, UpstreamLost)
        chunks = [] if is_lost or piece is None else self._meter.feed(piece)
        self._has_sent = self._has_sent or bool(chunks)
        if self._kept is not None:
            self._kept.add(chunks)
        if not (is_lost or piece is None or self._meter.is_over):
            return chunks
        self._ending = self._meter.ending(piece if is_lost else None, self._write_ttl)
        if is_lost and self._is_closed_for_client:
            self._ending = CLIENT_LEFT
        # What can be read goes out before the money is settled.
        return chunks or await self._ended(self._ending)

    async def _read(self) -> bytes | UpstreamLost | None:
        """Return the next bytes; of what comes first, the first event alone, which others await."""
        piece: bytes | UpstreamLost | None = self._rest or await self._stream.read()
        self._rest = b""
        if isinstance(piece, bytes) and not self._has_sent:
            first, end, self._rest = piece.partition(b"\n\n")
            piece = first + end
        return piece

    async def _ended(self, ending: Ending) -> list[StreamChunk]:
        note = await self._lanes.protected(self._end(ending))
        return [] if note is None else self._last(ending, note)

    @property
    def _write_ttl(self) -> str | None:
        return self._admission.prepared.offers.write_ttl

    def _last(self, ending: Ending, note: SpendNote) -> list[StreamChunk]:
        if ending.body is not None:
            spend = spend_object(note)
            last = self._meter.last(spend)
            if self._kept is not None and (chunks := self._kept.whole(last)):
                self._settling.keep(self._admission, Reply(200, {"spend": spend}, chunks=chunks))
            return last
        failure = upstream_error(ending, note)
        if not self._has_sent:
            self._failure = failure
        return self._meter.broken(failure.body)

    async def _end(self, ending: Ending) -> SpendNote | None:
        """End the hold once; None if that was done before."""
        if self._is_over:
            return None
        self._is_over = True
        try:
            return await self._settling.settle(self._admission, ending)
        finally:
            self._stream.close()
            if self._is_drained:
                self._parts.draining.leave()

    def _drains(self) -> bool:
        """Say whether the budgets let the stream be read on; one that says close is enough."""
        claims = self._admission.prepared.claims
        return all(claim.budget.on_client_abort == "drain" for claim in claims)


class _KeptStream:
    """The chunks of a call with an idempotency key, as far as they aren't too many."""

    def __init__(self) -> None:
        self._chunks: list[StreamChunk] = []
        self._room = KEPT_BYTES_MAX

    def add(self, chunks: Sequence[StreamChunk]) -> None:
        said = [chunk for chunk in chunks if chunk.document is not None]
        self._room -= sum(len(chunk.data) for chunk in said)
        if self._room < 0:
            self._chunks.clear()
        else:
            self._chunks += said

    def whole(self, last: Sequence[StreamChunk]) -> tuple[StreamChunk, ...]:
        """Return all chunks, or none if they were too many."""
        return (*self._chunks, *last) if self._room >= 0 else ()
