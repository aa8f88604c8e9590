"""The first half of a call's way: who pays, may it start, hold the money or say why not.

Written once, for threads and for an event loop: whatever looks at the ledger goes through lanes.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from spendgate.domain.decision import Decision, Granted, RefusalCode, Refused
from spendgate.domain.event import Charge, DecisionRecord
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    Settlement,
    StalePolicy,
    Verdict,
)
from spendgate.errors import (
    ForbiddenError,
    InvalidRequestError,
    LedgerUnavailableError,
    SpendgateError,
)
from spendgate.gateway.admission import Admission, Arrival, Incoming, Prepared, prepare
from spendgate.gateway.attempts import Attempt
from spendgate.gateway.call_report import outcome_of
from spendgate.gateway.failure import (
    CALLERS_FAULTS,
    LEDGER_AWAY,
    fault_reply,
    ledger_away_reply,
)
from spendgate.gateway.hold_end import HoldEnd
from spendgate.gateway.idempotency import keyed_request_id
from spendgate.gateway.identity import bearer_of, check_revoked, check_trust, identify
from spendgate.gateway.lanes import Lanes
from spendgate.gateway.operation import CALLERS_HOLD, shown_hold_id
from spendgate.gateway.outcome import Verb
from spendgate.gateway.parts import GateParts
from spendgate.gateway.record import SHADOW, downgrade_record, forbidden_record, refusal_record
from spendgate.gateway.repetition import loop_record, loop_refusal
from spendgate.gateway.reply import (
    FailedAttempt,
    Reply,
    budget_refusal,
    error_reply,
)
from spendgate.gateway.rules import Rules
from spendgate.gateway.upstream_body import upstream_body
from spendgate.gateway.wire import parse_call

_log = logging.getLogger(__name__)
_STALE_TRIES = 5
_ATTEMPTS_MAX = 100
_UNSTEADY = "the policy keeps changing; try again"
_WAIT_SECONDS = 0.05
LARGE_BYTES = 256 * 1024
"""Above this size scans take milliseconds, in which an event loop would serve nobody else."""
COUNTED_BYTES = 8 * 1024
"""The same where tokenizers count: about a microsecond per byte, thirty times the strict bound."""

Answer = TypeVar("Answer")


class Think(Protocol):
    """Where arithmetic is done: here, or in another thread."""

    def __call__(self, work: Callable[[], Answer], /) -> Awaitable[Answer]:
        """Do it."""
        ...


class Reserving:
    """Admits calls; safe for many at once."""

    def __init__(self, parts: GateParts, lanes: Lanes) -> None:
        self._parts = parts
        self._lanes = lanes

    async def admit(self, incoming: Incoming) -> Admission | Reply:
        """Hold the money of one call, or answer why not. Who gets an Admission must end it."""
        started = time.perf_counter()
        answer = await self._answer(incoming)
        telemetry, seconds = self._parts.telemetry, time.perf_counter() - started
        self._lanes.later(lambda: telemetry.answered(outcome_of(answer), seconds))
        return answer

    async def _answer(self, incoming: Incoming) -> Admission | Reply:
        """Admit a call or answer why not.

        A large body is looked at by `lanes.run`: on an event loop nobody else would be served.
        """
        arrival: Arrival | None = None
        think = self._lanes.run if self._is_slow(incoming) else _here
        try:
            arrival = await think(lambda: self.arrival(incoming))
            return await self._guarded(await self.prepare(arrival, think), think)
        except CALLERS_FAULTS as error:
            return fault_reply(error, arrival and arrival.note)
        except LEDGER_AWAY as error:
            message = "the ledger can't be reached, so no money can be held; nothing was sent"
            return ledger_away_reply(error, arrival and arrival.note, message)

    def _is_slow(self, incoming: Incoming) -> bool:
        rules = self._parts.rules.at_hand
        limit = COUNTED_BYTES if rules is not None and rules.counters else LARGE_BYTES
        return incoming.body_bytes > limit

    async def again(
        self, admission: Admission, attempt: Attempt, failed: FailedAttempt
    ) -> Admission | None:
        """Hold the money of a further attempt; None where nothing allows or affords it.

        A model that the budgets refuse is left out for those that weren't tried yet. Nothing waits
        for held money here: the caller has an answer already.
        """
        before, now = admission.prepared, self._parts.clock()
        arrival = replace(
            before.arrival,
            at=now,
            attempt=before.request.facts.attempt + 1,
            tried=attempt.plan.tried,
            failed=(*before.arrival.failed, failed),
        )
        try:
            prepared = await self.prepare(arrival, is_recorded=False)
            for model in _in_turn(prepared, attempt):
                asking, verdict = await self._verdict(prepared.asking(model))
                if isinstance(verdict, Granted):
                    return await self._granted(asking, verdict)
                if not isinstance(verdict, Refused):
                    return None  # another request with this idempotency key is under way
        except SpendgateError as error:
            _log.warning("no further attempt of %s: %s", arrival.request_id, error)
        return None

    def arrival(self, incoming: Incoming) -> Arrival:
        """Check a request and say who it is from.

        Raises:
            InvalidRequestError, TokenError, ForbiddenError: naming the field.
        """
        at = self._parts.clock()
        call = parse_call(incoming.route, incoming.body, incoming.host, incoming.headers)
        if call.is_stream and not incoming.may_stream:
            raise InvalidRequestError("this host can't stream; leave stream out", "stream")
        caller = identify(call, bearer_of(incoming.headers), self._parts.verifier, incoming.vouched)
        key = call.idempotency_key
        request_id = (
            self._parts.new_id() if key is None else keyed_request_id(key, caller.identity.values)
        )
        if incoming.reserves_only:
            request_id = f"{CALLERS_HOLD}{request_id}"
        return Arrival(call, caller, request_id, at, reserves_only=incoming.reserves_only)

    async def prepare(
        self, arrival: Arrival, think: Think | None = None, *, is_recorded: bool = True
    ) -> Prepared:
        """Prepare a call under the rules at hand; what they refuse, only the newest may refuse."""
        think = think or _here
        rules = self._parts.rules.at_hand or await self._reload(None)
        for _ in range(_STALE_TRIES):
            try:
                return await think(partial(self._prepared, arrival, rules))
            except (ForbiddenError, InvalidRequestError) as error:
                version = await self._lanes.run(self._parts.ledger.policy_version)
                if version == rules.policy.version:
                    if is_recorded and isinstance(error, ForbiddenError):
                        await self._record_forbidden(arrival, error.code)
                    raise
            rules = await self._reload(rules)
        raise LedgerUnavailableError(_UNSTEADY)

    async def _reload(self, seen: Rules | None) -> Rules:
        return await self._lanes.run(lambda: self._parts.rules.reload(seen))

    def _prepared(self, arrival: Arrival, rules: Rules) -> Prepared:
        parts, caller = self._parts, arrival.caller
        policy = rules.policy_for(caller.identity)
        check_revoked(caller.claims, policy)
        check_trust(caller, policy)
        return prepare(arrival, rules, parts.default_server, parts.terms)

    async def _guarded(self, prepared: Prepared, think: Think) -> Admission | Reply:
        """Ask for the money, unless a loop guard has seen this request too often."""
        repetitions = self._parts.repetitions
        entry = await think(lambda: repetitions.enter(prepared))
        if entry.loop is not None:
            await self._record(loop_record(prepared.arrival, entry.loop))
            if not entry.loop.is_shadow:
                return loop_refusal(entry.loop, prepared.arrival.note)
        admitted: Admission | Reply | None = None
        try:
            admitted = await self._reserve(prepared)
            return admitted
        finally:
            if entry.is_counted and not isinstance(admitted, Admission):
                repetitions.leave(prepared)

    async def _reserve(self, prepared: Prepared) -> Admission | Reply:
        deadline = time.monotonic() + self._held_wait_seconds(prepared)
        while True:
            prepared, verdict = await self._first_granted(prepared)
            if isinstance(verdict, Granted):
                return await self._granted(prepared, verdict)
            if not isinstance(verdict, Refused):
                return self._repeated(prepared, verdict)
            left_seconds = deadline - time.monotonic()
            if verdict.code is not RefusalCode.HELD or left_seconds <= 0:
                return await self._refused(prepared, verdict)
            await self._lanes.released(min(_WAIT_SECONDS, left_seconds))

    async def _granted(self, prepared: Prepared, granted: Granted) -> Admission:
        try:
            return await self._admitted(prepared, granted)
        except BaseException:
            await self._lanes.protected(self._void(prepared))  # nothing was sent
            raise

    async def _void(self, prepared: Prepared) -> None:
        hold_id = prepared.request.hold_id
        if prepared.is_unheld:
            await self._lanes.run(lambda: self._parts.outage.end(hold_id, Verb.VOID, Charge()))
            return
        settlement = Settlement(hold_id, Charge(), self._parts.clock())
        await self._lanes.end(HoldEnd(Verb.VOID, settlement))

    async def _first_granted(self, prepared: Prepared) -> tuple[Prepared, Verdict]:
        """Ask for each model that may be chosen, in turn.

        Where none is granted, answer the refusal that is nearest to a grant: one that ends when
        calls in flight settle, else the one that misses least money.
        """
        nearest: tuple[Prepared, Refused] | None = None
        for model in prepared.choices:
            asking = prepared if model == prepared.request.model else prepared.asking(model)
            asking, verdict = await self._verdict(asking)
            if not isinstance(verdict, Refused):
                return asking, verdict
            if nearest is None or distance(verdict) < distance(nearest[1]):
                nearest = asking, verdict
        assert nearest is not None  # noqa: S101 - a plan names one model at least
        return nearest

    async def _verdict(self, prepared: Prepared) -> tuple[Prepared, Verdict]:
        """Ask the ledger, again under the new rules if the policy changed meanwhile.

        A voided attempt was never billed, so its idempotency key may try again with a new hold.
        """
        attempt = prepared.request.facts.attempt
        for _ in range(_STALE_TRIES + _ATTEMPTS_MAX):
            try:
                verdict = await self._lanes.reserve(prepared.request)
            except LedgerUnavailableError:
                unheld = await self._without_ledger(prepared)
                if unheld is None:
                    raise
                return unheld
            if isinstance(verdict, StalePolicy):
                await self._reload(prepared.rules)
                prepared = await self._again(prepared, attempt)
            elif isinstance(verdict, AlreadyReserved) and verdict.state is HoldState.VOIDED:
                attempt += 1
                prepared = prepared.with_attempt(attempt)
            else:
                return prepared, verdict
        raise LedgerUnavailableError(_UNSTEADY)

    async def _without_ledger(self, prepared: Prepared) -> tuple[Prepared, Granted] | None:
        """Grant a call that the ledger can't be asked about, if all of its budgets say so.

        Not one with an idempotency key: only the ledger knows whether it was made before. Nor one
        that its caller makes: another process may be told of its end.
        """
        if prepared.call.idempotency_key is not None or prepared.arrival.reserves_only:
            return None
        granted = await self._lanes.run(lambda: self._parts.outage.admit(prepared.request))
        return None if granted is None else (replace(prepared, is_unheld=True), granted)

    async def _again(self, prepared: Prepared, attempt: int) -> Prepared:
        """Prepare a call under newer rules, for the same model if they still name it."""
        model = prepared.request.model
        fresh = await self.prepare(prepared.arrival)
        if model != fresh.request.model and model in fresh.choices:
            fresh = fresh.asking(model)
        return fresh.with_attempt(attempt)

    def _held_wait_seconds(self, prepared: Prepared) -> float:
        wait = prepared.rules.policy.defaults.held_wait_seconds
        return self._parts.terms.held_wait_seconds if wait is None else wait

    async def _admitted(self, prepared: Prepared, granted: Granted) -> Admission:
        if granted.shadow is not None:
            await self._record(refusal_record(prepared, granted.shadow, None, SHADOW))
        if granted.decision is Decision.DOWNGRADE:
            await self._record(downgrade_record(prepared, granted))
        server = prepared.plan.server(granted.candidate.upstream or "")
        assert server is not None  # noqa: S101 - candidates name servers of this plan
        body = upstream_body(
            prepared.call,
            granted.candidate.model,
            granted.tokens,
            granted.tools_disabled,
            prepared.request.facts.scopes,
            prepared.request.hold_id,
        )
        return Admission(prepared, granted, server, body)

    async def _refused(self, prepared: Prepared, refused: Refused) -> Reply:
        self._parts.stops.see((refused.binding,), prepared.request.facts.occurred_at)
        tried = (prepared.call.model, refused.model)
        suggested = await self._lanes.run(
            lambda: prepared.offers.suggestion(refused.positions, tried, prepared.caller.models)
        )
        await self._record(refusal_record(prepared, refused, suggested))
        note = replace(prepared.arrival.note, positions=refused.positions)
        return budget_refusal(refused, note, suggested, prepared.call.host)

    def _repeated(self, prepared: Prepared, verdict: Verdict) -> Reply:
        """Answer a request whose hold exists already: the first answer, or a clear 409."""
        if isinstance(verdict, FingerprintConflict):
            message = "this idempotency key was used with another body; use a new key"
            return error_reply(409, "idempotency_conflict", message, note=prepared.arrival.note)
        assert isinstance(verdict, AlreadyReserved)  # noqa: S101 - all other verdicts were handled
        is_running = verdict.state is HoldState.HELD
        kept = self._parts.kept.get(prepared.arrival.request_id, prepared.request.fingerprint)
        if kept is not None and not prepared.arrival.reserves_only:
            return kept
        hold_id = shown_hold_id(prepared.request.hold_id)
        # Who is told again of a hold that has ended, here or elsewhere, would call a model unpaid.
        if kept is not None and is_running and kept.body.get("hold_id") == hold_id:
            return kept
        note = replace(
            prepared.arrival.note,
            decision="replay",
            model_served=verdict.model,
            cost_nano=verdict.charged_nano,
            reserved_nano=verdict.amount_nano,
            usage_source="reserved" if verdict.state is HoldState.EXPIRED else None,
        )
        message = (
            "the first call with this idempotency key is still running"
            if is_running
            else "this call was made and paid for; its answer is no longer kept"
        )
        reply = error_reply(409, "idempotency_replayed", message, retryable=is_running, note=note)
        if prepared.arrival.reserves_only:
            reply.body["hold_id"] = hold_id
        return reply

    async def _record_forbidden(self, arrival: Arrival, code: str) -> None:
        if code != "scope_forbidden":  # its caller only says who it is, so the record would lie
            await self._record(forbidden_record(arrival, code))

    async def _record(self, record: DecisionRecord) -> None:
        try:
            await self._lanes.run(lambda: self._parts.ledger.record([record]))
        except LedgerUnavailableError as error:
            # A decision record is a report, not money: the answer goes out without it.
            _log.warning("decision %s was not recorded: %s", record.decision_id, error)


def _in_turn(prepared: Prepared, attempt: Attempt) -> list[str]:
    """The model to try next, then those that weren't tried yet."""
    plan = prepared.plan
    fresh = [one for one in plan.models if plan.tries(plan.served_for(one)) == 0]
    planned = [attempt.model] if attempt.model in plan.models else []
    return list(dict.fromkeys([*planned, *fresh]))


def distance(refused: Refused) -> tuple[bool, int]:
    """Order refusals: first what calls in flight hold, then what misses least money."""
    return refused.code is not RefusalCode.HELD, refused.needed_nano


async def _here(work: Callable[[], Answer]) -> Answer:
    return work()
