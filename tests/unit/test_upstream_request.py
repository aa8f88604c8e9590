"""What each kind of server is sent: its path, its own model name, its way of telling who pays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.upstream_request import TAGS_BYTES_MAX, TAGS_HEADER, shape_request
from spendgate.domain.upstream import UpstreamKind, UpstreamSpec, WorkspacePath

CHAT, EMBEDDINGS = "chat/completions", "embeddings"
BODY: dict[str, Any] = {
    "model": "mine",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 5,
    "unknown": {"a": [1]},
    "usage_context": {"agent": "triage-bot", "org": "acme"},
    "client_request_id": "r#1",
}


def workspace(path: WorkspacePath, **fields: Any) -> UpstreamSpec:
    return UpstreamSpec("w", kind=UpstreamKind.DATABRICKS, path=path, **fields)


def test_an_openai_server_is_sent_the_whole_body() -> None:
    sent = shape_request(UpstreamSpec("u"), "http://h/v1", CHAT, BODY)

    assert (sent.url, sent.body, sent.headers) == ("http://h/v1/chat/completions", BODY, {})


def test_a_strict_server_is_not_sent_what_it_would_refuse() -> None:
    sent = shape_request(UpstreamSpec("u", sends_usage_context=False), "http://h/v1", CHAT, BODY)

    assert sent.body == {k: v for k, v in BODY.items() if not k.startswith(("usage", "client"))}


def test_a_server_is_sent_its_own_name_of_the_model() -> None:
    aliases = {"mine": "meta/their model"}

    plain = shape_request(UpstreamSpec("u", aliases=aliases), "http://h/v1", CHAT, BODY)
    endpoint = shape_request(
        workspace(WorkspacePath.INVOCATIONS, aliases=aliases), "https://w", CHAT, BODY
    )

    assert plain.body["model"] == "meta/their model"
    assert endpoint.url == "https://w/serving-endpoints/meta%2Ftheir%20model/invocations"


@pytest.mark.parametrize("route", [CHAT, EMBEDDINGS])
def test_an_endpoint_is_invoked_by_its_name_alone(route: str) -> None:
    sent = shape_request(workspace(WorkspacePath.INVOCATIONS), "https://w", route, BODY)

    assert sent.url == "https://w/serving-endpoints/mine/invocations"
    assert sent.body == {name: value for name, value in BODY.items() if name != "model"}
    assert sent.headers == {}


@pytest.mark.parametrize("path", [WorkspacePath.OPENAI, WorkspacePath.INVOCATIONS])
def test_other_routes_of_a_workspace_take_the_openai_path(path: WorkspacePath) -> None:
    sent = shape_request(workspace(path), "https://w", "responses", BODY)

    assert (sent.url, sent.body) == ("https://w/serving-endpoints/responses", BODY)


def test_the_openai_path_of_a_workspace_takes_the_body_as_it_is() -> None:
    sent = shape_request(workspace(WorkspacePath.OPENAI), "https://w", CHAT, BODY)

    assert (sent.url, sent.body) == ("https://w/serving-endpoints/chat/completions", BODY)


def test_the_ai_gateway_is_told_in_its_header_and_not_in_the_body() -> None:
    sent = shape_request(workspace(WorkspacePath.AI_GATEWAY), "https://w", CHAT, BODY)

    assert sent.url == "https://w/ai-gateway/mlflow/v1/chat/completions"
    assert "usage_context" not in sent.body
    assert "client_request_id" not in sent.body
    assert sent.body["model"] == "mine"
    tags = json.loads(sent.headers[TAGS_HEADER])
    assert tags == {"client_request_id": "r#1", "agent": "triage-bot", "org": "acme"}


def test_a_workspace_that_is_not_told_who_pays_gets_neither() -> None:
    for path in WorkspacePath:
        sent = shape_request(workspace(path, sends_usage_context=False), "https://w", CHAT, BODY)

        assert "usage_context" not in sent.body
        assert "client_request_id" not in sent.body
        assert sent.headers == {}


@given(st.dictionaries(st.text(max_size=80), st.text(max_size=300) | st.integers(), max_size=20))
def test_tags_always_fit_a_header(context: dict[str, Any]) -> None:
    body = {**BODY, "usage_context": context}

    sent = shape_request(workspace(WorkspacePath.AI_GATEWAY), "https://w", CHAT, body)

    header = sent.headers[TAGS_HEADER]
    assert len(header) <= TAGS_BYTES_MAX
    assert header.isascii()
    assert header.isprintable()
    tags = json.loads(header)
    assert all(isinstance(value, str) for value in tags.values())
    assert tags["client_request_id"] == "r#1"


def test_a_client_cannot_name_the_hold() -> None:
    body = {**BODY, "usage_context": {"client_request_id": "another"}}

    sent = shape_request(workspace(WorkspacePath.AI_GATEWAY), "https://w", CHAT, body)

    assert json.loads(sent.headers[TAGS_HEADER]) == {"client_request_id": "r#1"}


def test_a_context_of_another_form_is_no_tag() -> None:
    body = {**BODY, "usage_context": ["x"]}

    sent = shape_request(workspace(WorkspacePath.AI_GATEWAY), "https://w", CHAT, body)

    assert json.loads(sent.headers[TAGS_HEADER]) == {"client_request_id": "r#1"}
