"""A whole gate over a real ledger in a temporary folder; model server and clock are fakes."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.slow_upstream import run_on_loop

from spendgate.adapters.budget_codec import parse_budget, parse_defaults, parse_model
from spendgate.adapters.price_book import parse_price_row
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.upstream_codec import parse_router, parse_upstream
from spendgate.domain.budget import Budget, Policy
from spendgate.domain.price import PriceBook
from spendgate.errors import LedgerUnavailableError
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.outage import UnheldCalls
from spendgate.gateway.ports import Telemetry, TokenVerifier, UpstreamAnswer, UpstreamOutcome
from spendgate.gateway.reply import Reply
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host

# Any JSON: what a test reads from it is what it asserts on.
Json = dict[str, Any]
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def price_row(model: str, usd_in: str, usd_out: str | None, **fields: object) -> Json:
    rates = {"input": usd_in} if usd_out is None else {"input": usd_in, "output": usd_out}
    return {
        "model": model,
        "kind": "embedding" if usd_out is None else "chat",
        "effective_from": "2026-01-01T00:00:00Z",
        "usd_per_million": rates,
        "caches_implicitly": False,
        "source": "test",
        **fields,
    }


SHIPPED = (
    price_row("big", "3.00", "15.00"),
    price_row("mid", "1.00", "5.00"),
    price_row("small", "0.30", "1.50"),
    price_row("short", "3.00", "15.00", output_tokens_max=100),
    price_row("embed", "0.10", None),
)


def an_answer(usage: object = USAGE, content: str = "hello") -> UpstreamAnswer:
    body: Json = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
            }
        ],
        "system_fingerprint": "fp_1",
    }
    return UpstreamAnswer(200, body if usage is None else {**body, "usage": usage})


class FakeUpstream:
    """Plays its script, one entry per call, and then answers normally; keeps what it was sent."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.script: deque[
            UpstreamOutcome | BaseException | Callable[[Mapping[str, object]], UpstreamOutcome]
        ] = deque()
        self.bodies: list[Json] = []
        self.routes: list[str] = []

    def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        self.routes.append(route)
        self.bodies.append(json.loads(json.dumps(body)))
        step = self.script.popleft() if self.script else an_answer()
        if isinstance(step, BaseException):
            raise step
        return step(body) if callable(step) else step


class SettableClock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)


class FailingLedger:
    """The real ledger, but for the verbs that are told to fail."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger
        self.failing: dict[str, Exception] = {}

    def break_down(self, *verbs: str, error: Exception | None = None) -> None:
        self.failing = dict.fromkeys(verbs, error or LedgerUnavailableError("it is away"))

    def __getattr__(self, name: str) -> Any:
        if name in self.failing:
            raise self.failing[name]
        return getattr(self._ledger, name)


@dataclass
class Gate:
    """A gateway with its parts, and short ways to call it and to look at the money."""

    gateway: Gateway
    ledger: SqliteLedger
    failing: FailingLedger
    upstream: FakeUpstream
    clock: SettableClock
    servers: dict[str, FakeUpstream]
    """What the policy's upstreams are, by their names."""

    _events: list[Any] = field(default_factory=list)
    _decisions: list[Any] = field(default_factory=list)

    def chat(
        self,
        *,
        host: Host = Host.ENDPOINT,
        headers: Mapping[str, str] | None = None,
        own: Json | None = None,
        vouched: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Reply:
        """Ask for a chat by alice on the big model; `own` adds to custom_inputs."""
        inputs = {"model": "big", "user": "alice", **(own or {})}
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 100,
            "custom_inputs": {name: value for name, value in inputs.items() if value is not None},
            **fields,
        }
        sent = {name: value for name, value in body.items() if value is not ...}
        return self.send(sent, host=host, headers=headers, vouched=vouched)

    def send(
        self,
        body: Mapping[str, object],
        *,
        route: str = CHAT,
        host: Host = Host.ENDPOINT,
        headers: Mapping[str, str] | None = None,
        vouched: Mapping[str, str] | None = None,
    ) -> Reply:
        reply = self.gateway.handle(route, body, host=host, headers=headers, vouched=vouched)
        json.dumps(reply.body)  # whatever happens, a host can send it
        return reply

    @property
    def spent_nano(self) -> int:
        return sum(row.spent_nano for row in self.ledger.balances())

    @property
    def held_nano(self) -> int:
        return sum(row.held_nano for row in self.ledger.balances())

    @property
    def events(self) -> list[Any]:
        """All spend events so far, oldest first; each call of this reads on."""
        self._read_outbox()
        return self._events

    @property
    def decisions(self) -> list[Any]:
        self._read_outbox()
        return self._decisions

    def _read_outbox(self) -> None:
        while (batch := self.ledger.outbox.claim_batch(100)) is not None:
            self._events += batch.events
            self._decisions += batch.decisions
            self.ledger.outbox.confirm_batch(batch.number)


@pytest.fixture
def budget() -> Callable[..., Budget]:
    """Make a budget as the policy file writes it; $10 a day for every user by default."""

    def make(**fields: object) -> Budget:
        row = {"id": "users", "scope": {"user": "*"}, "limit_usd": 10, "window": "day", **fields}
        return parse_budget(row, where="test")

    return make


@pytest.fixture
def book() -> PriceBook:
    """The prices that a gate has where nobody adds some."""
    return PriceBook(tuple(map(parse_price_row, SHIPPED)))


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
def answer() -> Callable[..., UpstreamAnswer]:
    """Make an answer of 200 with a usage of 20 + 5 tokens, or another usage, or None."""
    return an_answer


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(SqliteStore(tmp_path / "ledger.db", busy_seconds=30))
    yield ledger
    ledger.close()


@pytest.fixture
def gate(
    ledger: SqliteLedger,
    upstream: FakeUpstream,
    clock: SettableClock,
    budget: Callable[..., Budget],
) -> Callable[..., Gate]:
    """Open a gate with some budgets ($10 a day per user by default)."""

    def open_gate(
        *budgets: Budget,
        verifier: TokenVerifier | None = None,
        defaults: Json | None = None,
        models: Json | None = None,
        upstreams: Json | None = None,
        router: Json | None = None,
        has_default: bool = True,
        unheld: UnheldCalls | None = None,
        telemetry: Telemetry | None = None,
        **terms: Any,
    ) -> Gate:
        ledger.policies.import_policy(
            Policy(
                budgets=budgets or (budget(),),
                defaults=parse_defaults(defaults or {}, where="test"),
                models={
                    name: parse_model(limits, where="test")
                    for name, limits in (models or {}).items()
                },
                upstreams=tuple(
                    parse_upstream(name, row, where="test")
                    for name, row in (upstreams or {}).items()
                ),
                router=parse_router(router or {}, where="test"),
            )
        )

        def read_book() -> PriceBook:
            own = [json.loads(row) for row in ledger.policies.prices()]
            return PriceBook(tuple(parse_price_row(row) for row in (*SHIPPED, *own)))

        servers = {name: FakeUpstream(name) for name in upstreams or {}}
        failing = FailingLedger(ledger)
        ids = (f"call-{number}" for number in itertools.count(1))
        gateway = Gateway(
            failing,  # type: ignore[arg-type]  # it passes every verb on
            upstream if has_default else None,
            read_book,
            servers=lambda spec: servers[spec.name],
            clock=clock,
            new_id=lambda: next(ids),
            verifier=verifier,
            terms=Terms(**{"held_wait_seconds": 0.0, **terms}),
            unheld=unheld,
            telemetry=telemetry,
        )
        return Gate(gateway, ledger, failing, upstream, clock, servers)

    return open_gate


@pytest.fixture(params=["threads", "at once"])
def on_loop(request: pytest.FixtureRequest, answer: Any) -> Callable[..., Any]:
    """Run a scenario with an opened gate on an event loop, with and without the ledger at once."""
    return partial(run_on_loop, answer=answer, at_once=request.param == "at once")
