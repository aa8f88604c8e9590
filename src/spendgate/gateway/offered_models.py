"""The models that a client may name: priced, and named by the policy if it names any."""

from collections.abc import Iterator
from datetime import datetime

from spendgate.domain.budget import Policy
from spendgate.gateway.rules import Rules


def offered_models(rules: Rules, geo: str, at: datetime) -> tuple[tuple[str, int], ...]:
    """Return each model with the Unix time since when its price holds, sorted by name.

    A policy that names no model at all offers every model that has a price.
    """
    names = set(_named(rules.policy)) or set(rules.book.models())
    upstreams = rules.policy.upstreams
    if upstreams:
        names = {name for name in names if any(one.serves(name) for one in upstreams)}
    priced = ((name, rules.book.price_for(name, geo=geo, at=at)) for name in names)
    offered = {name: int(row.effective_from.timestamp()) for name, row in priced if row}
    router = rules.policy.router
    since = [offered[name] for name in router.candidates if name in offered]
    if since:
        offered[router.name] = min(since)  # from when on it could have chosen anything
    return tuple(sorted(offered.items()))


def _named(policy: Policy) -> Iterator[str]:
    yield from policy.models
    for budget in policy.budgets:
        for step in budget.auto_downgrade:
            yield from (*step.from_models, step.to_model)
    for upstream in policy.upstreams:
        yield from upstream.aliases
        yield from (name for name in upstream.models if not set(name) & set("*?["))
    yield from policy.router.candidates
