"""The one gateway of this process: started at its first use, never shared across a fork."""

import os
import threading

from spendgate.config import Settings
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.narrowing import Narrowing
from spendgate.running_host import RunningHost


class Worker:
    """Start a host from the environment once per process and keep it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._host: RunningHost | None = None
        self._from_parent: list[RunningHost] = []

    def gateway(self) -> Gateway:
        """Return the process's gateway.

        Raises:
            SpendgateError: if the settings, the policy or the ledger can't be used.
        """
        return self.running().gateway

    def narrowing(self) -> Narrowing:
        """Return what makes narrower tokens in this process.

        Raises:
            SpendgateError: if the settings, the policy or the ledger can't be used.
        """
        return self.running().narrowing

    def on_event_loop(self) -> AsyncGateway:
        """Return the same gateway for this process's event loop."""
        return self.running().on_event_loop()

    def metrics(self) -> bytes:
        """Return the page of this process's metrics.

        Raises:
            SpendgateError: if the settings, the policy or the ledger can't be used.
        """
        return self.running().metrics()

    def close(self) -> None:
        """Flush and release what was started; the next call starts anew."""
        with self._lock:
            host, self._host = self._host, None
        if host is not None:
            host.close()

    def forget_parent(self) -> None:
        """Start anew in a forked child.

        The parent's host is kept, not closed: closing its files here would tear down a database
        that the parent still uses, and its lock may have been held at the fork.
        """
        self._lock = threading.Lock()
        if self._host is not None:
            self._from_parent.append(self._host)
            self._host = None

    def running(self) -> RunningHost:
        """Return the process's host, started if need be.

        Raises:
            SpendgateError: if the settings, the policy or the ledger can't be used.
        """
        host = self._host
        if host is None:
            with self._lock:
                host = self._host
                if host is None:
                    host = RunningHost(Settings())
                    host.start()
                    self._host = host
        return host


WORKER = Worker()
os.register_at_fork(after_in_child=WORKER.forget_parent)
