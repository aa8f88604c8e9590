# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportIncompatibleMethodOverride=false
# MLflow gives a meaning to type hints of its methods, and has the wrong ones in its base class.
"""The MLflow model: one request in, the gateway's answer out."""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from mlflow.pyfunc.model import PythonModel

from spendgate.bootstrap import build_caller
from spendgate.config import Settings
from spendgate.errors import (
    CallerError,
    CallerUnavailableError,
    InvalidRequestError,
    LedgerUnavailableError,
    SpendgateError,
)
from spendgate.gateway.reply import Reply, caller_refusal
from spendgate.gateway.wire import Host
from spendgate.serving.denied import ANSWER_SLOT, DeniedError
from spendgate.serving.invocation import raw_body, route_of
from spendgate.serving.quiet import quiet_mlflow
from spendgate.web.answer import INTERNAL_MESSAGE, failure
from spendgate.web.worker import WORKER

_logger = logging.getLogger(__name__)


Caller = Callable[[], Mapping[str, str]]
"""Asks the platform who calls."""


class Handler(Protocol):
    """The part of the gateway that a host calls."""

    def handle(
        self,
        route: str,
        body: dict[str, object],
        *,
        host: Host,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply:
        """Answer one request."""
        ...


class Answering:
    """Pass each request to a gateway.

    Apart from MLflow's base class, because MLflow wraps the `predict` of a direct subclass and
    warns that it has no type hints; with hints it would want another form and refuse OpenAI's.
    """

    def __init__(self, handler: Callable[[], Handler] = WORKER.gateway) -> None:
        self._handler = handler
        self._caller: Caller | None = None

    def predict(self, context, model_input, params=None):  # noqa: ARG002 - MLflow's
        """Answer one request; anything but 200 is raised as DeniedError."""
        slot = ANSWER_SLOT.get()
        if slot is not None:
            slot.has_reached_model = True
        reply = self._reply(cast("object", model_input))
        if reply.status != 200:
            raise DeniedError(reply.status, reply.body)
        return reply.body

    def _reply(self, model_input: object) -> Reply:
        try:
            body = raw_body(model_input)
            # Here, because the platform tells the caller to this thread only.
            vouched = None if self._caller is None else self._caller()
            return self._handler().handle(route_of(body), body, host=Host.ENDPOINT, vouched=vouched)
        except InvalidRequestError as error:
            return failure(400, str(error), error.field)
        except (CallerError, CallerUnavailableError) as error:
            return caller_refusal(error)
        except SpendgateError as error:  # a setting, the policy or the ledger is wrong here
            _logger.error("the gate can't start: %s", error)
            status = 503 if isinstance(error, LedgerUnavailableError) else 500
            return failure(status, "the gate can't start; see its log")
        except Exception as error:  # noqa: BLE001 - MLflow would send a stack trace and the body
            # The text of an unknown error may quote the request, so only its type is logged.
            _logger.error("a call failed: %s", type(error).__qualname__)
            return failure(500, INTERNAL_MESSAGE)


class ServedModel(Answering, PythonModel):
    """The model that is logged.

    Settings come from the environment alone (`SPENDGATE_*`): a model's config can be read by all
    who can read the model.
    """

    def load_context(self, context):
        """Check the settings: a wrong one stops the deployment instead of every call.

        The gateway itself starts with the first call, because a server may load the model and fork.
        """
        del context
        quiet_mlflow()  # also where the server is the platform's
        self._caller = build_caller(Settings())
