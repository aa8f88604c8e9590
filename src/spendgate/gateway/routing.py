"""Which models may serve a call, in which order: the one it names and its fallbacks, or what the
router chooses.

A token's list of models holds for all of them: naming the router doesn't widen it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from spendgate.domain.decision import Candidate
from spendgate.domain.upstream import Router, Strategy
from spendgate.errors import ForbiddenError
from spendgate.gateway.attempts import Plan
from spendgate.gateway.identity import Caller
from spendgate.gateway.offer import Offers


def with_models(plan: Plan, model: str, router: Router, caller: Caller, offers: Offers) -> Plan:
    """Return the plan with the models that may serve a call for `model`.

    Raises:
        ForbiddenError: if no server has the model, or nothing that the router chooses from will do.
    """
    if router.routes(model):
        return replace(plan, models=_routed(router, caller, offers))
    if plan.upstream_for(model) is None:
        raise ForbiddenError(
            "model_forbidden", "no upstream of the policy serves this model; name another", "model"
        )
    fallbacks = _possible(router.fallbacks.get(model, ()), caller, offers)
    models = (model, *(one.model for one in fallbacks))
    return Plan(models, plan.specs, plan.retries, plan.tried, plan.default)


def check_allowed(model: str, caller: Caller) -> None:
    """Refuse a model that the caller's token doesn't name.

    Raises:
        ForbiddenError: if it doesn't.
    """
    if not _is_allowed(model, caller):
        raise ForbiddenError("model_forbidden", "the token doesn't allow this model", "model")


def _routed(router: Router, caller: Caller, offers: Offers) -> tuple[str, ...]:
    named = router.candidates[:1] if router.strategy is Strategy.FIXED else router.candidates
    found = list(_possible(named, caller, offers))
    if router.call_max_nano is not None:
        found = [one for one in found if one.amount_nano(one.tokens_wanted) <= router.call_max_nano]
    if not found:
        raise ForbiddenError(
            "model_forbidden",
            f"none of the models that {router.name!r} stands for can serve this call: they must be "
            "allowed by the token, served by an upstream, priced, and within max_call_usd",
            "model",
        )
    if router.strategy is Strategy.COST_OPTIMIZED:
        found.sort(key=lambda one: one.expected_nano)  # stable: of equal costs the first named
    return tuple(one.model for one in found)


def _possible(models: Iterable[str], caller: Caller, offers: Offers) -> Iterator[Candidate]:
    for model in models:
        candidate = offers.alternative(model) if _is_allowed(model, caller) else None
        if candidate is not None:
            yield candidate


def _is_allowed(model: str, caller: Caller) -> bool:
    return caller.models is None or model in caller.models
