"""The routes that call a model: read the request, ask the gate, send its answer or its stream."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.types import Receive, Scope, Send

from spendgate.adapters.json_bytes import json_bytes
from spendgate.errors import SpendgateError
from spendgate.gateway.admission import Incoming
from spendgate.gateway.reply import Reply, note_headers, spend_headers
from spendgate.gateway.reserving import LARGE_BYTES
from spendgate.gateway.streamed_call import StreamedCall
from spendgate.gateway.wire import Host
from spendgate.web.answer import INTERNAL_MESSAGE, failure, send_answer
from spendgate.web.body import BodyError, body_in_time, check_headers, checked_object
from spendgate.web.event_stream import EventStream
from spendgate.web.header import forwarded_user, single_headers

_logger = logging.getLogger(__name__)


class Gate(Protocol):
    """The part of the gateway that this host calls."""

    async def handle(self, incoming: Incoming) -> Reply:
        """Answer one request."""
        ...

    async def stream(self, incoming: Incoming) -> Reply | StreamedCall:
        """Answer one request that asks for a stream."""
        ...


Reading = Callable[[Incoming], Incoming]
"""Gives a request the gate's own form."""

Form = Callable[[Reply], Reply]
"""Gives a reply the words of an older form."""


def as_it_is(reply: Reply) -> Reply:
    """Leave a reply as the gate made it."""
    return reply


class ModelCalls:
    """Answers requests for models; one for all routes."""

    def __init__(
        self,
        gate: Callable[[], Gate],
        *,
        body_bytes_max: int,
        client_seconds: float,
        beat_seconds: float = 0.0,
        platform_header: str | None = None,
    ) -> None:
        self._gate = gate
        self._body_bytes_max = body_bytes_max
        self._client_seconds = client_seconds
        self._beat_seconds = beat_seconds
        self._platform_header = platform_header

    async def answer(
        self,
        route: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        form: Form = as_it_is,
        reading: Reading | None = None,
    ) -> None:
        """Answer one request; `reading` gives it the gate's form where it has another."""
        try:
            incoming = await self._incoming(route, scope, receive)
            if incoming is None:
                return  # the client left: nobody reads an answer
            if reading is not None:
                incoming = reading(incoming)
            gate = self._gate()
            if incoming.may_stream:
                await self._stream(gate, incoming, receive, send, form)
                return
            reply = await gate.handle(incoming)
        except BodyError as error:
            reply = failure(error.status, str(error), error.field)
        except SpendgateError as error:
            _logger.error("the gate can't start: %s", error)
            reply = failure(503, "the gate can't start; see its log")
        except Exception as error:  # noqa: BLE001 - the server would log it with whatever text it has
            # The text of an unknown error may quote the request, so only its type is logged.
            _logger.error("a call failed: %s", type(error).__qualname__)
            reply = failure(500, INTERNAL_MESSAGE)
        await send_reply(send, reply, form)

    async def _incoming(self, route: str, scope: Scope, receive: Receive) -> Incoming | None:
        check_headers(scope, self._body_bytes_max)
        headers = single_headers(scope, self._platform_header)
        body = await body_in_time(receive, self._body_bytes_max, self._client_seconds)
        if body is None:
            return None
        is_large = len(body) > LARGE_BYTES
        document = await asyncio.to_thread(_parsed, body) if is_large else _parsed(body)
        return Incoming(
            route,
            document,
            Host.ASGI,
            headers,
            forwarded_user(headers, self._platform_header),
            may_stream=document.get("stream") is True,
            body_bytes=len(body),
        )

    async def _stream(
        self, gate: Gate, incoming: Incoming, receive: Receive, send: Send, form: Form
    ) -> None:
        answer = await gate.stream(incoming)
        events = EventStream(
            receive, send, seconds=self._client_seconds, beat_seconds=self._beat_seconds
        )
        if isinstance(answer, Reply):
            if answer.chunks is None:
                await send_reply(send, answer, form)
            else:
                await events.send_whole(answer.chunks, spend_headers(answer))
            return
        watch = events.attend(answer)
        try:
            failed = await events.send_call(answer, note_headers(answer.note))
            if failed is not None:
                await send_reply(send, failed, form)
        finally:
            watch.cancel()
            if not answer.is_over:
                await answer.cut_off()


async def send_reply(send: Send, reply: Reply, form: Form = as_it_is) -> None:
    """Send a reply as JSON, in the words of `form`; its headers are the gate's in any form."""
    body = json_bytes(form(reply).body)
    await send_answer(send, reply.status, body, spend_headers(reply))


def headers_of(scope: Scope) -> dict[str, str]:
    """Return a request's headers; their names are in lower case."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _parsed(body: bytes) -> Mapping[str, object]:
    if not body:
        return {}  # what a call misses is named; the end of a hold misses nothing
    return checked_object(body)
