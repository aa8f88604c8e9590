"""The second half of a call's way: end the hold as the outcome says, and write the reply."""

import time
from dataclasses import replace

from spendgate.domain.decision import Position
from spendgate.domain.reservation import Settlement
from spendgate.domain.upstream import Cause
from spendgate.gateway.admission import Admission
from spendgate.gateway.call_report import call_report
from spendgate.gateway.charging import charge_of, shown_cost_nano
from spendgate.gateway.hold_end import HoldEnd
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.outcome import Ending, Verb
from spendgate.gateway.parts import GateParts
from spendgate.gateway.reply import Reply, SpendNote, error_reply, spend_object


class Settling:
    """Ends admitted calls; safe for many at once."""

    def __init__(self, parts: GateParts, lanes: Lanes) -> None:
        self._parts = parts
        self._lanes = lanes

    async def finish(self, admission: Admission, ending: Ending) -> Reply:
        """End the hold of an admitted call as the outcome says, and write the reply."""
        return self.reply(admission, ending, await self.settle(admission, ending))

    def reply(self, admission: Admission, ending: Ending, note: SpendNote) -> Reply:
        """Write the reply of a call whose hold has ended and that isn't tried again."""
        if ending.verb is Verb.VOID and not any(one.cost_nano for one in note.failed_attempts):
            self._parts.repetitions.leave(admission.prepared)
        if ending.body is None:
            return upstream_error(ending, note)
        reply = Reply(200, {**ending.body, "spend": spend_object(note)})
        self.keep(admission, reply)
        return reply

    async def settle(self, admission: Admission, ending: Ending) -> SpendNote:
        """End the hold of an admitted call as the outcome says, and report it to who watches."""
        started = time.perf_counter()
        at = self._parts.clock()
        prepared = admission.prepared
        charge = charge_of(admission, ending, at)
        settlement = Settlement(admission.hold_id, charge, at)
        positions: tuple[Position, ...] | None = None
        if prepared.is_unheld:
            await self._lanes.run(
                lambda: self._parts.outage.end(admission.hold_id, ending.verb, charge)
            )
        else:
            positions = await self._lanes.end(HoldEnd(ending.verb, settlement, prepared.claims))
        note = self.note(
            admission,
            cost_nano=shown_cost_nano(admission, ending, charge),
            usage_source=None if ending.verb is Verb.VOID else charge.usage_source,
            positions=positions,
        )
        self._parts.stops.see(note.positions, prepared.request.facts.occurred_at)
        telemetry, seconds = self._parts.telemetry, time.perf_counter() - started
        if telemetry.is_watching:
            self._lanes.later(
                lambda: telemetry.ended(call_report(admission, ending, charge, note, at), seconds)
            )
        return note

    def note(
        self,
        admission: Admission,
        *,
        cost_nano: int = 0,
        usage_source: str | None = None,
        positions: tuple[Position, ...] | None = None,
    ) -> SpendNote:
        """Return what is known of an admitted call's spend, before it ends without a cost.

        Where the end doesn't say where budgets stand, the reservation does: no reply is held back
        for them.
        """
        granted, arrival = admission.granted, admission.prepared.arrival
        return SpendNote(
            request_id=arrival.request_id,
            model_requested=arrival.call.model,
            failed_attempts=arrival.failed,
            cost_nano=cost_nano,
            usage_source=usage_source,
            decision=str(granted.decision),
            model_served=granted.candidate.model,
            reserved_nano=granted.amount_nano,
            max_tokens_granted=granted.tokens,
            max_tokens_source=admission.max_tokens_source,
            tools_disabled=granted.tools_disabled,
            price_version=granted.candidate.price_version,
            positions=granted.positions if positions is None else positions,
            is_unheld=admission.prepared.is_unheld,
        )

    def keep(self, admission: Admission, reply: Reply) -> None:
        """Keep an answer for those who come again with its idempotency key."""
        prepared = admission.prepared
        if prepared.call.idempotency_key is not None:
            fingerprint = prepared.request.fingerprint
            self._parts.kept.put(prepared.arrival.request_id, fingerprint, reply)


def upstream_error(ending: Ending, note: SpendNote) -> Reply:
    """Answer a call that the upstream failed."""
    code = f" ({ending.upstream_code})" if ending.upstream_code else ""
    reply = error_reply(
        ending.status,
        "upstream_error",
        f"{ending.problem}{code}{_after(note)}",
        param=ending.upstream_param,
        retryable=ending.status in {408, 429, 502, 503, 504},
        retry_after_seconds=ending.retry_after_seconds,
        note=note,
    )
    return replace(reply, may_have_run=ending.cause is Cause.LOST)


def _after(note: SpendNote) -> str:
    failed = len(note.failed_attempts)
    return f", after {failed} failed attempt{'s' if failed > 1 else ''} before" if failed else ""
