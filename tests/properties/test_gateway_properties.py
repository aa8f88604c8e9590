"""Rules of the gateway for any body, any usage within what was granted, any end of a call."""

import itertools
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.adapters.budget_codec import parse_budget, parse_model
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.bound import MediaCaps, UnboundedError, cache_write_ttl, input_tokens_max
from spendgate.domain.budget import Budget, Policy
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import (
    UpstreamAnswer,
    UpstreamLost,
    UpstreamNotSent,
    UpstreamOutcome,
)
from spendgate.gateway.reply import Reply
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, EMBEDDINGS, MAX_TOKENS_FIELDS, Host

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
BOOK = load_price_book(["recipe"])
CHAT_MODELS = [
    model
    for model in BOOK.models()
    if (price := BOOK.price_for(model, at=NOON)) is not None and price.kind == "chat"
]
IMAGE_TOKENS = 1500
CAPS = MediaCaps(IMAGE_TOKENS)
CANARY = "CANARY5d2f"
OURS = {"model", "usage_context", "client_request_id"}


@dataclass
class ScriptedUpstream:
    """Answers with the outcome it was given, and keeps what it was sent."""

    name: str = "fake"
    outcome: UpstreamOutcome = field(default_factory=lambda: UpstreamAnswer(200, {}))
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        self.bodies.append(json.loads(json.dumps(body)))
        return self.outcome


@dataclass
class Opened:
    gateway: Gateway
    ledger: SqliteLedger
    upstream: ScriptedUpstream

    def chat(self, body: Mapping[str, object], route: str = CHAT) -> Reply:
        return self.gateway.handle(route, body, host=Host.ENDPOINT)

    def total(self, column: str) -> int:
        return sum(getattr(row, column) for row in self.ledger.balances())


def budget(**fields: object) -> Budget:
    row = {"id": "all", "scope": {}, "limit_usd": 10**9, "window": "lifetime", **fields}
    return parse_budget(row, where="test")


@contextmanager
def open_gate(folder: Path, policy: Policy) -> Generator[Opened]:
    """Open a gate with a ledger of its own, at noon."""
    ledger = SqliteLedger(SqliteStore(folder / "ledger.db"))
    ledger.policies.import_policy(policy)
    upstream, ids = ScriptedUpstream(), itertools.count(1)
    gateway = Gateway(
        ledger,
        upstream,
        lambda: BOOK,
        clock=lambda: NOON,
        new_id=lambda: f"call-{next(ids)}",
        terms=Terms(held_wait_seconds=0.0),
    )
    yield Opened(gateway, ledger, upstream)
    ledger.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """One gate for all examples; its budget is never the reason for anything."""
    limits = parse_model({"image_tokens": IMAGE_TOKENS}, where="test")
    policy = Policy(budgets=(budget(),), models=dict.fromkeys(CHAT_MODELS, limits))
    with open_gate(tmp_path_factory.mktemp("ledger"), policy) as gate:
        yield gate


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
unknown_fields = st.dictionaries(
    st.text("abcdefgh_", min_size=3, max_size=8).map("x_{}".format), json_values, max_size=3
)
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=200)}),
    st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
    st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}]).map(
        lambda control: {"type": "text", "text": "cached", "cache_control": control}
    ),
)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant"]),
            "content": st.text(max_size=400) | st.lists(parts, min_size=1, max_size=3),
        }
    ),
    min_size=1,
    max_size=4,
)
numbers = st.dictionaries(
    st.sampled_from(MAX_TOKENS_FIELDS), st.integers(1, 200_000), max_size=len(MAX_TOKENS_FIELDS)
)
choices = st.dictionaries(st.sampled_from(["n", "best_of"]), st.integers(1, 128), max_size=2)


@st.composite
def chat_bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid chat: with images, cache marks, choices, unknown fields."""
    extra = {f"y_{name}": value for name, value in draw(unknown_fields).items()}
    return {
        "messages": draw(messages),
        **draw(numbers),
        **draw(choices),
        **draw(unknown_fields),
        "custom_inputs": {
            "model": draw(st.sampled_from(CHAT_MODELS)),
            **({"extra_body": extra} if extra else {}),
        },
    }


def granted_tokens(sent: Mapping[str, Any]) -> int:
    limits = [sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent]
    return max(limits) * max(sent.get("n") or 1, sent.get("best_of") or 1)


@given(body=chat_bodies(), data=st.data())
def test_no_usage_within_the_grant_costs_more_than_was_held(
    opened: Opened, body: dict[str, Any], data: st.DataObject
) -> None:
    opened.upstream.outcome = UpstreamNotSent("first, to see what is sent")
    opened.chat(body)
    sent = opened.upstream.bodies[-1]
    model = body["custom_inputs"]["model"]

    input_tokens = data.draw(st.integers(1, input_tokens_max(sent, caps=CAPS)))
    output_tokens = data.draw(st.integers(0, granted_tokens(sent)))
    price = BOOK.price_for(model, at=NOON, input_tokens=input_tokens)
    assert price is not None
    writes_max = input_tokens if price.caches_implicitly or cache_write_ttl(sent) else 0
    writes = data.draw(st.integers(0, writes_max))
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": data.draw(st.integers(0, input_tokens - writes)),
            "cache_write_tokens": writes,
        },
        "completion_tokens_details": {
            "reasoning_tokens": data.draw(st.integers(0, output_tokens)),
        },
    }
    opened.upstream.outcome = UpstreamAnswer(200, {"usage": usage})
    spend: Any = opened.chat(body).body["spend"]

    assert spend["usage_source"] == "reported"
    assert Decimal(spend["cost_usd"]) <= Decimal(spend["reserved_usd"])
    assert opened.total("held_nano") == 0


@given(body=chat_bodies())
def test_the_body_that_is_sent_is_the_clients_but_for_what_is_ours(
    opened: Opened, body: dict[str, Any]
) -> None:
    opened.upstream.outcome = UpstreamAnswer(200, {})
    before = json.dumps(body)

    reply = opened.chat(body)

    sent = opened.upstream.bodies[-1]
    asked = {name: value for name, value in body.items() if name != "custom_inputs"}
    asked |= body["custom_inputs"].get("extra_body", {})
    assert json.dumps(body) == before
    assert reply.status == 200
    assert sent["model"] == body["custom_inputs"]["model"]
    limits = set(MAX_TOKENS_FIELDS)
    assert {name: sent[name] for name in set(sent) - OURS - limits} == {
        name: asked[name] for name in set(asked) - limits
    }
    # A limit that any chat server knows, and every limit the client named, at most as it asked.
    assert {"max_tokens", "max_completion_tokens"} & set(sent)
    for name in limits & set(asked):
        assert 1 <= sent[name] <= asked[name]


odd_values = st.one_of(
    json_values,
    st.sampled_from([[], {}, "", "*", CANARY, [CANARY], {"a": CANARY}, True, -1, 10**30]),
    st.sampled_from([float("nan"), float("inf"), "\ud800", "\x00", [[[[]]]], [{"role": "user"}]]),
    st.just([{"role": "user", "content": CANARY}]),
)
known_fields = st.sampled_from(
    [
        *("messages", "input", "prompt", "model", "max_tokens", "max_completion_tokens", "n"),
        *("best_of", "tools", "functions", "tool_choice", "stream", "stream_options"),
        *("custom_inputs", "response_format", "usage_context", "metadata", "service_tier"),
        *("modalities", "audio", "scopeType", "scopeKey", "modelId", "user"),
    ]
)
own_fields = st.sampled_from(
    [
        *("model", "org", "team", "agent", "user", "session", "task", "tags", "spend_token"),
        *("idempotency_key", "extra_body"),
    ]
)


@given(
    route=st.sampled_from([CHAT, EMBEDDINGS]),
    fields=st.dictionaries(known_fields, odd_values, max_size=5),
    own=st.dictionaries(own_fields, odd_values, max_size=4),
)
@settings(max_examples=400)
def test_whatever_is_sent_is_answered_and_leaves_no_hold(
    opened: Opened, route: str, fields: dict[str, Any], own: dict[str, Any]
) -> None:
    opened.upstream.outcome = UpstreamAnswer(200, {})
    calls = len(opened.upstream.bodies)
    body = {
        "messages": [{"role": "user", "content": CANARY}],
        "input": CANARY,
        "custom_inputs": {"model": CHAT_MODELS[0], **own},
        **fields,
    }

    reply = opened.chat(body, route)

    assert reply.status in {200, 400, 401, 403, 409}
    json.dumps(reply.body)
    assert opened.total("held_nano") == 0
    if reply.status == 400:
        error: Any = reply.body["error"]
        assert error["code"] in {"invalid_request", "model_not_priced"}
        assert CANARY not in error["message"]
        assert len(opened.upstream.bodies) == calls


@st.composite
def billed_outcomes(draw: st.DrawFn) -> tuple[str, int, int]:
    """How a call ends, and which share of its grant the provider bills, in percent."""
    end = draw(st.sampled_from(["answered", "no usage", "lost", "failed", "refused", "not sent"]))
    return end, draw(st.integers(0, 100)), draw(st.integers(0, 100))


@given(
    limit_usd=st.sampled_from(["0.004", "0.02", "0.1"]),
    wanted=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    ends=st.lists(billed_outcomes(), min_size=12, max_size=12),
    fit=st.booleans(),
    is_chained=st.booleans(),
)
@settings(max_examples=60)
def test_no_run_of_calls_bills_more_than_the_limit(
    tmp_path_factory: pytest.TempPathFactory,
    limit_usd: str,
    wanted: list[int],
    ends: list[tuple[str, int, int]],
    fit: bool,
    is_chained: bool,
) -> None:
    model, cheaper = "databricks-claude-sonnet-4-5", "databricks-claude-haiku-4-5"
    chain = [{"from": [model], "to": cheaper}] if is_chained else []
    ledger = SqliteLedger(SqliteStore(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    ledger.policies.import_policy(
        Policy(budgets=(budget(limit_usd=limit_usd, fit=fit, auto_downgrade=chain),))
    )
    bill = BillingUpstream()
    ids = itertools.count(1)
    gateway = Gateway(
        ledger,
        bill,
        lambda: BOOK,
        clock=lambda: NOON,
        new_id=lambda: f"call-{next(ids)}",
        terms=Terms(held_wait_seconds=0.0),
    )

    for tokens, end in zip(wanted, ends, strict=False):
        bill.end = end
        body = {
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": tokens,
            "custom_inputs": {"model": model},
        }
        gateway.handle(CHAT, body, host=Host.ENDPOINT)

    balances, problems = ledger.balances(), ledger.audit().problems
    ledger.close()
    spent = sum(row.spent_nano for row in balances)
    assert bill.total_nano <= spent <= Decimal(limit_usd) * 10**9
    assert sum(row.held_nano for row in balances) == 0
    assert problems == ()


@dataclass
class BillingUpstream:
    """Bills by its own arithmetic whatever may be billed, also where the caller can't know."""

    name: str = "billing"
    end: tuple[str, int, int] = ("answered", 0, 0)
    total_nano: int = 0

    def stream(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, Any]) -> UpstreamOutcome:
        end, input_share, output_share = self.end
        if end == "not sent":
            return UpstreamNotSent("ConnectError")
        if end == "refused":
            return UpstreamAnswer(429, None)
        input_tokens = input_tokens_max(body) * input_share // 100
        output_tokens = granted_tokens(body) * output_share // 100
        price = BOOK.price_for(body["model"], at=NOON, input_tokens=input_tokens)
        assert price is not None
        pico = input_tokens * price.usd_pico["input"] + output_tokens * price.usd_pico["output"]  # type: ignore[index]  # a StrEnum equals its text
        self.total_nano += -(-pico // 1000)
        if end == "lost":
            return UpstreamLost("ReadTimeout")
        if end == "failed":
            return UpstreamAnswer(500, None)
        usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
        return UpstreamAnswer(200, {"usage": usage} if end == "answered" else {})


def test_the_strategies_make_bodies_that_can_be_bounded() -> None:
    """The properties above would prove nothing if their bodies were refused."""

    @given(body=chat_bodies())
    @settings(max_examples=20, database=None)
    def check(body: dict[str, Any]) -> None:
        try:
            input_tokens_max(body, caps=CAPS)
        except UnboundedError as error:
            raise AssertionError(str(error)) from None

    check()
