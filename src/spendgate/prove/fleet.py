"""The gates of a run: real `spendgate app` processes that are killed, stopped and started again."""

import os
import random
import signal
import threading
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spendgate.demo.stage import Server, start_gate

_IN_FLIGHT_SECONDS = 3.0
_POLL_SECONDS = 0.01
_ON_ITS_WAY_SECONDS = 0.1
"""From a client's send to the model server's: by then the money is held and the call is made."""


@dataclass(slots=True)
class Gate:
    """One process, and its successors after each kill."""

    name: str
    server: Server | None = None
    in_flight: int = 0


class Fleet:
    """All gates of a run."""

    def __init__(
        self, home: Path, settings: Mapping[str, str], count: int, command: Sequence[str]
    ) -> None:
        # The ledger's URL may hold a password, which arguments would show to everybody.
        os.environ.update(settings)
        self._home = home
        self._settings: Collection[str] = settings.keys()
        self._command = command
        self._lock = threading.Lock()
        self.gates = [Gate(f"gate-{number + 1}") for number in range(count)]

    def start(self) -> None:
        """Start all gates.

        Raises:
            HostError: if one doesn't start; the others are ended.
        """
        try:
            with ThreadPoolExecutor(len(self.gates)) as pool:
                list(pool.map(self._start, self.gates))
        except BaseException:
            self.end()
            raise

    @contextmanager
    def some_gate(self, draw: random.Random) -> Generator[str | None]:
        """Give the URL of a gate to call; None while none runs."""
        with self._lock:
            running = [one for one in self.gates if one.server is not None]
            gate = draw.choice(running) if running else None
            url = gate.server.url if gate is not None and gate.server is not None else None
            if gate is not None:
                gate.in_flight += 1
        try:
            yield url
        finally:
            if gate is not None:
                with self._lock:
                    gate.in_flight -= 1

    def kill(self, draw: random.Random) -> None:
        """SIGKILL a gate while it has calls in flight, and start it again."""
        gate, server = self._busy(draw)
        server.process.kill()
        server.process.wait()
        with self._lock:
            gate.server = None
        self._start(gate)

    def pause(self, draw: random.Random, seconds: float) -> None:
        """SIGSTOP a gate while it has calls in flight, and let it go on later."""
        _, server = self._busy(draw)
        server.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            server.process.send_signal(signal.SIGCONT)

    def stop(self) -> list[int]:
        """Send SIGTERM to all and return their exit statuses."""
        servers = [one.server for one in self.gates if one.server is not None]
        with ThreadPoolExecutor(len(self.gates)) as pool:
            return list(pool.map(Server.stop, servers))

    def end(self) -> None:
        """Kill whatever still runs: the way out of a run that broke off."""
        for gate in self.gates:
            if gate.server is not None and gate.server.process.poll() is None:
                gate.server.process.kill()
                gate.server.process.wait()

    def _start(self, gate: Gate) -> None:
        server = start_gate(self._home, gate.name, self._settings, self._command)
        with self._lock:
            gate.server = server

    def _busy(self, draw: random.Random) -> tuple[Gate, Server]:
        """Wait until some gate has a call in flight; without traffic, take any."""
        deadline = time.monotonic() + _IN_FLIGHT_SECONDS
        while True:
            with self._lock:
                running = [(one, one.server) for one in self.gates if one.server is not None]
                busy = [pair for pair in running if pair[0].in_flight]
            if busy or time.monotonic() >= deadline:
                gate, server = draw.choice(busy or running)
                time.sleep(_ON_ITS_WAY_SECONDS)
                return gate, server
            time.sleep(_POLL_SECONDS)
