"""A network between a ledger and its server that can break in the middle of a commit."""

import contextlib
import select
import socket
from dataclasses import dataclass

from tests.integration.ledger.loopback_server import LoopbackServer


@dataclass
class Cut:
    """When the cable breaks: at the next commit, before or after the server has seen it."""

    arrives: bool
    is_reachable_again: bool = True


class Cable(LoopbackServer):
    """A proxy on loopback in front of the server that can cut a commit's connection."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.cut: Cut | None = None
        self.is_stalled = False
        self.gives_up = False
        """Whether a connection whose commit has arrived breaks before the server answers."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        super().__init__(listener)

    def serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            if self.cut is not None and not self.cut.is_reachable_again:
                return
            server.connect(self._target)
            is_torn = False
            while not self.is_closed and not (is_torn and self.gives_up):
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data or (is_torn and ready is server):
                        return  # the server has committed; its answer goes nowhere
                    cut = self.cut
                    if ready is client and b"COMMIT" in data and cut is not None:
                        self.cut = None if cut.is_reachable_again else cut
                        if not cut.arrives:
                            return
                        is_torn = True
                    if not self.is_stalled:
                        (server if ready is client else client).sendall(data)
