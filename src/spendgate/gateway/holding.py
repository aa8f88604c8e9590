"""Two phases over the wire: a caller that calls its model itself reserves before, settles after.

Cooperative: nothing makes a caller send only what was granted, or report what it used. What is
enforced is whose hold it is, that it ends once, and that one that never ends is charged in full.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from spendgate.domain.adjustment import HoldRecord
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import Settled, Settlement
from spendgate.domain.scope import Identity
from spendgate.gateway.admission import Admission, Incoming
from spendgate.gateway.call_report import settled_report
from spendgate.gateway.charging import priced
from spendgate.gateway.failure import (
    CALLERS_FAULTS,
    LEDGER_AWAY,
    fault_reply,
    ledger_away_reply,
)
from spendgate.gateway.hold_end import HoldEnd, HoldEnds
from spendgate.gateway.identity import Caller, bearer_of, check_revoked, check_trust, identify
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.operation import (
    EndOfCall,
    Operation,
    operation_of,
    parse_end,
    shown_hold_id,
)
from spendgate.gateway.outcome import Verb
from spendgate.gateway.parts import GateParts
from spendgate.gateway.reply import Reply, SpendNote, error_reply, instant, spend_object
from spendgate.gateway.reserving import Reserving
from spendgate.gateway.rules import Rules
from spendgate.gateway.settling import Settling
from spendgate.gateway.wire import CHAT, EMBEDDINGS

_AWAY = "the ledger can't be reached; the hold is as it was, so send this again"


class Holding:
    """Answers the operations of callers that make their calls themselves; safe for many at once."""

    def __init__(
        self,
        parts: GateParts,
        lanes: Lanes,
        ends: HoldEnds,
        reserving: Reserving,
        settling: Settling,
    ) -> None:
        self._parts = parts
        self._lanes = lanes
        self._ends = ends
        self._reserving = reserving
        self._settling = settling

    async def answer(self, incoming: Incoming) -> Reply | None:
        """Answer an operation; None where the body asks for none. Nothing is raised."""
        if incoming.body.get("custom_inputs") is None:
            return None
        try:
            operation = operation_of(incoming.body)
            if operation is None:
                return None
            if operation is Operation.RESERVE:
                return await self._reserve(incoming)
            return await self._end(incoming, operation)
        except CALLERS_FAULTS as error:
            return fault_reply(error, None)
        except LEDGER_AWAY as error:
            return ledger_away_reply(error, None, _AWAY)

    async def _reserve(self, incoming: Incoming) -> Reply:
        asked = replace(incoming, may_stream=True, reserves_only=True)
        admitted = await self._reserving.admit(asked)
        if isinstance(admitted, Reply):
            return admitted
        self._lanes.hand_over()
        reply = self._held(admitted)
        self._settling.keep(admitted, reply)
        return reply

    def _held(self, admitted: Admission) -> Reply:
        granted, request = admitted.granted, admitted.prepared.request
        return Reply(
            200,
            {
                "object": "hold",
                "hold_id": shown_hold_id(admitted.hold_id),
                "state": HoldState.HELD.value,
                "expires_at": instant(request.expires_at),
                "model": granted.candidate.model,
                "max_tokens": granted.tokens,
                "tools_disabled": list(granted.tools_disabled),
                # What Databricks' own tables and ours call this call.
                "client_request_id": admitted.hold_id,
                "body": admitted.callers_body,
                "spend": spend_object(self._settling.note(admitted)),
            },
        )

    async def _end(self, incoming: Incoming, operation: Operation) -> Reply:
        asked = parse_end(incoming.body, operation, incoming.headers)
        bearer = bearer_of(incoming.headers)
        caller = identify(asked, bearer, self._parts.verifier, incoming.vouched)
        hold_id = asked.hold_id
        record, rules = await self._lanes.run(lambda: self._looked_up(hold_id))
        policy = rules.policy_for(caller.identity)
        check_revoked(caller.claims, policy)
        check_trust(caller, policy)
        if hold_id is None or record is None or not _owns(caller, record.facts):
            return _not_found()
        started = time.perf_counter()
        end = self._wished(asked, hold_id, record, rules)
        settled, positions = await self._lanes.run(lambda: self._ends.end_told(end))
        if settled.state is None:
            return _not_found()
        note = replace(_note(hold_id, record, settled, end.settlement.charge), positions=positions)
        if operation is Operation.SETTLE and settled.state is HoldState.VOIDED:
            message = (
                "this hold was voided before, so its cost isn't charged; if the call was made, "
                "have it booked with `spendgate adjust`"
            )
            return error_reply(409, "hold_voided", message, note=note)
        telemetry = self._parts.telemetry
        if settled.moved and operation is Operation.SETTLE and telemetry.is_watching:
            price = rules.book.row(record.facts.price_version)
            route = CHAT if price is None or price.kind == "chat" else EMBEDDINGS
            charge, at = end.settlement.charge, end.settlement.at
            report = settled_report(hold_id, record.facts, charge, note, at, route=route)
            telemetry.ended(report, time.perf_counter() - started)
        return Reply(
            200,
            {
                "object": "hold",
                "hold_id": shown_hold_id(hold_id),
                "state": settled.state.value,
                "changed": settled.moved,
                "spend": spend_object(note),
            },
        )

    def _looked_up(self, hold_id: str | None) -> tuple[HoldRecord | None, Rules]:
        """Return a hold, and rules that aren't older than it."""
        ledger, current = self._parts.ledger, self._parts.rules
        record = None if hold_id is None else ledger.hold_record(hold_id)
        rules = current.at_hand
        if rules is None or rules.policy.version != ledger.policy_version():
            rules = current.reload(rules)
        return record, rules

    def _wished(self, asked: EndOfCall, hold_id: str, record: HoldRecord, rules: Rules) -> HoldEnd:
        at, facts = self._parts.clock(), record.facts
        payer = _payer(facts)
        claims = rules.claims(payer, facts.occurred_at)
        if asked.operation is Operation.VOID:
            return HoldEnd(Verb.VOID, Settlement(hold_id, Charge(), at), claims)
        latency_ms = max(0, round((at - facts.occurred_at).total_seconds() * 1000))
        charges = [
            priced(
                rules.book,
                facts.model,
                one,
                at=facts.occurred_at,
                geo=facts.geo,
                latency_ms=latency_ms,
            )
            for one in asked.readings
        ]
        charge = _covered(charges, record.amounts.amount_nano) or Charge(latency_ms=latency_ms)
        return HoldEnd(Verb.SETTLE, Settlement(hold_id, charge, at), claims)


def _owns(caller: Caller, facts: CallFacts) -> bool:
    """Tell whether a caller could have reserved a hold.

    Whatever must be vouched for, is vouched for, or is said must be the hold's own. Who says
    nothing, where nobody vouches, has only the id to show, which can't be guessed.
    """
    payer = _payer(facts)
    names = caller.must_be_vouched | caller.identity.trusted | caller.asserted
    return all(payer.value(name) == caller.identity.value(name) for name in names)


def _covered(charges: Sequence[Charge], held_nano: int) -> Charge | None:
    """Return the first, dearest charge that the hold covers, or the dearest where none is covered.

    A hold covers whatever its request could cost, so that what it doesn't cover wasn't asked for.
    """
    covered = (one for one in charges if one.cost_nano is None or one.cost_nano <= held_nano)
    return next(covered, charges[0] if charges else None)


def _payer(facts: CallFacts) -> Identity:
    return Identity(facts.scopes, facts.tags)


def _note(hold_id: str, record: HoldRecord, settled: Settled, charge: Charge) -> SpendNote:
    facts = record.facts
    source = charge.usage_source if settled.moved else None
    return SpendNote(
        hold_id.rpartition("#")[0],
        decision=facts.decision,
        model_requested=facts.model_requested,
        model_served=facts.model,
        cost_nano=settled.charged_nano,
        reserved_nano=record.amounts.amount_nano,
        price_version=facts.price_version,
        usage_source="reserved" if settled.state is HoldState.EXPIRED else source,
    )


def _not_found() -> Reply:
    """Answer alike for a hold that isn't there and for one that is somebody else's."""
    message = (
        "the caller has no such hold: the id is wrong, the hold is somebody else's, was ended "
        "long ago, or belongs to a call that the gate makes itself"
    )
    return error_reply(404, "hold_not_found", message, param="hold_id")
