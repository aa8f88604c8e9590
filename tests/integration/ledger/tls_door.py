"""A door in front of a server, at a loopback address of its own on PostgreSQL's port.

The wheel's PostgreSQL is built without TLS, so the door answers the client's request for it as a
server does, and hands on what it has decrypted. A door without a certificate declines.
"""

import contextlib
import select
import socket
import ssl
from pathlib import Path

from tests.integration.ledger.loopback_server import LoopbackServer

PORT = 5432
_ASKS_FOR_TLS = bytes.fromhex("0000000804d2162f")
"""The eight bytes of an SSLRequest."""


class TlsDoor(LoopbackServer):
    """Counts who came in how; whoever doesn't ask for TLS is handed on, as by a server."""

    def __init__(self, target: str, certificate: Path | None) -> None:
        self._target = target
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self.address, listener = _listen()
        self.encrypted: list[str] = []
        """The protocol of each connection that was encrypted."""
        self.declined = self.plain = 0
        self.heard_unencrypted = b""
        """What clients said after TLS was declined; they get no answer."""
        super().__init__(listener)

    def serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._target)
            first = client.recv(len(_ASKS_FOR_TLS))
            if first != _ASKS_FOR_TLS:
                self.plain += 1
                server.sendall(first)
                self._carry(client, server)
            elif self._context is None:
                self.declined += 1
                client.sendall(b"N")
                self.heard_unencrypted += client.recv(65536)
            else:
                client.sendall(b"S")
                with self._context.wrap_socket(client, server_side=True) as inside:
                    self.encrypted.append(str(inside.version()))
                    self._carry(inside, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        while not self.is_closed:
            waits = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if waits else select.select([client, server], [], [], 0.05)[0]
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                (server if one is client else client).sendall(data)


def _listen() -> tuple[str, socket.socket]:
    """Take the first address on which nobody else has the port."""
    for last in range(2, 255):
        with contextlib.suppress(OSError):
            return f"127.0.5.{last}", socket.create_server((f"127.0.5.{last}", PORT))
    raise AssertionError("no free address")
