"""The planner of attempts: after a failure, which model is asked for next, where and when.

Pure: it knows what was tried and how that ended, and neither sends nor waits. Every attempt it
names gets a hold of its own, so a plan can't spend more than the budgets allow.
"""

from dataclasses import dataclass, field, replace

from spendgate.domain.upstream import ATTEMPTS_MAX, Cause, Retries, UpstreamSpec, serving
from spendgate.gateway.value_object import value_object

_BACKOFF_DOUBLINGS_MAX = 6
_NEVER = 1000
_SPREAD = 0.5
"""A wait is lengthened by up to this part of itself, so that callers don't come back together."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed before its first byte.

    `elapsed_seconds` is counted from the first attempt's start. `may_repeat` says that the key was
    refused and has been renewed since.
    """

    asked: str
    served: str
    upstream: str
    cause: Cause | None
    elapsed_seconds: float = 0.0
    retry_after_seconds: float | None = None
    may_repeat: bool = False


@value_object
class Plan:
    """The models that may serve a call, in order of preference, and what was tried so far."""

    models: tuple[str, ...]
    specs: tuple[UpstreamSpec, ...]
    retries: Retries = field(default_factory=Retries)
    tried: tuple[Failure, ...] = ()
    default: UpstreamSpec | None = None
    """Serves what no other server is named for: a host's --upstream."""

    def upstream_for(self, model: str) -> UpstreamSpec | None:
        """Return the server to try for a model: the least tried, in order of preference."""
        named = serving(self.specs, model)
        return min(named, key=lambda one: self._rank(model, one), default=self.default)

    def server(self, name: str) -> UpstreamSpec | None:
        """Return a server by its name."""
        if self.default is not None and self.default.name == name:
            return self.default
        return next((one for one in self.specs if one.name == name), None)

    def tries(self, model: str) -> int:
        """Return how often the least tried server of a model was tried."""
        spec = self.upstream_for(model)
        return 0 if spec is None else self._rank(model, spec)[0]

    def wait_seconds(self, model: str) -> float:
        """Return how long the server of a model asked us to wait, from the last failure on."""
        spec = self.upstream_for(model)
        return 0.0 if spec is None else self._rank(model, spec)[1]

    def served_for(self, asked: str) -> str:
        """Return what was served when a model was asked for last: a budget may step it down."""
        return next((one.served for one in reversed(self.tried) if one.asked == asked), asked)

    def _rank(self, model: str, spec: UpstreamSpec) -> tuple[int, float]:
        here = [one for one in self.tried if (one.served, one.upstream) == (model, spec.name)]
        now = self.tried[-1].elapsed_seconds if self.tried else 0.0
        until = [one.elapsed_seconds + (one.retry_after_seconds or 0.0) for one in here]
        tries = sum(0 if one.may_repeat else _NEVER if _is_denied(one) else 1 for one in here)
        return tries, max(0.0, max(until, default=now) - now)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The next attempt: wait so long, then ask for the money of this model."""

    model: str
    wait_seconds: float
    plan: Plan


def next_attempt(plan: Plan, failure: Failure, *, spread: float = 0.0) -> Attempt | None:
    """Return what to try after a failure, or None if the failure is the answer.

    A failure moves on to the next server of the model, then to the next model. When all were tried,
    the least tried comes again after a wait that doubles, but no sooner than it asked for.

    Args:
        plan: what was planned and tried before.
        failure: how the last attempt ended.
        spread: a random number from 0 to 1 that spreads the waits of many callers.
    """
    retries = plan.retries
    noted = replace(plan, tried=(*plan.tried, _once(plan, failure)))
    if noted.tried[-1].may_repeat:
        return Attempt(failure.asked, 0.0, noted)
    if failure.cause not in retries.causes:
        return None
    if len(noted.tried) >= (retries.attempts_max or ATTEMPTS_MAX):
        return None
    served = {model: noted.served_for(model) for model in plan.models}
    asked = min(plan.models, key=lambda one: _turn(noted, served[one]))
    tries, wait_seconds = _turn(noted, served[asked])
    if tries:
        if retries.attempts_max is None or tries >= _NEVER:
            return None
        backoff = retries.backoff_seconds * 2 ** min(tries - 1, _BACKOFF_DOUBLINGS_MAX)
        wait_seconds = max(wait_seconds, backoff * (1 + _SPREAD * spread))
    if failure.elapsed_seconds + wait_seconds >= retries.total_seconds:
        return None
    return Attempt(asked, wait_seconds, noted)


def _once(plan: Plan, failure: Failure) -> Failure:
    """A renewed key is worth one more try at its server, not an endless exchange of keys."""
    again = any(one.may_repeat and one.upstream == failure.upstream for one in plan.tried)
    return replace(failure, may_repeat=failure.may_repeat and not again)


def _is_denied(failure: Failure) -> bool:
    return failure.cause is Cause.DENIED


def _turn(plan: Plan, model: str) -> tuple[int, float]:
    return plan.tries(model), plan.wait_seconds(model)
