"""A gate with its chores, and what watches it: the inside of every host."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

from spendgate.adapters.gate_metrics import LedgerFigures
from spendgate.adapters.host_alerts import HostAlerts
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.watchers import open_watchers
from spendgate.bootstrap import (
    build_gateway,
    build_minter,
    build_verifier,
    drain_outbox,
    hosts_deliver,
    open_async_pools,
    open_async_upstream,
    open_ledger,
    open_pools,
    open_sink,
    open_upstream,
    refuse_forgetting,
    utc_now,
)
from spendgate.config import Settings
from spendgate.domain.budget import Policy
from spendgate.domain.upstream import longest_seconds
from spendgate.errors import SpendgateError
from spendgate.gateway.narrowing import Narrowing

if TYPE_CHECKING:
    from spendgate.adapters.delta_sink import DeltaSink
    from spendgate.gateway.async_gateway import AsyncGateway
    from spendgate.gateway.ports import Upstream

_log = logging.getLogger(__name__)
CLOSE_SECONDS = 10.0
"""How long a closing host waits for a chore that is in the middle of something."""

LEDGER_THREADS = 8
"""Threads that look at the ledger for an event loop: one per lane, the rest for what is rare."""


class RunningHost:
    """A gate with its chores: flush the outbox, expire holds, reread the policy."""

    def __init__(self, settings: Settings, stand_in: "Upstream | None" = None) -> None:
        self._settings = settings
        self.ledger = open_ledger(settings)
        refuse_forgetting(settings, self.ledger)
        self._pools = open_pools(settings)
        self._upstream = open_upstream(settings)
        upstream = self._upstream or stand_in
        self._commit_seconds = self.ledger.commit_seconds()
        self._watchers = open_watchers(settings, self._figures, self.ledger.outbox.first_events)
        self.gateway = build_gateway(
            settings, self.ledger, self._pools, upstream, self._watchers.telemetry
        )
        self.narrowing = Narrowing(
            build_verifier(settings), build_minter(settings), self.ledger.policies.policy, utc_now
        )
        self._alerts = HostAlerts(
            self.ledger, self.gateway.stops, lambda: self.gateway.policy, utc_now
        )
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._async_gateway: AsyncGateway | None = None

    def on_event_loop(self) -> "AsyncGateway":
        """Return the gate for the one event loop of this process."""
        if self._async_gateway is None:
            threads = ThreadPoolExecutor(LEDGER_THREADS, thread_name_prefix="ledger")
            upstream = open_async_upstream(self._settings)
            pools = open_async_pools(self._settings)
            at_once = self.ledger.at_once() if isinstance(self.ledger, SqliteLedger) else None
            self._async_gateway = self.gateway.on_event_loop(upstream, threads, pools, at_once)
        return self._async_gateway

    def metrics(self) -> bytes:
        """Return the page of this process's metrics."""
        if self._async_gateway is not None:
            self._async_gateway.report()
        return self._watchers.metrics.text()

    def start(self) -> None:
        """Start the chores in the background; a call never waits for them."""
        if self._flushes:
            # Delta's libraries take seconds to import: not while calls are answered.
            self._sink.prepare()
        chores = (
            ("flush", self._flush, self._settings.flush_seconds),
            ("sweep", self._sweep, self._settings.sweep_seconds),
            ("policy", self.gateway.refresh, self._settings.policy_seconds),
            ("alerts", self._alerts.tell, self._settings.alert_seconds),
        )
        for name, chore, seconds in chores:
            arguments = (name, chore, seconds)
            thread = threading.Thread(
                target=self._repeat, args=arguments, name=f"spendgate-{name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Let streams end, stop the chores, deliver the outbox, close ledger and connections.

        Streams that threads read on for clients that left are waited for; those of an event loop
        were before, and couldn't end while this holds the loop.
        """
        if self._async_gateway is None:
            self._wait_for_streams()
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=CLOSE_SECONDS)
        self._tried("sweep", self._sweep)
        self._tried("flush", self._flush)
        self._tried("alerts", self._alerts.keep)
        # Before the ledger, in which they may look things up.
        self._watchers.close(self._settings.telemetry_timeout_seconds)
        self.ledger.close()
        self._pools.close()
        if self._upstream is not None:
            self._upstream.close()

    def _figures(self) -> LedgerFigures:
        """Ask the ledger for the metrics page.

        Raises:
            LedgerUnavailableError: if it doesn't answer.
        """
        now = utc_now()
        held, outbox, lanes = (
            self.ledger.exposure(now),
            self.ledger.outbox.state(),
            self.ledger.lanes(),
        )
        oldest = outbox.oldest_at
        return LedgerFigures(
            open_holds=held.open_holds,
            held_nano=held.held_nano,
            overdue_holds=held.overdue_holds,
            outbox_events=outbox.waiting_events,
            outbox_seconds=0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()),
            commit_seconds=self._commit_seconds,
            lanes={"reserve": lanes.reserves_waiting, "end": lanes.ends_waiting},
            ends_unconfirmed=lanes.ends_unconfirmed,
        )

    def _wait_for_streams(self) -> None:
        policy = self.gateway.policy or Policy()
        own_seconds = self._settings.upstream_timeout_seconds
        longest = longest_seconds(policy.upstreams, policy.router, own_seconds)
        self.gateway.draining.wait(longest + CLOSE_SECONDS)

    def _repeat(self, name: str, chore: Callable[[], object], seconds: float) -> None:
        while not self._stopped.wait(seconds):
            self._tried(name, chore)

    def _tried(self, name: str, chore: Callable[[], object]) -> None:
        try:
            chore()
        except SpendgateError as error:
            # The chore comes round again: the outbox keeps its events, a due hold stays due.
            _log.warning("%s failed and will be tried again: %s", name, error)

    def _flush(self) -> None:
        if self._flushes:
            drain_outbox(self.ledger, self._settings, self._sink)

    @cached_property
    def _sink(self) -> "DeltaSink":
        """The sink, kept: it then knows that its tables are there."""
        return open_sink(self._settings)

    @property
    def _flushes(self) -> bool:
        """Whether this host delivers the outbox; with a shared ledger a job does."""
        return hosts_deliver(self._settings)

    def _sweep(self) -> None:
        self.ledger.sweep(utc_now())
        self.gateway.settle_late()
        self._pools.close_unused()
