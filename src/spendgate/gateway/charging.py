"""What an ended call is charged, at the book and the moment of its reservation."""

from datetime import datetime

from spendgate.domain.event import Charge
from spendgate.domain.price import PriceBook, UnpricedModelError
from spendgate.domain.usage import TokenUsage
from spendgate.gateway.admission import Admission
from spendgate.gateway.outcome import Ending, Verb

COST_NANO_MAX = 10**15
"""No call costs a million dollars: such a usage is garbage, and would overflow a balance."""


def charge_of(admission: Admission, ending: Ending, at: datetime) -> Charge:
    """Return the charge of an ending; a charge without a cost stands for the full hold."""
    latency_ms = max(0, round((at - admission.prepared.arrival.at).total_seconds() * 1000))
    if ending.verb is Verb.SETTLE and ending.usage is not None:
        request, candidate = admission.prepared.request, admission.granted.candidate
        geo = request.facts.geo if candidate.geo is None else candidate.geo
        return priced(
            admission.prepared.rules.book,
            candidate.model,
            ending.usage.usage,
            at=request.facts.occurred_at,
            geo=geo,
            latency_ms=latency_ms,
        )
    return Charge(latency_ms=latency_ms)


def shown_cost_nano(admission: Admission, ending: Ending, charge: Charge) -> int:
    """Return what the reply calls the cost: nothing for a voided hold, all of it where unknown."""
    if ending.verb is Verb.VOID:
        return 0
    return admission.granted.amount_nano if charge.cost_nano is None else charge.cost_nano


def priced(
    book: PriceBook, model: str, usage: TokenUsage, *, at: datetime, geo: str, latency_ms: int
) -> Charge:
    """Return the charge of a reported usage of a model, called at a time."""
    try:
        cost = book.cost(model, usage, at=at, geo=geo)
    except UnpricedModelError:
        # The usage fell into a gap of the book: never free, so the whole hold is charged.
        return Charge(usage=usage, latency_ms=latency_ms)
    if cost.total_nano > COST_NANO_MAX:
        return Charge(latency_ms=latency_ms)
    return Charge(
        usage=usage,
        cost_nano=cost.total_nano,
        dbu_nano=cost.dbu_nano,
        context_tier=cost.context_tier,
        usage_source="reported",
        latency_ms=latency_ms,
    )
