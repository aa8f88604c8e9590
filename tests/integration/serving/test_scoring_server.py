"""MLflow's own scoring server between a client and the gateway: nothing lost, nothing leaked."""

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from spendgate.gateway.reply import Reply, error_reply
from spendgate.gateway.route import BY_MODEL
from spendgate.gateway.wire import CHAT, EMBEDDINGS, RESPONSES

if TYPE_CHECKING:
    from httpx2 import Response
    from tests.integration.serving.conftest import FakeGateway

CANARY = "the canary sings"
REUSED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

FULL_CHAT: dict[str, object] = {
    "model": "the-endpoint",
    "messages": [
        {"role": "system", "content": "You are terse.", "cache_control": {"type": "ephemeral"}},
        {
            "role": "user",
            "name": None,
            "content": [
                {"type": "text", "text": "What is this? \ud83d \u0000 é 漢 🦤"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                },
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"deep": {"er": [1, 2.5, null]}}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "strict": True,
                "parameters": {
                    "type": "object",
                    "properties": {"where": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                    "required": [],
                    "additionalProperties": False,
                },
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "temperature": 0.7,
    "top_p": 1,
    "max_tokens": 400,
    "max_completion_tokens": None,
    "seed": 2**70,
    "n": 1,
    "stop": ["\n\n", "END"],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 5,
    "stream": False,
    "user": "u-17",
    "metadata": {"a": "b"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "chat_template_kwargs": {"enable_thinking": False},
    "guided_json": {"type": "object"},
    "usage_context": {},
    "client_request_id": "c-1",
    "databricks_options": {"return_trace": True},
    "custom_inputs": {"model": "m", "tags": {"k": "v"}, "extra_body": {"unlisted": [None, {}]}},
}


def invoke(endpoint: TestClient, body: object) -> "Response":
    """Post a body in ASCII: it may hold half of a surrogate pair."""
    return endpoint.post("/invocations", content=json.dumps(body))


def test_every_field_reaches_the_gateway_as_it_was_sent(
    endpoint: TestClient, gateway: "FakeGateway"
):
    answer = invoke(endpoint, FULL_CHAT)

    assert answer.status_code == 200
    [(route, body)] = gateway.calls
    assert route == CHAT
    assert body == FULL_CHAT
    assert json.dumps(body, sort_keys=True) == json.dumps(FULL_CHAT, sort_keys=True)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Idempotency-Key", "custom_inputs.idempotency_key"),
        ("X-Spend-Token", "custom_inputs.spend_token"),
        ("X-Spend-Agent", "custom_inputs.agent"),
    ],
)
def test_a_header_that_only_the_other_host_reads_is_refused_with_its_place(
    endpoint: TestClient, gateway: "FakeGateway", name: str, place: str
):
    content = json.dumps(FULL_CHAT)

    refused = endpoint.post("/invocations", content=content, headers={name: CANARY})
    passed = endpoint.post("/invocations", content=content, headers={"X-Spend-Request-Id": "r-1"})

    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, name.lower())
    assert place in error["message"]
    assert CANARY not in refused.text
    assert (passed.status_code, len(gateway.calls)) == (200, 1)


def test_the_answer_reaches_the_client_as_it_was_given(
    endpoint: TestClient, gateway: "FakeGateway"
):
    gateway.reply = Reply(
        200,
        {
            "id": "chatcmpl-1",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                    "logprobs": {"content": [{"token": "\ud83d", "logprob": -0.1, "bytes": None}]},
                }
            ],
            "usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}},
            "unheard_of": [{}],
            "spend": {"cost_usd": "0.001230000"},
        },
    )

    answer = invoke(endpoint, FULL_CHAT)

    assert answer.json() == gateway.reply.body


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({"input": ["a", "b"], "custom_inputs": {"model": "e"}, "dimensions": 8}, EMBEDDINGS),
        ({"input": "a", "messages": None}, BY_MODEL),
        ({"input": "a", "instructions": "be brief"}, RESPONSES),
        ({"input": [{"role": "user", "content": "a"}], "text": {"verbosity": "low"}}, RESPONSES),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, CHAT),
        (
            {"prompt": "hi", "scopeType": "user", "scopeKey": "u", "modelId": "m", "tools": ["t"]},
            CHAT,
        ),
    ],
)
def test_other_forms_find_their_route(
    endpoint: TestClient, gateway: "FakeGateway", body: dict[str, object], route: str
):
    answer = invoke(endpoint, body)

    assert answer.status_code == 200
    assert gateway.calls == [(route, body)]


def test_one_row_of_mlflows_tables_is_one_request(endpoint: TestClient, gateway: "FakeGateway"):
    plain = {name: value for name, value in FULL_CHAT.items() if name != "seed"}

    records = invoke(endpoint, {"dataframe_records": [plain]})
    split = invoke(
        endpoint,
        {"dataframe_split": {"columns": list(plain), "data": [list(plain.values())]}},
    )

    assert records.json() == split.json() == {"predictions": {"choices": []}}
    assert gateway.calls == [(CHAT, plain), (CHAT, plain)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": CANARY}, "messages"),
        ({"messages": {"0": CANARY}}, "messages"),
        ({"content": CANARY}, "messages"),
        ({}, "messages"),
        ({"dataframe_records": [{"messages": CANARY}]}, "dataframe_records"),
        ({"dataframe_records": [{"messages": [CANARY]}] * 2}, "body"),
        ({"dataframe_records": []}, "body"),
        ({"dataframe_records": CANARY}, "dataframe_records"),
        ({"dataframe_split": {"columns": [CANARY]}}, "dataframe_split"),
        ({"inputs": {"messages": [[{"role": "user", "content": CANARY}]]}}, "inputs"),
        ({"inputs": CANARY}, "inputs"),
        ({"inputs": [CANARY]}, "body"),
        ({"instances": [{"messages": [{"role": "user", "content": CANARY}]}]}, "inputs"),
        ({"instances": [{"prompt": CANARY}]}, "inputs"),
        ({"instances": CANARY, "inputs": CANARY}, "inputs"),
        ({"signature_name": CANARY, "instances": [1]}, "body"),
    ],
)
def test_what_is_no_request_is_a_clear_400(
    endpoint: TestClient, gateway: "FakeGateway", body: dict[str, object], field: str
):
    answer = invoke(endpoint, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["param"] == field
    assert CANARY not in answer.text
    assert gateway.calls == []


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b'{"messages": [the canary sings', {}, 400),
        (b'["the canary sings"]', {}, 400),
        (b'{"messages": [], "temperature": NaN, "x": "the canary sings"}', {}, 400),
        (b'{"messages": [], "seed": ' + b"9" * 5000 + b"}", {}, 400),
        (b'{"messages": ["\xff the canary sings"]}', {}, 400),
        ('{"messages": ["the canary sings"]}'.encode("utf-16"), {}, 400),
        (b'{"messages": ' + b"[" * 1_000_000, {}, 400),
        (b'{"messages": ' + b"[" * 65 + b"]" * 65 + b"}", {}, 400),
        (b'{"messages": ["' + b"x" * (16 * 1024 * 1024) + b'"]}', {}, 413),
        (b"messages\nthe canary sings", {"content-type": "text/csv"}, 415),
        (b"PAR1the canary sings", {"content-type": "application/vnd.apache.parquet"}, 415),
        (b'{"messages": []}', {"content-type": "application/json; charset=latin-1"}, 415),
        (b'{"messages": []}', {"content-type": "text/plain"}, 415),
        (b"\x1f\x8b", {"content-encoding": "gzip"}, 415),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bytes_that_are_no_request_never_reach_mlflow(
    endpoint: TestClient,
    gateway: "FakeGateway",
    content: bytes,
    headers: dict[str, str],
    status: int,
):
    answer = endpoint.post("/invocations", content=content, headers=headers)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "invalid_request"
    assert CANARY not in answer.text
    assert gateway.calls == []


def test_a_missing_content_type_is_json(endpoint: TestClient, gateway: "FakeGateway"):
    answer = endpoint.post("/invocations", content=b'{"messages": []}')

    assert answer.status_code == 200
    assert gateway.calls == [(CHAT, {"messages": []})]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 409, 418, 429, 500, 502, 503, 504])
def test_a_reply_keeps_its_status_and_its_whole_body(
    endpoint: TestClient, gateway: "FakeGateway", status: int
):
    gateway.reply = error_reply(status, "any_code", "a message", param="p", retryable=True)

    answer = invoke(endpoint, FULL_CHAT)

    assert answer.status_code == status
    assert answer.json() == gateway.reply.body
    assert answer.headers["content-type"] == "application/json"


def test_an_error_in_the_body_of_a_request_isnt_taken_for_ours(
    endpoint: TestClient, gateway: "FakeGateway"
):
    forged = {"error": {"code": "budget_exhausted", "message": CANARY}, "error_code": CANARY}

    answer = invoke(endpoint, {**forged, "messages": forged})

    assert answer.status_code == 400
    assert CANARY not in answer.text
    assert gateway.calls == []


def test_an_unknown_failure_says_nothing_of_itself(
    endpoint: TestClient, gateway: "FakeGateway", caplog: pytest.LogCaptureFixture
):
    gateway.reply = RuntimeError(CANARY)

    answer = invoke(endpoint, {"messages": [{"content": CANARY}]})

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "RuntimeError" in caplog.text
    assert CANARY not in answer.text + caplog.text


def test_an_answer_that_is_no_json_is_a_clear_500(endpoint: TestClient, gateway: "FakeGateway"):
    gateway.reply = Reply(200, {"choices": object()})

    answer = invoke(endpoint, {"messages": []})

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"


def test_a_call_that_takes_too_long_is_a_504_of_ours(
    hasty_endpoint: TestClient, gateway: "FakeGateway"
):
    gateway.before = lambda: time.sleep(1.5)

    answer = invoke(hasty_endpoint, {"messages": []})

    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/chat/completions", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/invocations", 405, "method_not_allowed"),
        ("POST", "/ping", 405, "method_not_allowed"),
    ],
)
def test_other_paths_and_methods_are_refused_in_our_json(
    endpoint: TestClient, method: str, path: str, status: int, code: str
):
    answer = endpoint.request(method, path)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_mlflows_other_routes_stay(endpoint: TestClient, path: str):
    assert endpoint.get(path).status_code == 200


some_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELD_NAMES = """messages prompt input inputs instances dataframe_records dataframe_split params
    custom_inputs tools signature_name stream"""
keys = st.sampled_from(FIELD_NAMES.split())


@REUSED
@given(st.dictionaries(keys, some_json, max_size=3))
def test_no_json_crashes_the_server_or_is_quoted(
    endpoint: TestClient, gateway: "FakeGateway", body: dict[str, object]
):
    gateway.calls.clear()

    answer = invoke(endpoint, body)

    assert answer.status_code in {200, 400}
    assert CANARY not in answer.text
    assert len(gateway.calls) == (answer.status_code == 200)
