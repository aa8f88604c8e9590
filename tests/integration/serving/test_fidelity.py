"""Any OpenAI body reaches the model server as it is, and any answer its client, by both doors.

Through MLflow's own parsing and signature enforcement, the real gate, and a model server in this
process that keeps what it was sent.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from mlflow.pyfunc import PyFuncModel
from tests.integration.serving.front_doors import Door, opened_doors
from tests.integration.serving.openai_bodies import (
    AUDIO_TOKENS,
    FILE_TOKENS,
    IMAGE_TOKENS,
    answers,
    chat_bodies,
    embedding_bodies,
    unknown_fields,
)

from spendgate.adapters.budget_codec import parse_budget, parse_model
from spendgate.adapters.openai_answer import parsed_answer
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.domain.budget import Policy
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import UpstreamAnswer, UpstreamOutcome
from spendgate.gateway.wire import CHAT, EMBEDDINGS, MAX_TOKENS_FIELDS

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOOK = load_price_book()
CHAT_MODEL = "databricks-claude-sonnet-4-5"
EMBEDDING_MODEL = "databricks-gte-large-en"
POLICY_FIELDS = {"model", "usage_context", "client_request_id", *MAX_TOKENS_FIELDS}
"""All that the gate may write into a body (docs/architecture.md, the life of a request)."""

HOSTS = pytest.mark.parametrize("host", ["endpoint", "app"])
EXAMPLES = settings(max_examples=100, deadline=None)


@dataclass
class KeepingUpstream:
    """Answers with what it is told, parsed as the adapters parse it, and keeps what it was sent."""

    name: str = "keeping"
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        self.bodies.append(json.loads(json.dumps(body)))
        return UpstreamAnswer(200, parsed_answer(json.dumps(self.answer).encode()))

    def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.call(route, body)


@dataclass
class AwaitedUpstream:
    """The same for an event loop."""

    kept: KeepingUpstream
    name: str = "keeping"

    async def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.kept.call(route, body)

    async def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.kept.call(route, body)

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(scope="module")
def upstream() -> KeepingUpstream:
    return KeepingUpstream()


@pytest.fixture(scope="module")
def doors(
    tmp_path_factory: pytest.TempPathFactory, pyfunc_model: PyFuncModel, upstream: KeepingUpstream
) -> Iterator[dict[str, Door]]:
    """One gate behind both doors; its budget is never the reason for anything."""
    ledger = SqliteLedger(SqliteStore(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    row = {"id": "all", "scope": {}, "limit_usd": 10**9, "window": "lifetime"}
    caps = {"image_tokens": IMAGE_TOKENS, "audio_tokens": AUDIO_TOKENS, "file_tokens": FILE_TOKENS}
    ledger.policies.import_policy(
        Policy(
            budgets=(parse_budget(row, where="test"),),
            models={CHAT_MODEL: parse_model(caps, where="test")},
        )
    )
    ids = itertools.count(1)
    gateway = Gateway(
        ledger, upstream, lambda: BOOK, clock=lambda: NOON, new_id=lambda: f"call-{next(ids)}"
    )
    with opened_doors(pyfunc_model, gateway, AwaitedUpstream(upstream)) as doors:
        yield {door.name: door for door in doors}
    ledger.close()


def as_text(fields: Mapping[str, Any]) -> dict[str, str]:
    """Write each field so that 1, 1.0 and True differ, and so does the order inside of it.

    A provider's prompt cache finds a prefix again only if tools and messages keep their order.
    """
    return {name: json.dumps(value) for name, value in fields.items()}


def but(fields: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def check_policy_fields(asked: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
    """Check what may differ: each in its documented way only."""
    assert sent["model"] == CHAT_MODEL
    assert sent["client_request_id"].startswith("call-")
    scopes = but(sent["usage_context"], set(asked.get("usage_context") or {}))
    assert scopes == {"user": "anonymous"}
    assert (
        as_text(asked.get("usage_context") or {}).items() <= as_text(sent["usage_context"]).items()
    )
    wished = {name for name in MAX_TOKENS_FIELDS if asked.get(name) is not None}
    assert {"max_tokens", "max_completion_tokens"} & set(sent)
    for name in set(MAX_TOKENS_FIELDS) & set(sent):
        if sent[name] is not None:
            assert 1 <= sent[name] <= min((asked[one] for one in wished), default=2**31)
        else:
            assert asked[name] is None
    assert wished <= set(sent)


def sent_by(door: Door, upstream: KeepingUpstream, *call: Any) -> dict[str, Any]:
    """Make a call, which must succeed, and return what the model server was sent for it."""
    upstream.bodies.clear()
    answer = door.ask(*call)
    assert answer.status_code == 200, answer.text
    [sent] = upstream.bodies
    return sent


@HOSTS
@EXAMPLES
@given(body=chat_bodies, unlisted=unknown_fields)
@example(
    body={
        "messages": [{"role": "user", "content": "hi"}],
        "user": "cut \ud83d",
        "seed": 2**63,
        "temperature": -0.0,
        "top_k": 1.0,
    },
    unlisted={"x_": {"b": 1, "a": [None, 1e300, 5e-324]}},
)
def test_a_chat_reaches_the_model_server_as_it_was_sent(
    doors: dict[str, Door],
    upstream: KeepingUpstream,
    host: str,
    body: dict[str, Any],
    unlisted: dict[str, Any],
) -> None:
    upstream.answer = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    sent = sent_by(doors[host], upstream, CHAT, CHAT_MODEL, body, unlisted)

    asked = {**body, **unlisted}
    assert as_text(but(sent, POLICY_FIELDS)) == as_text(but(asked, POLICY_FIELDS))
    check_policy_fields(asked, sent)


@HOSTS
@EXAMPLES
@given(body=embedding_bodies, unlisted=unknown_fields)
def test_texts_to_embed_reach_the_model_server_as_they_were_sent(
    doors: dict[str, Door],
    upstream: KeepingUpstream,
    host: str,
    body: dict[str, Any],
    unlisted: dict[str, Any],
) -> None:
    upstream.answer = {"data": [], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    sent = sent_by(doors[host], upstream, EMBEDDINGS, EMBEDDING_MODEL, body, unlisted)

    own = {"model", "usage_context", "client_request_id"}
    assert as_text(but(sent, own)) == as_text({**body, **unlisted})


@HOSTS
@EXAMPLES
@given(given_answer=answers)
def test_an_answer_reaches_its_client_as_it_was_given(
    doors: dict[str, Door], upstream: KeepingUpstream, host: str, given_answer: dict[str, Any]
) -> None:
    upstream.answer = given_answer

    answer = doors[host].ask(
        CHAT, CHAT_MODEL, {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 600}
    )

    assert answer.status_code == 200, answer.text
    found = json.loads(answer.content)
    spend = found.pop("spend")
    assert as_text(found) == as_text(given_answer)
    assert spend["usage_source"] == "reported"
