# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportIncompatibleMethodOverride=false
# MLflow gives a meaning to type hints of its methods, and has the wrong ones in its base class.
"""The MLflow model: one request in, the gateway's answer out."""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Protocol, TypeVar, cast

from mlflow.pyfunc.model import PythonModel

from spendgate.adapters.json_bytes import json_bytes
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
from spendgate.gateway.route import route_of
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.wire import Host
from spendgate.serving.denied import ANSWER_SLOT, DeniedError
from spendgate.serving.invocation import raw_body
from spendgate.serving.quiet import quiet_mlflow
from spendgate.web.answer import INTERNAL_MESSAGE, failure
from spendgate.web.worker import WORKER

_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

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

    def stream(
        self,
        route: str,
        body: dict[str, object],
        *,
        host: Host,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply | Generator[StreamChunk]:
        """Answer one request that asks for a stream."""
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
        reply = self._answered(self._whole, cast("object", model_input))
        if reply.status != 200:
            raise DeniedError(reply.status, reply.body)
        return reply.body

    def predict_stream(self, context, model_input, params=None):  # noqa: ARG002 - MLflow's
        """Answer one request in pieces.

        A server asks for the first piece when it has sent its status already, so a refusal is a
        piece too: the first and only one, without choices.
        """
        slot = ANSWER_SLOT.get()
        if slot is not None:
            slot.has_reached_model = True
        answer = self._answered(self._streamed, cast("object", model_input))
        if not isinstance(answer, Reply):
            with closing(answer):  # a server that gives up tells it to the gateway at once
                yield from (chunk.document for chunk in answer if chunk.document is not None)
        elif answer.chunks is not None:
            yield from (chunk.document for chunk in answer.chunks if chunk.document is not None)
        else:
            if slot is not None:
                slot.status, slot.body = answer.status, json_bytes(answer.body)
            no_choices: dict[str, object] = {"choices": []}
            yield no_choices | answer.body

    def _whole(self, body: dict[str, object], vouched: Mapping[str, str] | None) -> Reply:
        return self._handler().handle(route_of(body), body, host=Host.ENDPOINT, vouched=vouched)

    def _streamed(
        self, body: dict[str, object], vouched: Mapping[str, str] | None
    ) -> Reply | Generator[StreamChunk]:
        asked = {**body, "stream": True}  # the platform may have read and dropped it
        return self._handler().stream(route_of(asked), asked, host=Host.ENDPOINT, vouched=vouched)

    def _answered(
        self,
        ask: Callable[[dict[str, object], Mapping[str, str] | None], Answer],
        model_input: object,
    ) -> Answer | Reply:
        try:
            body = raw_body(model_input)
            # Here, because the platform tells the caller to this thread only.
            vouched = None if self._caller is None else self._caller()
            return ask(body, vouched)
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
