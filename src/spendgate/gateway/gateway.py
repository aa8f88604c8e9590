"""The gate: admit → call → settle, with an answer for everything that can happen in between."""

import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Executor
from typing import Any

from spendgate.domain.budget import Policy
from spendgate.domain.price import PriceBook
from spendgate.domain.upstream import UpstreamSpec
from spendgate.gateway.admission import Admission, Incoming
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.call_report import NoTelemetry
from spendgate.gateway.calling import Calling
from spendgate.gateway.current_rules import CountersOf, CurrentRules, no_counters
from spendgate.gateway.draining import Draining
from spendgate.gateway.explanation import explained
from spendgate.gateway.hard_stops import HardStops
from spendgate.gateway.hold_end import HoldEnds
from spendgate.gateway.idempotency import KeptAnswers
from spendgate.gateway.lanes import ThreadLanes, run_now
from spendgate.gateway.outage import Outage, UnheldCalls
from spendgate.gateway.outcome import Ending
from spendgate.gateway.parts import GateParts
from spendgate.gateway.ports import (
    AsyncUpstream,
    Clock,
    Ledger,
    Telemetry,
    TokenVerifier,
    Upstream,
)
from spendgate.gateway.repetition import Repetitions
from spendgate.gateway.reply import Reply
from spendgate.gateway.reserving import Reserving
from spendgate.gateway.servers import AsyncServers, Servers, blocking
from spendgate.gateway.stream_chunk import StreamChunk
from spendgate.gateway.streamed_call import StreamedCall
from spendgate.gateway.terms import Terms
from spendgate.gateway.waiting import WaitingLanes
from spendgate.gateway.wire import Host


class Gateway:
    """One gate over one ledger and its model servers; safe for many threads.

    `upstream` serves the models that the policy names no server for, `servers` opens those that it
    names. `unheld` keeps the calls that go out while the ledger is away; without it none do.
    """

    def __init__(
        self,
        ledger: Ledger,
        upstream: Upstream | None,
        book: Callable[[], PriceBook],
        *,
        servers: Callable[[UpstreamSpec], Upstream] | None = None,
        clock: Clock,
        new_id: Callable[[], str],
        verifier: TokenVerifier | None = None,
        terms: Terms | None = None,
        counters_of: CountersOf = no_counters,
        unheld: UnheldCalls | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        terms = terms or Terms()
        opened: Servers[Upstream] = Servers(upstream, servers)
        self._parts = GateParts(
            ledger=ledger,
            rules=CurrentRules(ledger, book, counters_of),
            clock=clock,
            new_id=new_id,
            default_server=opened.own_spec,
            verifier=verifier,
            terms=terms,
            kept=KeptAnswers(terms.answers_kept_max, terms.answers_bytes_max),
            repetitions=Repetitions(),
            draining=Draining(terms.draining_max),
            outage=Outage(ledger, unheld, clock),
            stops=HardStops(),
            telemetry=telemetry or NoTelemetry(),
        )
        self._ends = HoldEnds(ledger)
        self.draining = self._parts.draining
        self.stops = self._parts.stops
        self._waiting = Reserving(self._parts, WaitingLanes(ledger, self._ends))
        self._calling = Calling(
            self._parts, ThreadLanes(ledger, self._ends), self._ends, blocking(opened)
        )

    def handle(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host,
        headers: Mapping[str, str] | None = None,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply:
        """Answer one request; every failure is a reply, nothing is raised.

        Args:
            route: `chat/completions`, `responses` or `embeddings`, or what `route_of` says.
            body: the client's JSON.
            host: the front door it came through.
            headers: request headers with lower-case names; `authorization` and `x-spend-*` are
            read.
            vouched: what the platform says about the caller; None where it isn't asked.
        """
        incoming = Incoming(route, body, host, headers or {}, vouched)
        return run_now(self._calling.handle(incoming))

    def stream(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host,
        headers: Mapping[str, str] | None = None,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply | Generator[StreamChunk]:
        """Answer one request that asks for a stream; nothing is raised.

        A reply is a refusal, a failure before the first chunk, or a whole answer with `chunks`. A
        generator that is closed before its end says that the client has left.
        """
        incoming = Incoming(route, body, host, headers or {}, vouched, may_stream=True)
        answer = run_now(self._calling.stream(incoming))
        if isinstance(answer, Reply):
            return answer
        return run_now(answer.begin()) or _chunks(answer)

    def admit(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host,
        headers: Mapping[str, str] | None = None,
        vouched: Mapping[str, str] | None = None,
        may_stream: bool = False,
    ) -> Admission | Reply:
        """Hold the money of one call, or answer why not. Who gets an Admission must `finish` it."""
        incoming = Incoming(route, body, host, headers or {}, vouched, may_stream)
        return run_now(self._calling.reserving.admit(incoming))

    def admitting(
        self, route: str, body: Mapping[str, object], *, host: Host, may_stream: bool = False
    ) -> Coroutine[Any, Any, Admission | Reply]:
        """Return the same as work for `run_on`, which leaves the thread where it has to wait."""
        return self._waiting.admit(Incoming(route, body, host, may_stream=may_stream))

    def finish(self, admission: Admission, ending: Ending) -> Reply:
        """End the hold of an admitted call as the outcome says, and write the reply."""
        return run_now(self._calling.settling.finish(admission, ending))

    def explain(
        self,
        route: str,
        body: Mapping[str, object],
        *,
        host: Host = Host.ENDPOINT,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        """Say what would happen to a request and why, without holding or sending anything.

        Raises:
            SpendgateError: what `handle` would have answered as an error.
        """
        # A call learns of newer rules when it reserves; here nothing is reserved.
        self._parts.rules.refresh()
        reserving = self._calling.reserving
        arrival = reserving.arrival(Incoming(route, body, host, headers or {}, may_stream=True))
        prepared = run_now(reserving.prepare(arrival, is_recorded=False))
        return explained(prepared, self._parts.ledger)

    def on_event_loop(
        self,
        upstream: AsyncUpstream | None,
        threads: Executor,
        servers: AsyncServers | None = None,
        at_once: Ledger | None = None,
    ) -> AsyncGateway:
        """Return this same gate for an event loop; `threads` look at the ledger for it.

        `at_once` is the ledger where it needs no waiting: its verbs then run on the loop itself.
        """
        return AsyncGateway(self._parts, self._ends, upstream, servers, threads, at_once)

    @property
    def policy(self) -> Policy | None:
        """The policy as last read; None before the first call."""
        rules = self._parts.rules.at_hand
        return None if rules is None else rules.policy

    @property
    def named_servers(self) -> tuple[UpstreamSpec, ...]:
        """The servers of the policy as last read."""
        rules = self._parts.rules.at_hand
        return () if rules is None else rules.policy.upstreams

    def refresh(self) -> None:
        """Reread policy and prices if they changed; a reserve notices a change by itself."""
        self._parts.rules.refresh()

    def settle_late(self) -> int:
        """Repeat what the ledger couldn't take, ends of holds and calls of an outage.

        Returns how many still wait.
        """
        return self._ends.repeat() + self._parts.outage.book()


def _chunks(call: StreamedCall) -> Generator[StreamChunk]:
    try:
        while chunks := run_now(call.read()):
            yield from chunks
    finally:
        if not call.is_over:
            call.leave()
            # Not a daemon: a process that ends waits until the money is settled.
            threading.Thread(target=_read_on, args=(call,), name="spendgate-drain").start()


def _read_on(call: StreamedCall) -> None:
    while run_now(call.read()):
        pass
