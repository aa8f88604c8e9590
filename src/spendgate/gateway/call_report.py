"""What those who watch learn of a call: figures and names, never a prompt or an answer."""

from collections.abc import Mapping
from datetime import datetime

from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.usage import TokenUsage
from spendgate.gateway.admission import Admission
from spendgate.gateway.json_object import json_list, json_object
from spendgate.gateway.outcome import Ending
from spendgate.gateway.reply import Reply, SpendNote
from spendgate.gateway.value_object import value_object

ADMITTED = "admitted"
REPLAYED = "replayed"

_PARAMETERS = ("temperature", "top_p", "n", "seed", "frequency_penalty", "presence_penalty")
_ID_CHARS_MAX = 200


@value_object
class CallReport:
    """How one attempt ended; money in nano-USD."""

    hold_id: str
    request_id: str
    attempt: int
    route: str
    is_stream: bool
    scopes: Mapping[str, str]
    tags: Mapping[str, str]
    model_requested: str
    model: str
    upstream: str
    decision: str
    status: int
    """HTTP status of the answer, as the client gets it."""

    error_code: str | None
    """The upstream's machine-readable code, where it failed."""

    usage: TokenUsage | None
    usage_source: str | None
    """None where the call is known to have cost nothing."""

    cost_nano: int
    reserved_nano: int
    price_version: str | None
    parameters: Mapping[str, float]
    """Sampling parameters of the request, numbers only."""

    max_tokens_granted: int | None
    response_id: str | None
    finish_reasons: tuple[str, ...]
    budget_ids: tuple[str, ...]
    started_at: datetime
    ended_at: datetime
    is_unheld: bool = False
    """Whether it went out without a hold, while the ledger was away."""


class NoTelemetry:
    """Nobody watches."""

    is_watching = False

    def answered(self, outcome: str, seconds: float) -> None:
        """Ignore an admission or a refusal."""

    def ended(self, report: CallReport, seconds: float) -> None:
        """Ignore an end."""


def outcome_of(answer: object) -> str:
    """Name what became of a request before it was sent: `admitted`, or why not."""
    if not isinstance(answer, Reply):
        return ADMITTED
    code = json_object(answer.body.get("error")).get("code")
    return code if isinstance(code, str) else REPLAYED


def call_report(
    admission: Admission, ending: Ending, charge: Charge, note: SpendNote, at: datetime
) -> CallReport:
    """Return the report of an attempt that has just ended."""
    prepared, granted = admission.prepared, admission.granted
    facts, call = prepared.request.facts, prepared.call
    body = json_object(ending.body)
    return CallReport(
        hold_id=admission.hold_id,
        request_id=note.request_id,
        attempt=facts.attempt,
        route=call.route,
        is_stream=call.is_stream,
        scopes=facts.scopes,
        tags=facts.tags,
        model_requested=call.model,
        model=granted.candidate.model,
        upstream=admission.server.name,
        decision=granted.decision.value,
        status=ending.status,
        error_code=ending.upstream_code,
        usage=charge.usage,
        usage_source=note.usage_source,
        cost_nano=note.cost_nano,
        reserved_nano=granted.amount_nano,
        price_version=granted.candidate.price_version,
        parameters=_parameters(call.body),
        max_tokens_granted=granted.tokens,
        response_id=_short_text(body.get("id")),
        finish_reasons=_finish_reasons(body),
        budget_ids=facts.budget_ids,
        started_at=prepared.arrival.at,
        ended_at=at,
        is_unheld=note.is_unheld,
    )


def settled_report(
    hold_id: str, facts: CallFacts, charge: Charge, note: SpendNote, at: datetime, *, route: str
) -> CallReport:
    """Return the report of a call that its caller made itself, as far as the caller told of it."""
    return CallReport(
        hold_id=hold_id,
        request_id=note.request_id,
        attempt=facts.attempt,
        route=route,
        is_stream=False,
        scopes=facts.scopes,
        tags=facts.tags,
        model_requested=facts.model_requested,
        model=facts.model,
        upstream=facts.upstream,
        decision=facts.decision,
        status=200,
        error_code=None,
        usage=charge.usage,
        usage_source=charge.usage_source,
        cost_nano=note.cost_nano,
        reserved_nano=note.reserved_nano,
        price_version=facts.price_version,
        parameters={},
        max_tokens_granted=None,
        response_id=None,
        finish_reasons=(),
        budget_ids=facts.budget_ids,
        started_at=facts.occurred_at,
        ended_at=at,
    )


def _parameters(body: Mapping[str, object]) -> dict[str, float]:
    given = [name for name in _PARAMETERS if name in body]
    return {
        name: value
        for name in given
        if isinstance(value := body[name], int | float) and not isinstance(value, bool)
    }


def _finish_reasons(body: Mapping[str, object]) -> tuple[str, ...]:
    said = (json_object(one).get("finish_reason") for one in json_list(body.get("choices")))
    return tuple(text for one in said if (text := _short_text(one)) is not None)


def _short_text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _ID_CHARS_MAX else None
