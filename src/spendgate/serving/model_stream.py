"""A model's `predict_stream` as server-sent events, as Model Serving sends them.

MLflow's own server has no streaming. A refusal comes with its status here, because the first piece
is asked for before anything is sent.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar, cast

from starlette.types import Message, Receive, Send

from spendgate.gateway.stream_chunk import DONE, StreamChunk
from spendgate.serving.denied import AnswerSlot
from spendgate.web.answer import send_answer
from spendgate.web.event_stream import body_message, start_message

_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Pieces = Generator[Mapping[str, object]]


class ModelStream:
    """Answers requests from one model."""

    def __init__(
        self, predict_stream: Callable[[dict[str, object]], object], *, seconds: float
    ) -> None:
        self._predict_stream = predict_stream
        self._seconds = seconds

    async def answer(
        self, document: dict[str, object], slot: AnswerSlot, receive: Receive, send: Send
    ) -> None:
        """Send the pieces of one answer.

        Raises:
            Exception: what the model raised before its first piece.
        """
        pieces = _Pieces(cast("Pieces", self._predict_stream(document)))
        first = await pieces.next()
        if slot.status is not None:
            await pieces.close()  # here: collected elsewhere, MLflow's generator prints a traceback
            await send_answer(send, slot.status, slot.body)
            return
        client = asyncio.get_running_loop().create_task(_left(receive))
        try:
            await self._send(send, start_message({}))
            piece = first
            while piece is not None and not client.done():
                await self._send(send, body_message((StreamChunk(piece),), more=True))
                piece = await pieces.next()
            await self._send(send, body_message((DONE,), more=False))
        except (TimeoutError, OSError):
            return  # the client doesn't read, or is gone
        except Exception as error:  # noqa: BLE001 - its text may quote the request
            _logger.error("a stream failed: %s", type(error).__qualname__)
            raise ConnectionAbortedError("the answer broke off") from None
        finally:
            client.cancel()
            await pieces.close()

    async def _send(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._seconds):
            await send(message)


class _Pieces:
    """A generator whose steps run in threads, one after the other and in one context."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._context = contextvars.copy_context()  # MLflow resets there what it has set there

    async def next(self) -> Mapping[str, object] | None:
        """Return the next piece, None at the end."""
        return await self._run(lambda: next(self._pieces, None))

    async def close(self) -> None:
        """Say that nobody wants the rest."""
        await self._run(self._pieces.close)

    async def _run(self, step: Callable[[], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: self._context.run(step))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
