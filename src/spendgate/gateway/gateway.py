"""The gate: admit → call → settle, with an answer for everything that can happen in between."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from spendgate.domain.decision import Balance, Decision, Granted, Position, RefusalCode, Refused
from spendgate.domain.event import DecisionRecord
from spendgate.domain.hold import HoldState
from spendgate.domain.price import PriceBook
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    Settlement,
    StalePolicy,
    Verdict,
)
from spendgate.errors import (
    CallerError,
    ForbiddenError,
    InvalidRequestError,
    LedgerBrokenError,
    LedgerUnavailableError,
    PolicyError,
    PriceError,
    TokenError,
)
from spendgate.gateway.admission import Admission, Arrival, Prepared, prepare
from spendgate.gateway.charging import charge_of, shown_cost_nano
from spendgate.gateway.explanation import explained
from spendgate.gateway.hold_end import HoldEnd, HoldEnds
from spendgate.gateway.idempotency import KeptAnswers, keyed_request_id
from spendgate.gateway.identity import check_revoked, check_trust, identify
from spendgate.gateway.outcome import Ending, Verb, judge
from spendgate.gateway.ports import Clock, Ledger, TokenVerifier, Upstream
from spendgate.gateway.record import SHADOW, downgrade_record, forbidden_record, refusal_record
from spendgate.gateway.repetition import Repetitions, loop_record, loop_refusal
from spendgate.gateway.reply import Reply, SpendNote, budget_refusal, error_reply, spend_object
from spendgate.gateway.rules import Rules
from spendgate.gateway.terms import Terms
from spendgate.gateway.upstream_body import upstream_body
from spendgate.gateway.wire import Host, parse_call

_log = logging.getLogger(__name__)
_STALE_TRIES = 5
_ATTEMPTS_MAX = 100
_UNSTEADY = "the policy keeps changing; try again"
_WAIT_SECONDS = 0.05
_WOKEN = 4
"""Waiters that one settlement wakes; all would only queue for the ledger, and each looks again
after `_WAIT_SECONDS` by itself."""


class Gateway:
    """One gate over one ledger and one model server; safe for many threads."""

    def __init__(
        self,
        ledger: Ledger,
        upstream: Upstream,
        book: Callable[[], PriceBook],
        *,
        clock: Clock,
        new_id: Callable[[], str],
        verifier: TokenVerifier | None = None,
        terms: Terms | None = None,
    ) -> None:
        self._ledger = ledger
        self._upstream = upstream
        self._book = book
        self._clock = clock
        self._new_id = new_id
        self._verifier = verifier
        self._terms = terms or Terms()
        self._kept = KeptAnswers(self._terms.answers_kept_max, self._terms.answers_bytes_max)
        self._repetitions = Repetitions()
        self._rules: Rules | None = None
        self._rules_lock = threading.Lock()
        self._released = threading.Condition()
        self._ends = HoldEnds(ledger)

    def handle(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host,
        headers: Mapping[str, str] | None = None,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply:
        """Answer one request; every failure is a reply, nothing is raised.

        Args:
            route: `chat/completions` or `embeddings`.
            body: the client's JSON.
            host: the front door it came through.
            headers: request headers with lower-case names; `authorization` and `x-spend-*` are
            read.
            vouched: what the platform says about the caller; None where it isn't asked.
        """
        admitted = self.admit(route, body, host=host, headers=headers, vouched=vouched)
        if isinstance(admitted, Reply):
            return admitted
        ending = Ending(Verb.EXPIRE, 500, problem="the call was cut off inside the gate")
        try:
            outcome = self._upstream.call(route, admitted.body)
            ending = judge(
                outcome,
                bills_5xx=self._terms.bills_5xx,
                write_ttl=admitted.prepared.offers.write_ttl,
            )
        finally:
            # Also when the thread is told to die: a call that may have been sent is charged.
            reply = self.finish(admitted, ending)
        return reply

    def admit(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host,
        headers: Mapping[str, str] | None = None,
        vouched: Mapping[str, str] | None = None,
    ) -> Admission | Reply:
        """Hold the money of one call, or answer why not. Who gets an Admission must `finish` it."""
        note: SpendNote | None = None
        try:
            arrival = self._arrival(route, body, host, headers or {}, vouched)
            note = arrival.note
            return self._guarded(self._prepare(arrival))
        except InvalidRequestError as error:
            return error_reply(400, "invalid_request", str(error), param=error.field, note=note)
        except TokenError as error:
            return error_reply(401, "invalid_spend_token", str(error), param="spend_token")
        except CallerError as error:
            return error_reply(401, "caller_unknown", str(error))
        except ForbiddenError as error:
            status = 400 if error.code == "model_not_priced" else 403
            return error_reply(status, error.code, str(error), param=error.field, note=note)
        except (LedgerUnavailableError, LedgerBrokenError, PolicyError, PriceError) as error:
            _log.warning("the ledger can't answer, failing closed: %s", error)
            message = "the ledger can't be reached, so no money can be held; nothing was sent"
            return error_reply(503, "ledger_unavailable", message, retryable=True, note=note)

    def finish(self, admission: Admission, ending: Ending) -> Reply:
        """End the hold of an admitted call as the outcome says, and write the reply."""
        at = self._clock()
        prepared, granted = admission.prepared, admission.granted
        charge = charge_of(admission, ending, at)
        self._ends.end(HoldEnd(ending.verb, Settlement(admission.hold_id, charge, at)))
        if ending.verb is Verb.VOID:
            self._repetitions.leave(prepared)
        with self._released:
            self._released.notify(_WOKEN)
        note = replace(
            prepared.arrival.note,
            decision=granted.decision.value,
            model_served=granted.candidate.model,
            cost_nano=shown_cost_nano(admission, ending, charge),
            reserved_nano=granted.amount_nano,
            max_tokens_granted=granted.tokens,
            max_tokens_source=admission.max_tokens_source,
            tools_disabled=granted.tools_disabled,
            price_version=granted.candidate.price_version,
            usage_source=charge.usage_source,
            positions=self._positions(prepared, granted),
        )
        if ending.body is None:
            return _upstream_error(ending, note)
        reply = Reply(200, {**ending.body, "spend": spend_object(note)})
        if prepared.call.idempotency_key is not None:
            self._kept.put(prepared.arrival.request_id, prepared.request.fingerprint, reply)
        return reply

    def explain(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host = Host.ENDPOINT,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        """Say what would happen to a request and why, without holding or sending anything.

        Raises:
            SpendgateError: what `handle` would have answered as an error.
        """
        arrival = self._arrival(route, body, host, headers or {})
        return explained(self._prepare(arrival, is_recorded=False), self._ledger)

    def refresh(self) -> None:
        """Reread policy and prices if they changed; a reserve notices a change by itself."""
        rules = self._rules
        if rules is not None and self._ledger.policy_version() != rules.policy.version:
            self._reload(rules)

    def settle_late(self) -> int:
        """Repeat the ends of holds that the ledger couldn't take; return how many still wait."""
        return self._ends.repeat()

    def _arrival(
        self,
        route: str,
        body: Mapping[str, object],
        host: Host,
        headers: Mapping[str, str],
        vouched: Mapping[str, str] | None = None,
    ) -> Arrival:
        at = self._clock()
        call = parse_call(route, body, host, headers)
        caller = identify(call, _bearer(headers), self._verifier, vouched)
        key = call.idempotency_key
        request_id = (
            self._new_id() if key is None else keyed_request_id(key, caller.identity.values)
        )
        return Arrival(call, caller, request_id, at)

    def _prepare(self, arrival: Arrival, *, is_recorded: bool = True) -> Prepared:
        """Prepare a call under the rules at hand; what they refuse, only the newest may refuse."""
        rules = self._rules or self._reload(None)
        for _ in range(_STALE_TRIES):
            try:
                return self._prepared(arrival, rules)
            except (ForbiddenError, InvalidRequestError) as error:
                if self._ledger.policy_version() == rules.policy.version:
                    if is_recorded and isinstance(error, ForbiddenError):
                        self._record_forbidden(arrival, error.code)
                    raise
            rules = self._reload(rules)
        raise LedgerUnavailableError(_UNSTEADY)

    def _prepared(self, arrival: Arrival, rules: Rules) -> Prepared:
        policy = rules.policy_for(arrival.caller.identity)
        check_revoked(arrival.caller, policy)
        check_trust(arrival.caller, policy)
        return prepare(arrival, rules, self._upstream.name, self._terms)

    def _guarded(self, prepared: Prepared) -> Admission | Reply:
        """Ask for the money, unless a loop guard has seen this request too often."""
        entry = self._repetitions.enter(prepared)
        if entry.loop is not None:
            self._record(loop_record(prepared.arrival, entry.loop))
            if not entry.loop.is_shadow:
                return loop_refusal(entry.loop, prepared.arrival.note)
        admitted: Admission | Reply | None = None
        try:
            admitted = self._reserve(prepared)
            return admitted
        finally:
            if entry.is_counted and not isinstance(admitted, Admission):
                self._repetitions.leave(prepared)

    def _reserve(self, prepared: Prepared) -> Admission | Reply:
        deadline = time.monotonic() + self._held_wait_seconds(prepared)
        while True:
            prepared, verdict = self._verdict(prepared)
            if isinstance(verdict, Granted):
                try:
                    return self._admitted(prepared, verdict)
                except BaseException:
                    self._ledger.void([prepared.request.hold_id], self._clock())  # nothing was sent
                    raise
            if not isinstance(verdict, Refused):
                return self._repeated(prepared, verdict)
            left_seconds = deadline - time.monotonic()
            if verdict.code is not RefusalCode.HELD or left_seconds <= 0:
                return self._refused(prepared, verdict)
            with self._released:
                self._released.wait(min(_WAIT_SECONDS, left_seconds))

    def _verdict(self, prepared: Prepared) -> tuple[Prepared, Verdict]:
        """Ask the ledger, again under the new rules if the policy changed meanwhile.

        A voided attempt was never billed, so its idempotency key may try again with a new hold.
        """
        attempt = prepared.request.facts.attempt
        for _ in range(_STALE_TRIES + _ATTEMPTS_MAX):
            (verdict,) = self._ledger.reserve([prepared.request])
            if isinstance(verdict, StalePolicy):
                self._reload(prepared.rules)
                prepared = self._prepare(prepared.arrival).with_attempt(attempt)
            elif isinstance(verdict, AlreadyReserved) and verdict.state is HoldState.VOIDED:
                attempt += 1
                prepared = prepared.with_attempt(attempt)
            else:
                return prepared, verdict
        raise LedgerUnavailableError(_UNSTEADY)

    def _reload(self, seen: Rules | None) -> Rules:
        """Read policy and prices anew, once for all threads that saw the same old rules."""
        with self._rules_lock:
            rules = self._rules
            if rules is None or rules is seen:
                # Prices second: a price that comes in between raises the version again.
                rules = self._rules = Rules(self._ledger.policies.policy(), self._book())
            return rules

    def _held_wait_seconds(self, prepared: Prepared) -> float:
        wait = prepared.rules.policy.defaults.held_wait_seconds
        return self._terms.held_wait_seconds if wait is None else wait

    def _admitted(self, prepared: Prepared, granted: Granted) -> Admission:
        if granted.shadow is not None:
            self._record(refusal_record(prepared, granted.shadow, None, SHADOW))
        if granted.decision is Decision.DOWNGRADE:
            self._record(downgrade_record(prepared, granted))
        body = upstream_body(
            prepared.call,
            granted.candidate.model,
            granted.tokens,
            granted.tools_disabled,
            prepared.request.facts.scopes,
            prepared.request.hold_id,
        )
        return Admission(prepared, granted, body)

    def _refused(self, prepared: Prepared, refused: Refused) -> Reply:
        balances = {p.claim.keys[0]: Balance(p.spent_nano, p.held_nano) for p in refused.positions}
        suggested = prepared.offers.suggestion(
            prepared.claims, balances, (prepared.call.model, refused.model), prepared.caller.models
        )
        self._record(refusal_record(prepared, refused, suggested))
        note = replace(prepared.arrival.note, positions=refused.positions)
        return budget_refusal(refused, note, suggested, prepared.call.host)

    def _repeated(self, prepared: Prepared, verdict: Verdict) -> Reply:
        """Answer a request whose hold exists already: the first answer, or a clear 409."""
        if isinstance(verdict, FingerprintConflict):
            message = "this idempotency key was used with another body; use a new key"
            return error_reply(409, "idempotency_conflict", message, note=prepared.arrival.note)
        kept = self._kept.get(prepared.arrival.request_id, prepared.request.fingerprint)
        if kept is not None:
            return kept
        assert isinstance(verdict, AlreadyReserved)  # noqa: S101 - all other verdicts were handled
        is_running = verdict.state is HoldState.HELD
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
        return error_reply(409, "idempotency_replayed", message, retryable=is_running, note=note)

    def _positions(self, prepared: Prepared, granted: Granted) -> tuple[Position, ...]:
        try:
            return self._ledger.positions(prepared.claims)
        except (LedgerUnavailableError, LedgerBrokenError):
            return granted.positions  # as of the reservation: the answer is not held back for it

    def _record_forbidden(self, arrival: Arrival, code: str) -> None:
        if code != "scope_forbidden":  # its caller only says who it is, so the record would lie
            self._record(forbidden_record(arrival, code))

    def _record(self, record: DecisionRecord) -> None:
        try:
            self._ledger.record([record])
        except LedgerUnavailableError as error:
            # A decision record is a report, not money: the answer goes out without it.
            _log.warning("decision %s was not recorded: %s", record.decision_id, error)


def _upstream_error(ending: Ending, note: SpendNote) -> Reply:
    code = f" ({ending.upstream_code})" if ending.upstream_code else ""
    return error_reply(
        ending.status,
        "upstream_error",
        f"{ending.problem}{code}",
        retryable=ending.status in {408, 429, 502, 503, 504},
        retry_after_seconds=ending.retry_after_seconds,
        note=note,
    )


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
