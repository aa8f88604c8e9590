"""Refusals and failures as exceptions, for callers in the same process."""

from spendgate.errors import (
    BudgetExceededError,
    CallerError,
    CallerUnavailableError,
    ForbiddenError,
    InvalidRequestError,
    LedgerUnavailableError,
    SpendgateError,
    TokenError,
    UpstreamError,
)
from spendgate.gateway.json_object import json_object
from spendgate.gateway.reply import Reply


def error_of(reply: Reply) -> SpendgateError | None:
    """Return the exception that says what an error's reply says; None for an answer."""
    error = json_object(reply.body.get("error"))
    if not error:
        return None
    code, message = str(error.get("code")), str(error.get("message"))
    param = error.get("param")
    field = param if isinstance(param, str) else None
    if error.get("type") == "budget_exceeded":
        return BudgetExceededError(
            code,
            message,
            spend=json_object(reply.body.get("spend")),
            budget=json_object(reply.body.get("budget")),
            suggested_model=_text(reply.body.get("suggested_model")),
            retryable=reply.body.get("retryable") is True,
        )
    if code == "upstream_error":
        spend = json_object(reply.body.get("spend"))
        retryable = reply.body.get("retryable") is True
        return UpstreamError(reply.status, message, spend=spend, retryable=retryable)
    simple: dict[str, type[SpendgateError]] = {
        "invalid_spend_token": TokenError,
        "caller_unknown": CallerError,
        "caller_unavailable": CallerUnavailableError,
        "ledger_unavailable": LedgerUnavailableError,
    }
    if code in simple:
        return simple[code](message)
    if code == "invalid_request":
        return InvalidRequestError(message, field)
    return ForbiddenError(code, message, field)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
