"""Hard LLM budgets on Databricks: money is reserved before the call."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spendgate.errors import BudgetExceededError, SpendgateError, UpstreamError
    from spendgate.library.budgets import Budgets

__all__ = ["BudgetExceededError", "Budgets", "SpendgateError", "UpstreamError", "__version__"]
__version__ = "0.1.0"

_HOMES = {
    "Budgets": "spendgate.library.budgets",
    "BudgetExceededError": "spendgate.errors",
    "SpendgateError": "spendgate.errors",
    "UpstreamError": "spendgate.errors",
}


def __getattr__(name: str) -> object:
    """Import what library mode needs when it is first asked for: hosts and jobs don't."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spendgate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
