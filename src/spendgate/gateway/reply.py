"""The answer's shape: the `spend` object, and errors that OpenAI and Databricks clients read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from spendgate.domain.budget import Refusal
from spendgate.domain.decision import Position, RefusalCode, Refused
from spendgate.domain.money import format_usd
from spendgate.errors import CallerError, CallerUnavailableError
from spendgate.gateway.json_object import json_list, json_object
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.value_object import value_object
from spendgate.gateway.wire import Host

HELD_RETRY_SECONDS = 1.0

_FINAL_ERROR_CODE = "INVALID_PARAMETER_VALUE"
"""Databricks' clients don't know the status 402: mlflow.deployments repeats such a call eight times
within four minutes (measured, 3.17) unless `error_code` is one that databricks-sdk takes for
final."""


@value_object
class Reply:
    """What a host sends: a status, the whole JSON body, and how long a retry should wait."""

    status: int
    body: dict[str, object]
    retry_after_seconds: float | None = None
    is_replay: bool = field(default=False, compare=False)
    chunks: tuple[StreamChunk, ...] | None = None
    """The answer as a stream, for a client that asked for one; the body then is what it says."""

    may_have_run: bool = field(default=False, compare=False)
    """Whether it is the failure of a call that the model may have answered, so that it is paid."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that the upstream failed and another followed; what it cost is spent too."""

    hold_id: str
    model: str
    status: int
    cost_nano: int


@value_object
class SpendNote:
    """The figures of one call's `spend` object, money in nano-USD.

    `cost_nano` is the last attempt's; the `spend` object shows the sum of all.
    """

    request_id: str
    decision: str
    model_requested: str
    model_served: str | None = None
    cost_nano: int = 0
    reserved_nano: int = 0
    max_tokens_granted: int | None = None
    max_tokens_source: str | None = None
    tools_disabled: tuple[str, ...] = ()
    price_version: str | None = None
    usage_source: str | None = None
    positions: tuple[Position, ...] = ()
    failed_attempts: tuple[FailedAttempt, ...] = ()
    is_unheld: bool = False
    """Whether the ledger was away, so that nothing was held and no budget is shown."""


def spend_object(note: SpendNote) -> dict[str, object]:
    """Write the `spend` object of DESIGN §4; every amount is a decimal string."""
    failed = note.failed_attempts
    spend: dict[str, object] = {
        "request_id": note.request_id,
        "decision": note.decision,
        "model_requested": note.model_requested,
        "model_served": note.model_served,
        "cost_usd": format_usd(note.cost_nano + sum(one.cost_nano for one in failed)),
        "reserved_usd": format_usd(note.reserved_nano),
        "max_tokens_granted": note.max_tokens_granted,
        "max_tokens_source": note.max_tokens_source,
        "tools_disabled": list(note.tools_disabled),
        "price_version": note.price_version,
        "usage_source": note.usage_source,
        "budgets": [budget_object(position) for position in note.positions],
    }
    if note.is_unheld:
        spend["ledger"] = "unavailable"
    if failed:
        spend["failed_attempts"] = [
            {
                "hold_id": one.hold_id,
                "model": one.model,
                "status": one.status,
                "cost_usd": format_usd(one.cost_nano),
            }
            for one in failed
        ]
    return spend


def budget_object(position: Position) -> dict[str, object]:
    """Write one budget's figures."""
    claim = position.claim
    budget = claim.budget
    return {
        "budget_id": budget.budget_id,
        "scope": claim.scope.text,
        "window": budget.window.text,
        "limit_usd": _limit_text(position.limit_nano),
        "spent_usd": format_usd(position.spent_nano),
        "held_usd": format_usd(position.held_nano),
        "remaining_usd": format_usd(position.available_nano),
        "status": str(position.status),
        "resets_at": instant(claim.window.resets_at),
    }


def budget_refusal(
    refused: Refused, note: SpendNote, suggested_model: str | None, host: Host
) -> Reply:
    """Refuse for money: 402, or for a moment only where calls in flight hold what is left."""
    is_held = refused.code is RefusalCode.HELD
    is_in_band = refused.binding.claim.budget.refusal is Refusal.IN_BAND
    status = 200 if is_in_band else 429 if is_held and host is Host.ASGI else 402
    body = error_body(
        code=refused.code.value,
        message=_budget_message(refused, suggested_model),
        kind="budget_exceeded",
        retryable=is_held,
        note=note,
        suggested_model=suggested_model,
    )
    body["budget"] = {
        **budget_object(refused.binding),
        "needed_usd": format_usd(refused.needed_nano),
        "needed_for_model": refused.model,
    }
    if status == 402 and host is Host.ENDPOINT:
        body["error_code"] = _FINAL_ERROR_CODE
    if is_in_band:
        return Reply(status, {**_empty_completion(note, str(body["message"])), **body})
    return Reply(status, body, HELD_RETRY_SECONDS if is_held else None)


def error_reply(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    retryable: bool = False,
    retry_after_seconds: float | None = None,
    note: SpendNote | None = None,
) -> Reply:
    """Answer an error that is no budget's refusal."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = error_body(code, message, kind, retryable, note, param=param)
    return Reply(status, body, retry_after_seconds)


def caller_refusal(error: CallerError | CallerUnavailableError) -> Reply:
    """Answer a call whose caller the platform doesn't name: 401, or 503 if it may in a moment."""
    if isinstance(error, CallerUnavailableError):
        return error_reply(503, "caller_unavailable", str(error), retryable=True)
    return error_reply(401, "caller_unknown", str(error))


def error_body(
    code: str,
    message: str,
    kind: str,
    retryable: bool,
    note: SpendNote | None,
    *,
    param: str | None = None,
    suggested_model: str | None = None,
) -> dict[str, object]:
    """Write an error that OpenAI clients (`error`) and Databricks clients (`error_code`) read."""
    return {
        "error": {"type": kind, "code": code, "message": message, "param": param},
        "error_code": code.upper(),
        "message": message,
        "retryable": retryable,
        "suggested_model": suggested_model,
        "spend": None if note is None else spend_object(note),
    }


def spend_headers(reply: Reply) -> dict[str, str]:
    """Return the headers that the ASGI host adds to a reply."""
    headers: dict[str, str] = {}
    spend = json_object(reply.body.get("spend"))
    if spend:
        headers = {
            "X-Spend-Request-Id": str(spend["request_id"]),
            "X-Spend-Decision": str(spend["decision"]),
            "X-Spend-Cost-Usd": str(spend["cost_usd"]),
        }
        remaining = _least_remaining(json_list(spend.get("budgets")))
        if remaining is not None:
            headers["X-Spend-Remaining-Usd"] = remaining
    if reply.is_replay:
        headers["Idempotent-Replayed"] = "true"
    if reply.status >= 400:
        # OpenAI's clients would retry any 409, 429 or 5xx, also where it can't help or pays again.
        may_retry = reply.body.get("retryable") and not reply.may_have_run
        headers["X-Should-Retry"] = "true" if may_retry else "false"
    if reply.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(reply.retry_after_seconds)))
    return headers


def note_headers(note: SpendNote) -> dict[str, str]:
    """Return the headers of a stream, which start before its cost is known."""
    return {"X-Spend-Request-Id": note.request_id, "X-Spend-Decision": note.decision}


def _least_remaining(budgets: Sequence[object]) -> str | None:
    remaining = [str(json_object(one).get("remaining_usd")) for one in budgets]
    return min(remaining, key=_nano_of, default=None)


def _nano_of(text: str) -> int:
    """Return what `format_usd` has written: all of its texts have nine decimals."""
    return int(text.replace(".", ""))


def _budget_message(refused: Refused, suggested_model: str | None) -> str:
    position = refused.binding
    claim = position.claim
    window = claim.budget.window.text
    text = (
        f"budget '{claim.budget.budget_id}' for {claim.scope.text} ({window}) has "
        f"{_plain(max(position.available_nano, 0))} USD left of {_plain(position.limit_nano)}: "
        f"{_plain(position.spent_nano)} spent, {_plain(position.held_nano)} held by calls in "
        f"flight; this call needs {_plain(refused.needed_nano)} with {refused.model}"
    )
    if refused.code is RefusalCode.HELD:
        text += "; retry when calls in flight have settled"
    elif claim.window.resets_at is not None:
        text += f"; it resets at {instant(claim.window.resets_at)}"
    if suggested_model is not None:
        text += f"; {suggested_model} would fit"
    return text


def _empty_completion(note: SpendNote, message: str) -> dict[str, object]:
    """A chat completion without content, for callers that fail a whole query on a 4xx."""
    answer = {"role": "assistant", "content": None, "refusal": message}
    return {
        "id": note.request_id,
        "object": "chat.completion",
        "model": note.model_requested,
        "choices": [{"index": 0, "message": answer, "finish_reason": "content_filter"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _plain(nano: int) -> str:
    """Write an amount without trailing zeros: `10`, `0.5`."""
    return format_usd(nano).rstrip("0").rstrip(".")


_limit_text = lru_cache(maxsize=1024)(_plain)


@lru_cache(maxsize=256)  # the ends of windows: the same ones in every answer of a day
def instant(at: datetime | None) -> str | None:
    """Write a time, None as it is."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")
