"""Databricks through its own doors: OAuth by the unmodified SDK, paths, tags, expired tokens."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spendgate.cli.upstream_check import check_server
from spendgate.domain.hold import EventKind
from spendgate.errors import HostError
from spendgate.gateway.wire import CHAT, EMBEDDINGS

if TYPE_CHECKING:
    from tests.integration.upstreams.conftest import OpenedHost, Workspace

MODEL, EMBEDDER = "databricks-claude-sonnet-4-5", "databricks-gte-large-en"
WAYS = ["threads", "event loop"]
OWN = {"org": "acme", "agent": "triage-bot"}
PATHS = {
    "invocations": f"/serving-endpoints/{MODEL}/invocations",
    "openai": "/serving-endpoints/chat/completions",
    "ai_gateway": "/ai-gateway/mlflow/v1/chat/completions",
}


def policy(**fields: Any) -> dict[str, Any]:
    return {
        "budgets": [{"id": "all", "scope": {}, "limit_usd": 5}],
        "upstreams": {"workspace": {"kind": "databricks", **fields}},
    }


def chat(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "sort these tickets"}]
    return {"model": MODEL, "messages": messages, "max_tokens": 50, "custom_inputs": OWN, **fields}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", PATHS)
def test_a_chat_goes_through_each_door_and_is_billed_by_its_hold(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", way: str, path: str
) -> None:
    host = open_host(policy(path=path))

    (reply,) = host.ask(way, [chat()])

    assert reply.status == 200
    ((door, headers, body),) = workspace.requests
    assert door == PATHS[path]
    assert headers["authorization"] == f"Bearer {workspace.tokens[0]}"
    assert body.get("model") == (None if path == "invocations" else MODEL)
    assert body["max_tokens"] == 50
    assert "custom_inputs" not in body
    (event,) = host.events()
    if path == "ai_gateway":
        tags = json.loads(headers["databricks-ai-gateway-request-tags"])
        assert tags == {"client_request_id": event.hold_id, **OWN}
        assert not body.keys() & {"usage_context", "client_request_id"}
    else:
        assert (body["client_request_id"], body["usage_context"]) == (event.hold_id, OWN)
        assert "databricks-ai-gateway-request-tags" not in headers
    assert workspace.bill()["by_client_request_id"] == {event.hold_id: event.cost_nano}
    assert event.facts.upstream == "workspace"


@pytest.mark.parametrize("path", PATHS)
def test_embeddings_go_through_each_door(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", path: str
) -> None:
    host = open_host(policy(path=path))

    (reply,) = host.ask("threads", [{"model": EMBEDDER, "input": "hello"}], EMBEDDINGS)

    assert reply.status == 200
    assert workspace.bill()["by_model"].keys() == {EMBEDDER}
    assert workspace.bill()["total_nano_usd"] == host.spent_nano > 0


@pytest.mark.parametrize("way", WAYS)
def test_an_endpoint_of_another_name_serves_the_model(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", way: str
) -> None:
    host = open_host(policy(aliases={"our-sonnet": MODEL}, url=workspace.url))
    host.ledger.policies.put_price(
        '{"model": "our-sonnet", "effective_from": "2026-01-01T00:00:00Z", "source": "test",'
        ' "usd_per_million": {"input": "3.00", "output": "15.00"}, "caches_implicitly": false}'
    )

    (reply,) = host.ask(way, [chat(model="our-sonnet")])

    assert reply.status == 200
    assert workspace.requests[0][0] == PATHS["invocations"]


@pytest.mark.parametrize("way", WAYS)
def test_many_calls_share_one_token(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", way: str
) -> None:
    host = open_host(policy())

    replies = host.ask(way, [chat()] * 24)

    assert [reply.status for reply in replies] == [200] * 24
    assert len(workspace.tokens) == 1
    assert workspace.bill()["total_nano_usd"] == host.spent_nano


@pytest.mark.parametrize("way", WAYS)
def test_a_token_that_is_refused_is_renewed_and_the_call_made_again_with_its_own_hold(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", way: str
) -> None:
    host = open_host(policy())
    # The first token is no longer good when it is used, as after a revocation.
    workspace.refuses_first = True

    (reply,) = host.ask(way, [chat()])

    assert reply.status == 200
    voided, settled = host.events()
    assert [voided.kind, settled.kind] == [EventKind.VOIDED, EventKind.SETTLED]
    assert [body["client_request_id"] for _, _, body in workspace.requests] == [
        voided.hold_id,
        settled.hold_id,
    ]
    assert len(workspace.tokens) == 2
    assert workspace.bill()["by_client_request_id"] == {settled.hold_id: settled.cost_nano}


@pytest.mark.parametrize("way", WAYS)
def test_a_workspace_that_refuses_every_token_is_asked_twice_and_no_more(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", way: str
) -> None:
    host = open_host(policy())
    workspace.refuses_all = True

    (reply,) = host.ask(way, [chat()])

    assert (reply.status, reply.body["error"]["code"]) == (401, "upstream_error")  # type: ignore[index]
    assert len(workspace.requests) == 2
    assert host.spent_nano == host.held_nano == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_token_server_that_hangs_sends_nothing_and_costs_nothing(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", way: str
) -> None:
    host = open_host(policy(), upstream_token_seconds=0.2)
    workspace.answers.clear()

    (reply,) = host.ask(way, [chat()])

    workspace.answers.set()
    assert (reply.status, reply.body["retryable"]) == (502, True)
    assert workspace.requests == []
    assert host.spent_nano == host.held_nano == 0


def test_a_stream_goes_through_a_workspace_too(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace"
) -> None:
    from spendgate.gateway.wire import Host  # noqa: PLC0415 - here alone

    host = open_host(policy())
    workspace.refuses_first = True

    chunks = host.gateway.stream(CHAT, chat(stream=True), host=Host.ASGI)
    documents = [chunk.document for chunk in chunks if chunk.document]  # type: ignore[union-attr]

    assert documents[-1]["spend"]["cost_usd"]
    voided, settled = host.events()
    assert workspace.bill()["by_client_request_id"] == {settled.hold_id: settled.cost_nano}
    assert voided.cost_nano == 0


def test_the_doctor_asks_each_server_with_its_key(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace", simulator: Any
) -> None:
    with simulator() as local:
        described = policy()
        described["upstreams"] |= {
            "local": {"url": local.url},
            "keyless": {"url": local.url, "key": "env:NOBODY_HAS_SET_THIS"},
            "down": {"url": "http://127.0.0.1:9/v1"},
        }
        host = open_host(described)

        found = {
            spec.name: check_server(spec, host.settings)
            for spec in host.ledger.policies.policy().upstreams
        }

    assert found["workspace"] == (True, f"{workspace.url} answers")
    assert found["local"] == (True, f"{local.url}/v1 answers")
    assert found["down"] == (False, "http://127.0.0.1:9/v1: ConnectError")
    assert found["keyless"][0] is False
    assert "its environment variable isn't set" in found["keyless"][1]


def test_the_doctor_tells_a_refused_token(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace"
) -> None:
    host = open_host(policy())
    workspace.refuses_all = True
    (spec,) = host.ledger.policies.policy().upstreams

    assert check_server(spec, host.settings) == (False, f"{workspace.url} answers 401")


def test_the_workspace_can_be_a_host_s_own_server(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace"
) -> None:
    own = {"budgets": [{"id": "all", "scope": {}, "limit_usd": 5}]}
    host = open_host(own, upstream_url="databricks")

    (reply,) = host.ask("threads", [chat()])

    assert reply.status == 200
    ((door, _, _),) = workspace.requests
    assert door == PATHS["invocations"]
    assert workspace.bill()["total_nano_usd"] == host.spent_nano > 0


def test_a_key_beside_the_workspace_s_own_credentials_is_refused(
    open_host: Callable[..., "OpenedHost"], workspace: "Workspace"
) -> None:
    own = {"budgets": [{"id": "all", "scope": {}, "limit_usd": 5}]}

    with pytest.raises(HostError, match="unset SPENDGATE_UPSTREAM_API_KEY"):
        open_host(own, upstream_url="databricks", upstream_api_key="k")
