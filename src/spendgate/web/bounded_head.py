"""A request's head, bounded in size and time: a client that never ends one holds no connection.

uvicorn bounds neither. What isn't HTTP is answered in JSON, as everything else is.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from spendgate.web.answer import failure
from spendgate.web.joined_write import JoiningProtocol

HEAD_BYTES_MAX = 65_536
"""Request line and headers together; proxies allow 8 to 64 KiB."""

_NOT_HTTP = "the request isn't valid HTTP/1.1; send one Content-Length or chunks, and plain headers"
_TOO_LARGE = f"the headers are larger than {HEAD_BYTES_MAX} bytes; long texts go into the body"
_TOO_SLOW = "the request's headers didn't come in time; send them at once"


class _LargeHeadError(Exception):
    """Stops the parser at a head that came whole but is too large."""


class BoundedHeadProtocol(JoiningProtocol):
    """uvicorn's own HTTP, whose clients must send a head of bounded size in time."""

    def __init__(self, *arguments: Any, head_seconds: float, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_seconds = head_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._is_in_body = False
        self._is_head_alone = False
        """Whether what was received last is no more than a part of a head."""
        self._is_suspect = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """Begin a connection, which must send a whole head in time."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what a client sent; what doesn't end a head is counted and timed."""
        self._is_suspect = self._head_bytes + len(data) > HEAD_BYTES_MAX
        self._is_head_alone = not self._is_in_body
        super().data_received(data)
        if self._is_called and not self._is_in_head:
            return
        if self._is_head_alone:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE)
        elif self._deadline is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End a head, from where on a call has bounds of its own."""
        # Only a head among many bytes is measured; they may be a body's.
        if self._is_suspect and self._size() > HEAD_BYTES_MAX:
            raise _LargeHeadError
        self._is_in_head, self._is_in_body = False, True
        self._is_head_alone = False
        self._head_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a body."""
        self._is_in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own text
        """Refuse what the parser didn't take, in JSON."""
        if self._is_in_head and self._is_suspect and self._size() > HEAD_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, _NOT_HTTP)

    @property
    def _is_called(self) -> bool:
        """Whether a call is being answered."""
        return bool(self.cycle) and not self.cycle.response_complete

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self._head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_called:
            self._await_head()  # of the next call on this connection; this one's answer goes on
        elif self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, _TOO_SLOW)
        else:
            self.transport.close()  # browsers open some ahead, and read nothing from them

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        body = json.dumps(failure(status, message).body).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
