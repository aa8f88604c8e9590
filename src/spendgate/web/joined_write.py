"""An answer's head and its body in one write, so that the client is woken once and reads both."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD_START = b"HTTP/1.1 "
_HEAD_END = b"\r\n\r\n"


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's own HTTP, over a transport that keeps a head until its body comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """Begin a connection."""
        super().connection_made(transport)
        self.transport = JoiningTransport(transport, self.loop)


class JoiningTransport(asyncio.Transport):
    """Writes a head with what follows it, or alone if nothing does in this turn of the loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes bytes only
        """Write, or keep a head for a moment."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(_HEAD_START) and data.endswith(_HEAD_END):
            self._head = data
            self._loop.call_soon(self._write_head)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close when all is written."""
        self._write_head()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether nothing more is written."""
        return self._transport.is_closing()

    def _write_head(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)
