"""A network between a ledger and its server that can break in the middle of a commit."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Cut:
    """When the cable breaks: at the next commit, before or after the server has seen it."""

    arrives: bool
    is_reachable_again: bool = True


class Cable:
    """A proxy on loopback in front of the server that can cut a commit's connection."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.cut: Cut | None = None
        self.is_stalled = False
        self.gives_up = False
        """Whether a connection whose commit has arrived breaks before the server answers."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._start(self._listen)

    def close(self) -> None:
        self._is_closed = True
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _listen(self) -> None:
        while not self._is_closed:
            if select.select([self._listener], [], [], 0.05)[0]:
                self._start(self._carry, self._listener.accept()[0])

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            if self.cut is not None and not self.cut.is_reachable_again:
                return
            server.connect(self._target)
            is_torn = False
            while not self._is_closed and not (is_torn and self.gives_up):
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
