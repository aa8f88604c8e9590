"""What an upstream's answer means for the money: the table that decides leaks (ledger.md §1.3).

Only what certainly wasn't billed is voided. What may have been billed is charged in full now and
left for evidence to correct; what was answered is settled at its reported usage.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

from spendgate.domain.upstream import Cause
from spendgate.domain.usage import ParsedUsage, UsageError, parse_usage
from spendgate.gateway.json_object import json_object
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent, UpstreamOutcome
from spendgate.gateway.value_object import value_object

_MAY_HAVE_RUN = frozenset({408, 499})
"""4xx that say nothing about whether the model ran: a time-out, a caller that hung up."""

_DENIED = frozenset({401, 403, 404})
_NAME_CHARS_MAX = 64
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.\w+|\[\d+\])*", re.ASCII)


class Verb(StrEnum):
    """What to do with the hold."""

    SETTLE = "settle"
    VOID = "void"
    EXPIRE = "expire"


@value_object
class Ending:
    """How a call ended: the verb for its hold, and the usage where one was reported."""

    verb: Verb
    status: int
    body: Mapping[str, object] | None = None
    usage: ParsedUsage | None = None
    problem: str | None = None
    upstream_code: str | None = None
    upstream_param: str | None = None
    retry_after_seconds: float | None = None
    cause: Cause | None = None
    """Why it failed, as far as another attempt may help; None for an answer or a client's fault."""

    is_key_renewed: bool = False


CUT_OFF = Ending(Verb.EXPIRE, 500, problem="the call was cut off inside the gate")


def judge(outcome: UpstreamOutcome, *, bills_5xx: bool, write_ttl: str | None = None) -> Ending:
    """Read an upstream's outcome into an ending.

    Args:
        outcome: what came back.
        bills_5xx: whether a 5xx may have been billed; True charges it in full.
        write_ttl: what the request asked of the cache, for reports that don't split its writes.
    """
    if isinstance(outcome, UpstreamNotSent):
        problem = f"the model server was not reached: {outcome.reason}"
        return Ending(Verb.VOID, 502, problem=problem, cause=Cause.CONNECT)
    if isinstance(outcome, UpstreamLost):
        problem = f"the model server's answer was lost: {outcome.reason}"
        return Ending(Verb.EXPIRE, 504, problem=problem, cause=Cause.LOST)
    if 200 <= outcome.status < 300:
        return _answered(outcome, write_ttl)
    return Ending(
        verb=_failed_verb(outcome.status, bills_5xx),
        status=outcome.status if outcome.status >= 400 else 502,
        problem=f"the model server answered {outcome.status}",
        upstream_code=upstream_code(outcome.body),
        upstream_param=_upstream_param(outcome.body),
        retry_after_seconds=outcome.retry_after_seconds,
        cause=_cause(outcome.status),
        is_key_renewed=outcome.is_key_renewed,
    )


def _answered(outcome: UpstreamAnswer, write_ttl: str | None) -> Ending:
    if outcome.body is None:
        return Ending(Verb.SETTLE, 502, problem="the model server's answer was no JSON object")
    try:
        usage = parse_usage(
            outcome.body.get("usage"), unsplit_write_ttl="1h" if write_ttl == "1h" else "5m"
        )
    except UsageError:
        usage = None  # charged in full: unknown usage is never zero
    if usage is not None and usage.usage.input_tokens == 0:
        usage = None  # no call is without input, so this is no count either
    return Ending(Verb.SETTLE, outcome.status, body=outcome.body, usage=usage)


def _failed_verb(status: int, bills_5xx: bool) -> Verb:
    if status in _MAY_HAVE_RUN or (status >= 500 and bills_5xx):
        return Verb.EXPIRE
    return Verb.VOID


def _cause(status: int) -> Cause | None:
    if status in _MAY_HAVE_RUN:
        return Cause.LOST
    if status >= 500:
        return Cause.SERVER_ERROR
    if status in _DENIED:
        return Cause.DENIED
    return Cause.RATE_LIMIT if status == 429 else None


def _upstream_param(body: Mapping[str, object] | None) -> str | None:
    """Return the field that the upstream objects to, where it is a path and no prose."""
    place = json_object(json_object(body).get("error")).get("param")
    if isinstance(place, str) and len(place) <= _NAME_CHARS_MAX and _PATH.fullmatch(place):
        return place
    return None


def upstream_code(body: Mapping[str, object] | None) -> str | None:
    """Return the upstream's machine-readable code; its prose may repeat a prompt."""
    outer = json_object(body)
    inner = json_object(outer.get("error"))
    for value in (inner.get("code"), outer.get("error_code"), inner.get("type")):
        if (
            isinstance(value, str)
            and len(value) <= _NAME_CHARS_MAX
            and value.replace("_", "").isalnum()
        ):
            return value
    return None
