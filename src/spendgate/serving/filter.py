"""The ASGI filter around MLflow's scoring server: what goes in is checked, what fails is reworded.

MLflow's own errors quote the request body and stack traces, come as text/plain or as JSON that
isn't any, and name no field. Everything below 400 passes untouched.
"""

import asyncio
import logging
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spendgate.adapters.json_bytes import json_bytes
from spendgate.serving.denied import ANSWER_SLOT, AnswerSlot
from spendgate.serving.invocation import explain_invalid
from spendgate.serving.model_stream import ModelStream
from spendgate.web.answer import INTERNAL_MESSAGE, failure, send_answer
from spendgate.web.body import (
    BODY_SECONDS,
    BodyError,
    body_in_time,
    check_body,
    check_headers,
    parse_object,
)
from spendgate.web.header import refuse_unread

_logger = logging.getLogger(__name__)

# Above this size the scans take milliseconds, in which the event loop would serve nobody else.
_THREAD_BYTES = 256 * 1024
_MESSAGES = {
    404: "there is no such path; POST /invocations",
    405: "this path takes another method; POST /invocations, GET /ping",
    504: "the call took too long for this server; it goes on and will be charged",
}


class InvocationFilter:
    """Guard one ASGI app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes_max: int,
        client_seconds: float = BODY_SECONDS,
        stream: ModelStream | None = None,
    ) -> None:
        self._app = app
        self._stream = stream
        self._body_bytes_max = body_bytes_max
        self._client_seconds = client_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request through the app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        if scope["method"] == "POST":
            try:
                found = await self._body(scope, receive)
            except BodyError as error:
                await _refuse(send, error)
                return
            if found is None:
                return
            body = found
            if self._stream is not None and scope["path"] == "/invocations" and b'"stream"' in body:
                document = await asyncio.to_thread(_streamed, body)
                if document is not None:
                    await self._answer_stream(self._stream, document, receive, send, body)
                    return
            scope = {**scope, "headers": _as_json(scope)}
            receive = _replay(body, receive)
        await self._forward(scope, receive, send, body)

    async def _answer_stream(
        self,
        stream: ModelStream,
        document: dict[str, object],
        receive: Receive,
        send: Send,
        body: bytes,
    ) -> None:
        slot = AnswerSlot()
        token = ANSWER_SLOT.set(slot)
        try:
            await stream.answer(document, slot, receive, send)
        except ConnectionAbortedError:
            raise  # it has begun, and can only be broken off
        except Exception as error:  # noqa: BLE001 - its text may quote the request
            _logger.error("a stream failed: %s", type(error).__qualname__)
            is_fault_of_body = not slot.has_reached_model
            status = 400 if is_fault_of_body else 500
            await _refuse(send, await _own_words(status, body, is_fault_of_body))
        finally:
            ANSWER_SLOT.reset(token)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        check_headers(scope, self._body_bytes_max)
        refuse_unread(scope)
        body = await body_in_time(receive, self._body_bytes_max, self._client_seconds)
        if body is not None:
            if len(body) > _THREAD_BYTES:
                await asyncio.to_thread(check_body, body)
            else:
                check_body(body)
        return body

    async def _forward(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        slot = AnswerSlot()
        held = _HeldFailure(send)
        token = ANSWER_SLOT.set(slot)
        try:
            await self._app(scope, receive, held.send)
        except Exception as error:  # noqa: BLE001 - uvicorn would log it with whatever text it has
            # The text of an unknown error may quote the body, so only its type is logged. An answer
            # that has begun can only be broken off.
            _logger.error("MLflow's server failed: %s", type(error).__qualname__)
            if held.has_begun:
                raise ConnectionAbortedError("the answer broke off") from None
            held.status = held.status or 500
        finally:
            ANSWER_SLOT.reset(token)
        if slot.status is not None and held.status is not None:
            await send_answer(send, slot.status, slot.body)
        elif held.status is not None:
            is_fault_of_body = not slot.has_reached_model
            await _refuse(send, await _own_words(held.status, body, is_fault_of_body))


class _HeldFailure:
    """Passes an answer on unless it is a failure, which is kept back with its text unread."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self.status = cast("int", message["status"])
        elif self.status is None:
            self.has_begun = True
            await self._send(message)


async def _own_words(status: int, body: bytes, is_fault_of_body: bool) -> BodyError:
    """Say what MLflow's failure was about."""
    if status in _MESSAGES:
        return BodyError(status, _MESSAGES[status], None)
    if is_fault_of_body:
        fault = await asyncio.to_thread(explain_invalid, body)
        if fault is not None:
            return fault
    if status >= 500:
        return BodyError(status, INTERNAL_MESSAGE, None)
    return BodyError(status, "the body doesn't fit the model's schema")


async def _refuse(send: Send, error: BodyError) -> None:
    reply = failure(error.status, str(error), error.field)
    await send_answer(send, reply.status, json_bytes(reply.body))


def _streamed(body: bytes) -> dict[str, object] | None:
    """Return the document of a body that asks for a stream."""
    try:
        document = parse_object(body)
    except BodyError:
        return None  # MLflow finds it too, and is answered for
    return document if document.get("stream") is True else None


def _as_json(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers with one plain Content-Type: MLflow fails where it is missing."""
    headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
    kept = [header for header in headers if header[0] != b"content-type"]
    kept.append((b"content-type", b"application/json"))
    return kept


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives a body that was read already, then whatever comes after it."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
