# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# mlflow is typed in part only.
"""How an answer that isn't 200 leaves MLflow's scoring server."""

from contextvars import ContextVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)

from spendgate.adapters.json_bytes import json_bytes

# A server that ignores our status still maps these to a fitting one (DESIGN §4).
_MLFLOW_CODES = {
    400: INVALID_PARAMETER_VALUE,
    401: UNAUTHENTICATED,
    402: PERMISSION_DENIED,
    403: PERMISSION_DENIED,
    409: INVALID_PARAMETER_VALUE,
    429: RESOURCE_EXHAUSTED,
    503: TEMPORARILY_UNAVAILABLE,
}


class AnswerSlot:
    """Carries the error answer of one request from the model to the filter in the same process.

    The filter trusts what is in its own slot and nothing else, so no body can pass for one of ours.
    """

    __slots__ = ("body", "has_reached_model", "status")

    def __init__(self) -> None:
        self.has_reached_model = False
        self.status: int | None = None
        self.body = b""


ANSWER_SLOT: ContextVar[AnswerSlot | None] = ContextVar("answer_slot", default=None)
"""Set by the filter around one request; asyncio.to_thread copies it into the model's thread."""


class DeniedError(MlflowException):
    """A call is answered with something other than 200; carries the complete JSON to send."""

    def __init__(self, status: int, body: dict[str, object]) -> None:
        self._status = status
        self._body = json_bytes(body)
        super().__init__(f"the call was answered with status {status}", mlflow_code(status))
        slot = ANSWER_SLOT.get()
        if slot is not None:
            slot.status, slot.body = status, self._body

    @property
    def message(self) -> str:
        """The text, whatever the server sets: MLflow's puts the caller's whole body in front."""
        return str(self)

    @message.setter
    def message(self, value: str) -> None:
        del value

    def get_http_status_code(self) -> int:
        """Return the status of the answer."""
        return self._status

    def serialize_as_json(self) -> str:
        """Return the answer's own JSON, not MLflow's."""
        return self._body.decode("ascii")


def mlflow_code(status: int) -> int:
    """Return MLflow's error code for a status."""
    if status in _MLFLOW_CODES:
        return _MLFLOW_CODES[status]
    return INVALID_PARAMETER_VALUE if status < 500 else INTERNAL_ERROR
