"""Any failures at any servers: the bill stays within the ledger, and both within the limit."""

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.price_book import load_price_book
from spendgate.domain.budget import Policy
from spendgate.domain.upstream import Cause, Retries, Router, Strategy, UpstreamSpec
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import (
    UpstreamAnswer,
    UpstreamLost,
    UpstreamNotSent,
    UpstreamOutcome,
)
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
BOOK = load_price_book()
MODELS = ("databricks-dbrx-instruct", "databricks-mixtral-8x7b-instruct", "databricks-gpt-oss-20b")
RATES = {model: BOOK.price_for(model, at=NOON) for model in MODELS}
SERVERS = ("a", "b", "c")


@dataclass(frozen=True)
class Ending:
    """What a provider does with a call, and what part of its bound it bills."""

    kind: str
    part: float = 0.0

    def outcome(self, output_tokens: int) -> UpstreamOutcome:
        if self.kind == "answer":
            usage = {"prompt_tokens": 10, "completion_tokens": output_tokens}
            return UpstreamAnswer(200, {"choices": [], "usage": usage})
        if self.kind == "not sent":
            return UpstreamNotSent("ConnectError")
        if self.kind == "lost":
            return UpstreamLost("ReadTimeout")
        return UpstreamAnswer(int(self.kind), None, is_key_renewed=self.kind == "401")


@dataclass
class Provider:
    """All servers of one account: bills every call by its own reckoning."""

    script: list[Ending]
    bill: Counter[str] = field(default_factory=Counter[str])
    sent: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    def client(self, name: str) -> "Client":
        return Client(name, self)


@dataclass
class Client:
    name: str
    provider: Provider

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        del route
        sent: dict[str, Any] = json.loads(json.dumps(body))
        provider, model = self.provider, sent["model"]
        provider.sent.append((sent["client_request_id"], model, self.name))
        ending = provider.script.pop(0) if provider.script else Ending("answer", 1.0)
        tokens = int(sent["max_tokens"] * ending.part)
        if ending.kind in {"answer", "500", "503", "lost", "408"}:
            price = RATES[model]
            assert price is not None
            pico = 10 * price.rate("input") + tokens * price.rate("output")  # type: ignore[arg-type]
            provider.bill[sent["client_request_id"]] += -(-pico // 1000)
        return ending.outcome(tokens)

    def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.call(route, body)


endings = st.builds(
    Ending,
    st.sampled_from(["answer", "not sent", "lost", "401", "404", "408", "429", "500", "503"]),
    st.floats(0, 1),
)
servers = st.lists(
    st.builds(
        UpstreamSpec,
        st.sampled_from(SERVERS),
        st.just("http://models.example"),
        models=st.lists(st.sampled_from(MODELS), min_size=1, unique=True).map(tuple),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
).map(tuple)
routers = st.builds(
    Router,
    strategy=st.sampled_from(Strategy),
    candidates=st.lists(st.sampled_from(MODELS), max_size=3, unique=True).map(tuple),
    fallbacks=st.sampled_from([{}, {MODELS[0]: MODELS[1:]}, {MODELS[1]: (MODELS[2],)}]),
    retries=st.builds(
        Retries,
        st.none() | st.integers(1, 5),
        backoff_seconds=st.just(0.0001),
        causes=st.lists(st.sampled_from(Cause), unique=True).map(tuple),
    ),
)


@given(
    script=st.lists(endings, max_size=24),
    named=servers,
    router=routers,
    asked=st.lists(st.sampled_from([*MODELS, "auto"]), min_size=1, max_size=6),
    limit_micro=st.integers(100, 4000),
)
@settings(max_examples=300)
def test_no_retry_passes_a_limit_or_goes_without_its_own_hold(
    script: list[Ending],
    named: tuple[UpstreamSpec, ...],
    router: Router,
    asked: list[str],
    limit_micro: int,
) -> None:
    ledger, provider = MemoryLedger(), Provider(list(script))
    row = {"id": "all", "scope": {}, "limit_usd": f"{limit_micro / 10**6:.6f}", "window": "day"}
    policy = Policy((parse_budget(row, where="test"),), upstreams=named, router=router)
    ledger.policies.import_policy(policy)
    ids = itertools.count(1)
    gateway = Gateway(
        ledger,
        provider.client("own"),
        lambda: BOOK,
        servers=lambda spec: provider.client(spec.name),
        clock=lambda: NOON,
        new_id=lambda: f"call-{next(ids)}",
        terms=Terms(held_wait_seconds=0.0),
    )

    spends: list[Any] = []
    for model in asked:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300}
        spends.append(gateway.handle(CHAT, body, host=Host.ASGI).body.get("spend"))

    events = []
    while (batch := ledger.outbox.claim_batch(100)) is not None:
        events += batch.events
        ledger.outbox.confirm_batch(batch.number)
    spent = sum(one.spent_nano for one in ledger.balances())
    by_hold = {event.hold_id: event for event in events}
    # Every attempt has a hold of its own, which records who it was made at.
    assert len({hold for hold, _, _ in provider.sent}) == len(provider.sent) == len(events)
    assert all(
        (by_hold[hold].facts.model, by_hold[hold].facts.upstream) == (model, name)
        for hold, model, name in provider.sent
    )
    # What the provider bills is within each hold's charge, and all of it within the limit.
    assert all(provider.bill[hold] <= event.cost_nano for hold, event in by_hold.items())
    assert sum(event.cost_nano for event in events) == spent <= limit_micro * 1000
    assert sum(one.held_nano for one in ledger.balances()) == 0
    # The caller is told the cost of all attempts.
    for spend in spends:
        if spend is not None:
            own = [event for event in events if event.hold_id.startswith(f"{spend['request_id']}#")]
            assert round(float(spend["cost_usd"]) * 10**9) == sum(one.cost_nano for one in own)
