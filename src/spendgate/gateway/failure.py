"""What goes wrong before a call is made, as the reply that says so."""

import logging

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
from spendgate.gateway.reply import Reply, SpendNote, caller_refusal, error_reply

_log = logging.getLogger(__name__)

CALLERS_FAULTS = (InvalidRequestError, TokenError, CallerError, ForbiddenError)
"""What the caller can mend: a request, a token, who it is, what it asks for."""

LEDGER_AWAY = (LedgerUnavailableError, LedgerBrokenError, PolicyError, PriceError)
"""What keeps the gate from knowing what may be spent."""


def fault_reply(error: Exception, note: SpendNote | None) -> Reply:
    """Answer one of `CALLERS_FAULTS`."""
    if isinstance(error, InvalidRequestError):
        return error_reply(400, "invalid_request", str(error), param=error.field, note=note)
    if isinstance(error, TokenError):
        return error_reply(401, "invalid_spend_token", str(error), param="spend_token")
    if isinstance(error, CallerError):
        return caller_refusal(error)
    assert isinstance(error, ForbiddenError)  # noqa: S101 - the last of them
    status = 400 if error.code == "model_not_priced" else 403
    return error_reply(status, error.code, str(error), param=error.field, note=note)


def ledger_away_reply(error: Exception, note: SpendNote | None, message: str) -> Reply:
    """Fail closed where the ledger, its policy or its prices can't be read."""
    _log.warning("the ledger can't answer, failing closed: %s", error)
    return error_reply(503, "ledger_unavailable", message, retryable=True, note=note)
