"""Everything spendgate raises.

SpendgateError
├── InvalidRequestError      a caller's request is malformed, out of range or can't be bounded
├── TokenError               a spend token is missing, forged, expired or meant for somebody else
├── CallerError              the platform should say who calls and doesn't
├── CallerUnavailableError   the platform can't be asked who calls now; nothing was reserved
├── ForbiddenError           a claim, a model or a scope the caller may not use
├── PolicyError              a policy file or a budget is wrong: names file, budget and field
├── NotThereError            an administrator names a budget or a request that there isn't
├── AlreadyThereError        an administrator adds under a name that is taken
├── StaleError               what was to be changed has changed since it was read; nothing moved
├── PriceError               a price row is wrong, or a model has none
├── CredentialsError         a model server's key can't be had now; nothing was sent
├── LedgerUnavailableError   the ledger can't answer now; nothing was reserved (fails closed)
│   ├── LedgerBusyError      others hold its lock for too long; nothing was done
│   └── LedgerMovedError     its file was deleted or replaced; the next call opens what is there
├── LedgerBrokenError        the ledger's file or schema is damaged or from another version
├── BudgetExceededError      library mode: a budget refuses a call; nothing was sent
├── UpstreamError            library mode: the model server failed a call made through the gate
├── StepError                library mode: a step is used out of turn
├── SinkUnavailableError     the spend sink can't take a batch now; nothing is lost
├── JobFailedError           a job found problems, which its report names; what it did stays done
└── HostError                a host or a job can't start: a bad setting, port or folder

Refusals by a budget are values (`domain.decision.Refused`), not exceptions; only at the library's
edge they become one.
"""

from collections.abc import Mapping


class SpendgateError(Exception):
    """Root of every error of this package."""


class InvalidRequestError(SpendgateError):
    """A request is malformed, out of range or can't be bounded; `field` names the place."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TokenError(SpendgateError):
    """A spend token is missing, forged, expired or meant for another audience."""


class CallerError(SpendgateError):
    """The platform should say who calls and doesn't, or what it says can't be used."""


class CallerUnavailableError(SpendgateError):
    """The platform can't be asked who calls now; the gate fails closed."""


class ForbiddenError(SpendgateError):
    """A caller claims a scope or asks for a model that its token or policy doesn't cover."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class PolicyError(SpendgateError):
    """A policy is wrong; the message names file, budget, field and the way out."""


class NotThereError(SpendgateError):
    """There is no budget or request of this name."""


class AlreadyThereError(SpendgateError):
    """The name is taken by another budget, raise or request."""


class StaleError(SpendgateError):
    """Somebody else has changed it since it was read; read it again."""


class PriceError(SpendgateError):
    """A price row is wrong, or a model that must have a price has none."""


class CredentialsError(SpendgateError):
    """The key of a model server can't be had now; nothing was sent, so nothing was billed."""


class LedgerUnavailableError(SpendgateError):
    """The ledger can't answer now; the gate fails closed."""


class LedgerBusyError(LedgerUnavailableError):
    """Somebody else is in the middle of a transaction for too long; nothing was done."""


class LedgerMovedError(LedgerUnavailableError):
    """The file under open connections is no longer the one of its name; nothing was done."""


class LedgerBrokenError(SpendgateError):
    """The ledger's file or schema can't be used; it is never silently started afresh."""


class BudgetExceededError(SpendgateError):
    """A budget refuses a call; `spend` and `budget` hold its figures as a host would answer them.

    `code` is `budget_held` where a retry may help, because calls in flight hold the money.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        spend: Mapping[str, object],
        budget: Mapping[str, object],
        suggested_model: str | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.spend = spend
        self.budget = budget
        self.suggested_model = suggested_model
        self.retryable = retryable


class UpstreamError(SpendgateError):
    """The model server failed a call; `spend` says what it cost nevertheless."""

    def __init__(
        self, status: int, message: str, *, spend: Mapping[str, object], retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.spend = spend
        self.retryable = retryable


class StepError(SpendgateError):
    """A step of library mode is used out of turn; nothing is held or charged for that."""


class SinkUnavailableError(SpendgateError):
    """The spend sink refused a batch; the outbox keeps it."""


class JobFailedError(SpendgateError):
    """A job's report names problems; what the job did stays done."""


class HostError(SpendgateError):
    """A host or a job can't start with these settings."""
