"""A server on loopback with a thread per connection, which ends when it is told to."""

import select
import socket
import threading
from collections.abc import Callable


class LoopbackServer:
    """Accepts connections and gives each to `serve`, which looks at `is_closed` now and then."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.is_closed = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def serve(self, client: socket.socket) -> None:
        """Speak with one client until it or this server is closed."""
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self.is_closed:
            if select.select([self._listener], [], [], 0.05)[0]:
                self._start(self.serve, self._listener.accept()[0])
