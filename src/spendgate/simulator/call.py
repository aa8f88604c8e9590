"""One model call from request to answer: read, fail or answer, charge, send."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from starlette.types import Receive, Scope, Send

from spendgate.simulator.bill import Bill, Charge
from spendgate.simulator.chat import answer_chat
from spendgate.simulator.completion import (
    DONE,
    Frame,
    completion_body,
    error_event,
    frame_of,
    stream_events,
)
from spendgate.simulator.directive import Directives, read_directives
from spendgate.simulator.embedding import answer_embedding
from spendgate.simulator.fault import FaultSequence, fault_body
from spendgate.simulator.pricelist import ModelRates
from spendgate.simulator.response import as_chat, response_body, response_events
from spendgate.simulator.settings import SimulatorSettings
from spendgate.simulator.usage import Usage
from spendgate.simulator.usagelog import SOMEBODY, CallRecord
from spendgate.simulator.wire import (
    BadCallError,
    JsonObject,
    decode_object,
    encode,
    object_in,
    read_body,
    send_head,
    send_json,
)

# Events that go into one write where tokens aren't paced.
_BATCH_EVENTS = 16
_OK = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """A decided answer: what it used, and its body or its events."""

    usage: Usage
    body: bytes | Iterator[bytes]


class ModelCalls:
    """Answer chat and embeddings calls, as an ASGI application without Starlette's Request."""

    def __init__(
        self, settings: SimulatorSettings, rates: dict[str, ModelRates], bill: Bill
    ) -> None:
        self._settings = settings
        self._rates = rates
        self._bill = bill
        self._faults = FaultSequence(settings.fault_rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        raw = await read_body(receive)
        with self._bill.request():
            try:
                await self._answer(raw, scope, receive, send)
            except BadCallError as error:
                await send_json(send, error.status, encode(error.body))

    async def _answer(self, raw: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        body = decode_object(raw, "the body")
        directives = self._directives(body, scope)
        named: object = scope.get("path_params", {}).get("name")
        model = _model_of(body, named)
        rates = self._rates.get(model)
        if rates is None:
            message = f"The model {model!r} does not exist or you do not have access to it."
            raise BadCallError(message, status=404, code="model_not_found")
        embeds = scope["path"].endswith("/embeddings") or (named is not None and "input" in body)
        if embeds != (rates.output is None):
            raise BadCallError(f"The model {model!r} does not serve this task.")
        seed = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest())
        reply = self._reply(body, model, seed, directives, scope["path"])
        charge = Charge(
            model=model,
            cost_nano=rates.cost_nano(reply.usage),
            client_request_id=_text(body.get("client_request_id")),
            usage_context=_context(body.get("usage_context")),
        )

        status = directives.status or self._faults.next_status()
        fails = directives.hang or status is not None
        record = _recorder(self._bill, body, charge, reply.usage)
        if fails and directives.bill_on_error:
            self._bill.charge(charge)
        if directives.hang:
            if directives.bill_on_error:
                record(_OK, is_billed=True)
            await _until_disconnect(receive)
            return
        await self._think(reply, directives)
        if status is not None:
            record(status, is_billed=directives.bill_on_error)
            retry = [(b"retry-after", b"1")] if status in (429, 503) else []
            await send_json(send, status, encode(fault_body(status, model)), retry)
            return
        # Charged before the first byte: a caller that hangs up pays for what was generated.
        self._bill.charge(charge)
        record(_OK, is_billed=True)
        cut = directives.close_connection
        if isinstance(reply.body, bytes):
            await _send_whole(send, reply.body, cut=cut)
        else:
            await _send_stream(send, reply.body, self._pace(directives), cut=cut)

    def _directives(self, body: JsonObject, scope: Scope) -> Directives:
        sources = [self._settings.simulate]
        if body.get("simulate") is not None:
            asked = body["simulate"]
            if not isinstance(asked, dict):
                raise BadCallError("simulate is not a JSON object")
            sources.append(object_in(cast("object", asked)))
        headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        sources.extend(
            decode_object(value, "X-Simulate") for name, value in headers if name == b"x-simulate"
        )
        return read_directives(sources)

    def _reply(
        self, body: JsonObject, model: str, seed: int, directives: Directives, path: str
    ) -> Reply:
        if self._rates[model].output is None:
            embedding = answer_embedding(body, model, self._settings, directives)
            return Reply(embedding.usage, embedding.payload)
        responds = path.endswith("/responses")
        chat = as_chat(body) if responds else body
        answer = answer_chat(chat, model, seed, self._settings, directives)
        call_id = f"{seed:016x}{self._bill.requests:08x}"
        frame = frame_of(answer, call_id, int(time.time()), directives)
        if body.get("stream") is not True or directives.plain_json:
            write = response_body if responds else completion_body
            return Reply(answer.usage, write(answer, frame))
        include = object_in(body.get("stream_options")).get("include_usage") is True
        events = (
            response_events(answer, frame)
            if responds
            else stream_events(answer, frame, include_usage=include)
        )
        return Reply(answer.usage, _broken(events, frame, directives))

    def _pace(self, directives: Directives) -> float:
        """Return the milliseconds from token to token."""
        asked = directives.ms_per_token
        return self._settings.ms_per_token if asked is None else asked

    async def _think(self, reply: Reply, directives: Directives) -> None:
        """Wait as long as the model takes to its first byte."""
        latency_ms = self._settings.latency_ms
        if directives.latency_ms is not None:
            latency_ms = directives.latency_ms
        usage = reply.usage
        whole = isinstance(reply.body, bytes)
        silent_tokens = usage.output_tokens if whole else usage.reasoning_tokens
        latency_ms += silent_tokens * self._pace(directives)
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)


def _recorder(bill: Bill, body: JsonObject, charge: Charge, usage: Usage) -> Callable[..., None]:
    """Return what lists a call with the time at which it came, once its end is known."""
    at_micros = time.time_ns() // 1000

    def record(status: int, *, is_billed: bool) -> None:
        if bill.records is None:
            return
        call = CallRecord(
            request_id=str(uuid.uuid4()),
            at_micros=at_micros,
            endpoint=charge.model,
            requester=_text(body.get("user")) or SOMEBODY,
            client_request_id=charge.client_request_id,
            usage_context=charge.usage_context,
            is_streaming=body.get("stream") is True,
            status=status,
            usage=usage if is_billed else None,
            billed_nano_usd=charge.cost_nano if is_billed else 0,
        )
        bill.record(call)

    return record


def _broken(events: Iterator[bytes], frame: Frame, directives: Directives) -> Iterator[bytes]:
    """Give a stream the end that was asked for."""
    if not (directives.error_event or directives.stop_early):
        return (one for one in events if one != DONE or not directives.no_done)
    listed = list(events)
    half = listed[: len(listed) // 2]
    return iter([*half, error_event(frame)] if directives.error_event else half)


async def _send_whole(send: Send, body: bytes, *, cut: bool) -> None:
    if not cut:
        await send_json(send, 200, body)
        return
    # Returning with bytes outstanding makes the server close the connection.
    await send_head(send, 200, [(b"content-length", b"%d" % len(body))])
    half = body[: len(body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})


async def _send_stream(
    send: Send, events: Iterator[bytes], ms_per_token: float, *, cut: bool
) -> None:
    await send_head(send, 200, [(b"cache-control", b"no-cache")], b"text/event-stream")
    if cut:
        listed = list(events)
        half = b"".join(listed[: len(listed) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        return
    size = 1 if ms_per_token else _BATCH_EVENTS
    while batch := [event for _, event in zip(range(size), events, strict=False)]:
        await send({"type": "http.response.body", "body": b"".join(batch), "more_body": True})
        await asyncio.sleep(ms_per_token / 1000)
    await send({"type": "http.response.body", "body": b""})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _model_of(body: JsonObject, named: object) -> str:
    """Name the model: on Databricks' own path the endpoint's name is the model."""
    model = body.get("model") if named is None else named
    if not isinstance(model, str) or not model:
        raise BadCallError("you must provide a model parameter", code="missing_model")
    return model


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _context(value: object) -> dict[str, str]:
    return {key: str(entry) for key, entry in object_in(value).items()}
