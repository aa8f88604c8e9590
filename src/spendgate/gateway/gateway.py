"""The gate: admit → call → settle, with an answer for everything that can happen in between."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from spendgate.domain.decision import Balance, Decision, Granted, Position, RefusalCode, Refused
from spendgate.domain.event import Charge, DecisionRecord
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
    ForbiddenError,
    InvalidRequestError,
    LedgerBrokenError,
    LedgerUnavailableError,
    TokenError,
)
from spendgate.gateway.admission import Admission, Prepared, Rules, prepare
from spendgate.gateway.charging import charge_of, shown_cost_nano
from spendgate.gateway.explanation import explained
from spendgate.gateway.idempotency import KeptAnswers, keyed_request_id
from spendgate.gateway.identity import identify
from spendgate.gateway.offer import Offers
from spendgate.gateway.outcome import Ending, Verb, judge
from spendgate.gateway.ports import Clock, Ledger, TokenVerifier, Upstream
from spendgate.gateway.record import SHADOW, downgrade_record, forbidden_record, refusal_record
from spendgate.gateway.reply import Reply, SpendNote, budget_refusal, error_reply, spend_object
from spendgate.gateway.terms import Terms
from spendgate.gateway.upstream_body import upstream_body
from spendgate.gateway.wire import Host, parse_call

_log = logging.getLogger(__name__)
_STALE_TRIES = 5
_ATTEMPTS_MAX = 100
_WAIT_SECONDS = 0.05
_UNSETTLED_MAX = 10_000


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
        self._kept = KeptAnswers(self._terms.answers_kept_max)
        self._rules: Rules | None = None
        self._rules_lock = threading.Lock()
        self._released = threading.Condition()
        self._unsettled: deque[Settlement] = deque(maxlen=_UNSETTLED_MAX)

    def handle(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Answer one request; every failure is a reply, nothing is raised.

        Args:
            route: `chat/completions` or `embeddings`.
            body: the client's JSON.
            host: the front door it came through.
            headers: request headers with lower-case names; `authorization` and `x-spend-*` are
            read.
        """
        admitted = self.admit(route, body, host=host, headers=headers)
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
    ) -> Admission | Reply:
        """Hold the money of one call, or answer why not. Who gets an Admission must `finish` it."""
        note: SpendNote | None = None
        try:
            started_at = self._clock()
            prepared = self._prepare(route, body, host, headers or {}, started_at)
            note = prepared.note
            return self._reserve(prepared, started_at)
        except InvalidRequestError as error:
            return error_reply(400, "invalid_request", str(error), param=error.field, note=note)
        except TokenError as error:
            return error_reply(401, "invalid_spend_token", str(error), param="spend_token")
        except ForbiddenError as error:
            status = 400 if error.code == "model_not_priced" else 403
            return error_reply(status, error.code, str(error), param=error.field, note=note)
        except (LedgerUnavailableError, LedgerBrokenError) as error:
            _log.warning("the ledger can't answer, failing closed: %s", error)
            message = "the ledger can't be reached, so no money can be held; nothing was sent"
            return error_reply(503, "ledger_unavailable", message, retryable=True, note=note)

    def finish(self, admission: Admission, ending: Ending) -> Reply:
        """End the hold of an admitted call as the outcome says, and write the reply."""
        at = self._clock()
        prepared, granted = admission.prepared, admission.granted
        charge = charge_of(admission, ending, at)
        self._end_hold(admission.hold_id, ending.verb, charge, at, granted.amount_nano)
        with self._released:
            self._released.notify_all()
        note = replace(
            prepared.note,
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
            self._kept.put(prepared.request_id, prepared.request.fingerprint, reply)
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
        prepared = self._prepare(route, body, host, headers or {}, self._clock())
        return explained(prepared, self._ledger)

    def refresh(self) -> None:
        """Reread policy and prices if they changed; a reserve notices a change by itself."""
        rules = self._rules
        if rules is not None and self._ledger.policy_version() != rules.policy.version:
            self._reload()

    def settle_late(self) -> int:
        """Repeat settlements that the ledger couldn't take; return how many are still waiting."""
        for _ in range(len(self._unsettled)):
            settlement = self._unsettled.popleft()
            try:
                self._ledger.settle([settlement])
            except LedgerUnavailableError:
                self._unsettled.append(settlement)
                break
        return len(self._unsettled)

    def _prepare(
        self,
        route: str,
        body: Mapping[str, object],
        host: Host,
        headers: Mapping[str, str],
        at: datetime,
    ) -> Prepared:
        call = parse_call(route, body, host, headers)
        rules = self._rules or self._reload()
        caller = identify(call, _bearer(headers), self._verifier, rules.policy)
        if call.idempotency_key is None:
            request_id = self._new_id()
        else:
            request_id = keyed_request_id(call.idempotency_key, caller.identity.values)
        offers = Offers(call, rules.policy, rules.book, at, self._terms)
        geo, seconds = self._terms.geo, self._terms.hold_seconds
        try:
            return prepare(
                call, caller, rules, offers, request_id, at, self._upstream.name, geo, seconds
            )
        except ForbiddenError as error:
            self._record(forbidden_record(request_id, at, caller.identity, call.model, error.code))
            raise

    def _reserve(self, prepared: Prepared, started_at: datetime) -> Admission | Reply:
        deadline = time.monotonic() + self._held_wait_seconds(prepared)
        while True:
            prepared, verdict = self._verdict(prepared)
            if isinstance(verdict, Granted):
                try:
                    return self._admitted(prepared, verdict, started_at)
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
                prepared = self._prepared_anew(prepared).with_attempt(attempt)
            elif isinstance(verdict, AlreadyReserved) and verdict.state is HoldState.VOIDED:
                attempt += 1
                prepared = prepared.with_attempt(attempt)
            else:
                return prepared, verdict
        raise LedgerUnavailableError("the policy keeps changing; try again")

    def _prepared_anew(self, prepared: Prepared) -> Prepared:
        rules = self._reload()
        call, at = prepared.call, prepared.request.facts.occurred_at
        return prepare(
            call,
            prepared.caller,
            rules,
            Offers(call, rules.policy, rules.book, at, self._terms),
            prepared.request_id,
            at,
            self._upstream.name,
            self._terms.geo,
            self._terms.hold_seconds,
        )

    def _reload(self) -> Rules:
        with self._rules_lock:
            policy = self._ledger.policies.policy()
            self._rules = Rules(policy, self._book())
            return self._rules

    def _held_wait_seconds(self, prepared: Prepared) -> float:
        wait = prepared.rules.policy.defaults.held_wait_seconds
        return self._terms.held_wait_seconds if wait is None else wait

    def _admitted(self, prepared: Prepared, granted: Granted, started_at: datetime) -> Admission:
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
        return Admission(prepared, granted, body, started_at)

    def _refused(self, prepared: Prepared, refused: Refused) -> Reply:
        balances = {p.claim.keys[0]: Balance(p.spent_nano, p.held_nano) for p in refused.positions}
        suggested = prepared.offers.suggestion(
            prepared.claims, balances, (prepared.call.model, refused.model), prepared.caller.models
        )
        self._record(refusal_record(prepared, refused, suggested))
        note = replace(prepared.note, positions=refused.positions)
        return budget_refusal(refused, note, suggested, prepared.call.host)

    def _repeated(self, prepared: Prepared, verdict: Verdict) -> Reply:
        """Answer a request whose hold exists already: the first answer, or a clear 409."""
        if isinstance(verdict, FingerprintConflict):
            message = "this idempotency key was used with another body; use a new key"
            return error_reply(409, "idempotency_conflict", message, note=prepared.note)
        kept = self._kept.get(prepared.request_id, prepared.request.fingerprint)
        if kept is not None:
            return kept
        assert isinstance(verdict, AlreadyReserved)  # noqa: S101 - all other verdicts were handled
        is_running = verdict.state is HoldState.HELD
        note = replace(
            prepared.note,
            decision="replay",
            model_served=verdict.model,
            cost_nano=verdict.charged_nano,
            reserved_nano=verdict.amount_nano,
            usage_source=None if is_running else "reported",
        )
        message = (
            "the first call with this idempotency key is still running"
            if is_running
            else "this call was made and paid for; its answer is no longer kept"
        )
        return error_reply(409, "idempotency_replayed", message, retryable=is_running, note=note)

    def _end_hold(
        self, hold_id: str, verb: Verb, charge: Charge, at: datetime, reserved_nano: int
    ) -> None:
        settlement = Settlement(hold_id, charge, at)
        try:
            if verb is Verb.VOID:
                self._ledger.void([hold_id], at)
            elif verb is Verb.EXPIRE:
                self._ledger.expire([hold_id], at)
            else:
                (settled,) = self._ledger.settle([settlement])
                if settled.is_overrun:
                    _log.error(
                        "overrun: hold %s reserved %d, cost %d nano-USD; check the model's bound",
                        hold_id,
                        reserved_nano,
                        settled.charged_nano,
                    )
        except LedgerUnavailableError as error:
            # The hold still covers the call and is charged in full when it expires.
            _log.warning("hold %s couldn't be ended now: %s", hold_id, error)
            if verb is Verb.SETTLE:
                self._unsettled.append(settlement)

    def _positions(self, prepared: Prepared, granted: Granted) -> tuple[Position, ...]:
        try:
            return self._ledger.positions(prepared.claims)
        except LedgerUnavailableError:
            return granted.positions  # as of the reservation: the answer is not held back for it

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
