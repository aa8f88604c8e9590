"""Failures a provider shows: its error bodies, and how often they come by themselves."""

from dataclasses import dataclass

from spendgate.simulator.wire import JsonObject, databricks_code
from spendgate.simulator.words import spread

_IN_TURN = (429, 500, 503)
_MESSAGES = {
    429: "REQUEST_LIMIT_EXCEEDED: Exceeded workspace output tokens per minute rate limit for {}",
    500: "The simulated model {} failed",
    503: "The simulated model {} is temporarily unavailable",
}


def fault_body(status: int, model: str) -> JsonObject:
    """Write the body of a failure as Databricks does."""
    message = _MESSAGES.get(status, "The simulated model {} refused the call").format(model)
    return {"error_code": databricks_code(status), "message": message}


@dataclass(slots=True)
class FaultSequence:
    """Spread faults evenly over calls, the same in every run."""

    rate: float
    calls: int = 0
    faults: int = 0

    def next_status(self) -> int | None:
        """Say with which status the next call fails, if it does."""
        self.calls += 1
        if spread(0, self.calls) >= self.rate * 2**64:
            return None
        self.faults += 1
        return _IN_TURN[self.faults % len(_IN_TURN)]
