"""`spendgate serve` as it runs: MLflow's server, the gate, a ledger and a model server."""

import fcntl
import json
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.integration.serving.conftest import HostProcess, Recorder, Running

pytestmark = pytest.mark.server

CANARY = "the canary sings"
OWN = {"user", "spend_token", "idempotency_key", "extra_body", "tags"}
MODEL = "databricks-claude-haiku-4-5"


def chat(**fields: object) -> dict[str, object]:
    """Build a body; what belongs into `custom_inputs` is put there."""
    own = {"model": MODEL, "user": "rich"}
    return {
        "messages": [{"role": "user", "content": CANARY}],
        "max_tokens": 40,
        "custom_inputs": own | {name: fields.pop(name) for name in list(fields) if name in OWN},
        **fields,
    }


def test_a_call_is_answered_billed_and_reported(running_endpoint: "Running", upstream: "Recorder"):
    answer = running_endpoint.post(chat(temperature=None, tags={"cost_center": "4711"}))

    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["spend"]["decision"] == "allow"
    assert body["spend"]["usage_source"] == "reported"
    assert [one["scope"] for one in body["spend"]["budgets"]] == ["user:rich"]
    [sent] = upstream.bodies
    assert sent["model"] == MODEL
    assert sent["messages"] == chat()["messages"]
    assert sent["temperature"] is None
    assert "custom_inputs" not in sent


def test_everything_passes_both_ways_unchanged(running_endpoint: "Running", upstream: "Recorder"):
    parameters = {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}]}}}
    fields: dict[str, object] = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
                    },
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [tool_call()]},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"x": [1, 2.50, null]}'},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": parameters}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        "logit_bias": {"50256": -100},
        "seed": 17,
        "stop": None,
    }
    answer_sent = {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "message": {"content": None, "tool_calls": [tool_call()]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "more": {"a": 0}},
        "unheard_of": [None, {"deep": [[]]}],
    }
    upstream.answers.append((200, answer_sent))

    answer = running_endpoint.post(chat(extra_body={"unlisted": {"x": [0.1]}}, **fields))

    received = answer.json()
    spend = received.pop("spend")
    assert received == answer_sent
    assert spend["usage_source"] == "reported"
    [sent] = upstream.bodies
    assert {name: sent[name] for name in fields} == fields
    assert sent["unlisted"] == {"x": [0.1]}


def test_the_recipes_own_form_is_served(running_endpoint: "Running", upstream: "Recorder"):
    answer = running_endpoint.post(
        {
            "prompt": CANARY,
            "scopeType": "user",
            "scopeKey": "rich",
            "modelId": MODEL,
            "tools": ["t"],
        }
    )

    assert answer.status_code == 200
    assert answer.json()["spend"]["budgets"][0]["scope"] == "user:rich"
    assert upstream.bodies[0]["messages"] == [{"role": "user", "content": CANARY}]


def test_embeddings_take_the_same_door(running_endpoint: "Running", upstream: "Recorder"):
    own = {"model": "databricks-gte-large-en", "user": "rich"}

    answer = running_endpoint.post({"input": [CANARY, "b"], "custom_inputs": own})

    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 2
    assert answer.json()["spend"]["usage_source"] == "reported"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (chat(n=0), 400, "invalid_request"),
        (chat(max_tokens=CANARY), 400, "invalid_request"),
        (chat(messages=[{"content": CANARY}]), 400, "invalid_request"),
        (chat(stream="yes"), 400, "invalid_request"),
        (chat(custom_inputs={"model": "canary-1", "user": "rich"}), 400, "model_not_priced"),
        (chat(custom_inputs={"model": MODEL, "user": "*"}), 400, "invalid_request"),
        (chat(spend_token=CANARY), 401, "invalid_spend_token"),
        (chat(user="poor"), 402, "budget_exhausted"),
        (chat(user="nobody"), 403, "no_budget"),
        ({"messages": CANARY}, 400, "invalid_request"),
        ({"inputs": {"messages": [CANARY]}}, 400, "invalid_request"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refusal_names_its_reason_and_sends_nothing(
    running_endpoint: "Running",
    upstream: "Recorder",
    body: dict[str, object],
    status: int,
    code: str,
):
    answer = running_endpoint.post(body)

    assert answer.status_code == status
    error = answer.json()
    assert error["error"]["code"] == code
    assert error["error"]["message"]
    assert set(error["error"]) == {"type", "code", "message", "param"}
    assert {"error_code", "spend", "retryable", "suggested_model"} <= set(error)
    assert CANARY not in answer.text
    assert upstream.bodies == []


def test_an_idempotency_key_answers_once(running_endpoint: "Running", upstream: "Recorder"):
    first = running_endpoint.post(chat(idempotency_key="once"))
    again = running_endpoint.post(chat(idempotency_key="once"))
    other = running_endpoint.post(chat(idempotency_key="once", temperature=1))

    assert first.status_code == 200
    assert again.json() == first.json()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_upstreams_failure_keeps_its_status_but_not_its_text(
    running_endpoint: "Running", upstream: "Recorder", status: int
):
    upstream.answers.append((status, {"error": {"code": "some_code", "message": CANARY}}))

    answer = running_endpoint.post(chat())

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "upstream_error"
    assert "some_code" in answer.json()["error"]["message"]
    assert CANARY not in answer.text


def test_a_ledger_that_cant_be_reached_fails_closed(
    running_endpoint: "Running", upstream: "Recorder"
):
    with ExitStack() as stack:
        lock = stack.enter_context((running_endpoint.home / "ledger.db.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = running_endpoint.post(chat())

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "ledger_unavailable"
    assert answer.json()["retryable"] is True
    assert upstream.bodies == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"messages": ["' + b"the canary sings" * 1_310_720 + b'"]}', 413),
        (b'{"messages": ' + b"[" * 1_000_000, 400),
        (b"the canary sings", 400),
        (b'{"temperature": Infinity, "messages": ["the canary sings"]}', 400),
        (b'{"messages": [{"role": "user", "content": "the canary sings"}], "top_p": 1e999}', 400),
        (b'{"messages": [{"role": "user", "content": "\\ud83d the canary sings"}]}', 400),
    ],
    ids=["20 MB", "a million deep", "no JSON", "Infinity", "overflow", "half a surrogate"],
)
def test_bodies_that_break_servers_are_refused(
    running_endpoint: "Running", upstream: "Recorder", content: bytes, status: int
):
    answer = httpx.post(f"{running_endpoint.url}/invocations", content=content, timeout=60)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "invalid_request"
    assert CANARY not in answer.text
    assert upstream.bodies == []


def test_many_calls_run_at_once(running_endpoint: "Running", upstream: "Recorder"):
    upstream.meeting = threading.Barrier(24)  # MLflow's own six threads would never get together

    with ThreadPoolExecutor(24) as callers:
        answers = list(callers.map(lambda _: running_endpoint.post(chat()), range(24)))

    assert [answer.status_code for answer in answers] == [200] * 24


def test_the_bodies_of_mlflows_and_databricks_clients_work(
    running_endpoint: "Running", upstream: "Recorder"
):
    deployments = running_endpoint.post(chat())
    sdk = running_endpoint.post(chat(max_tokens=40.0, client_request_id="c-1"))
    records = running_endpoint.post({"dataframe_records": [chat()]})

    assert [deployments.status_code, sdk.status_code, records.status_code] == [200] * 3
    assert records.json()["predictions"]["spend"]["decision"] == "allow"
    assert [body["max_tokens"] for body in upstream.bodies] == [40] * 3


def test_nothing_that_was_said_is_in_the_log(running_endpoint: "Running", upstream: "Recorder"):
    running_endpoint.post(chat())
    running_endpoint.post(chat(user="poor"))
    running_endpoint.post(chat(**{CANARY: CANARY}))
    running_endpoint.post({"messages": CANARY})
    httpx.post(f"{running_endpoint.url}/invocations", content=b'{"the canary sings')

    log = running_endpoint.log.read_text()

    assert f"spendgate serve is ready at {running_endpoint.url}" in log
    assert CANARY not in log
    assert "Traceback" not in log


def test_a_stopped_server_ends_its_calls_and_writes_them_down(
    start: Callable[..., "HostProcess"], upstream: "Recorder"
):
    upstream.meeting = threading.Barrier(2)
    slow = chat(extra_body={"simulate": {"latency_ms": 1500}})

    with start("serve", workers=1) as running, ThreadPoolExecutor() as callers:
        answer = callers.submit(running.post, slow)
        upstream.meeting.wait(30)  # the call is with the model server now
        running.process.send_signal(signal.SIGTERM)
        exit_code = running.process.wait(timeout=30)

    assert answer.result().status_code == 200
    assert exit_code == 0
    assert list((running.home / "delta" / "spend_events").glob("**/*.parquet"))


def test_two_workers_share_one_budget(start: Callable[..., "HostProcess"]):
    with start("serve", workers=2) as running:
        answers = [running.post(chat()) for _ in range(6)]

    spent = [answer.json()["spend"]["budgets"][0]["spent_usd"] for answer in answers]
    assert spent == sorted(spent)
    assert len(set(spent)) == 6


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SPENDGATE_UPSTREAM_URL": ""}, "upstream"),
        ({"SPENDGATE_SIGNING_KEY": " "}, "SPENDGATE_SIGNING_KEY"),
        ({"SPENDGATE_HOME": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
@pytest.mark.parametrize("kind", ["serve", "app"])
def test_what_cant_be_started_says_so_in_one_line(
    start: Callable[..., "HostProcess"], kind: str, variables: dict[str, str], message: str
):
    said = start(kind, workers=1, **variables).failure()

    assert said.startswith("error: ")
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_port_in_use_is_told_before_anything_starts(
    running_endpoint: "Running", start: Callable[..., "HostProcess"]
):
    port = running_endpoint.url.rpartition(":")[2]

    said = start("serve", workers=1, port=int(port)).failure()

    assert said.startswith(f"error: port {port} of 127.0.0.1 can't be used")
    assert len(said.splitlines()) == 1


def tool_call() -> dict[str, object]:
    function = {"name": "look", "arguments": json.dumps({"a": [1, None]})}
    return {"id": "call_1", "type": "function", "function": function}
