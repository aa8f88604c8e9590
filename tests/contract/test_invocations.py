"""What clients of `/invocations` see: mlflow.deployments through a workspace's path, plain HTTP."""

import json
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own classes when it is imported
    from mlflow.deployments import get_deploy_client

pytestmark = pytest.mark.server

CANARY = "the canary sings"
MODEL = "databricks-claude-haiku-4-5"
EMBEDDER = "databricks-gte-large-en"
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}


@dataclass
class Workspace:
    """Passes a serving endpoint's path on to the scoring server, and counts."""

    url: str
    attempts: list[str] = field(default_factory=list)


@pytest.fixture
def workspace(endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(404)  # the SDK asks for the host's metadata
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            workspace.attempts.append(self.path)
            assert self.path == "/serving-endpoints/spendgate/invocations"
            url = f"{endpoint_url}/invocations"
            with httpx.stream("POST", url, content=body, timeout=60) as answer:
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers["content-type"])
                self.send_header("connection", "close")
                self.end_headers()
                for piece in answer.iter_raw():
                    self.wfile.write(piece)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        workspace = Workspace(f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-anything")
        yield workspace
        server.shutdown()
        thread.join()


@pytest.fixture
def deployments(workspace: Workspace) -> Any:
    return get_deploy_client("databricks")


def chat(user: str = "rich", **fields: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": CANARY}],
        "max_tokens": 40,
        "custom_inputs": {"model": MODEL, "user": user},
        **fields,
    }


class TestMlflowDeployments:
    def test_a_prediction_is_the_answer_with_its_cost(self, deployments: Any) -> None:
        answer = deployments.predict(endpoint="spendgate", inputs=chat())

        assert answer["choices"][0]["message"]["content"]
        assert Decimal(answer["spend"]["cost_usd"]) > 0

    def test_tools_pass(self, deployments: Any) -> None:
        asked = chat(tools=[TOOL], messages=[{"role": "user", "content": "use the tool"}])

        answer = deployments.predict(endpoint="spendgate", inputs=asked)

        assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"

    def test_embeddings_take_the_same_door(self, deployments: Any) -> None:
        asked = {"input": ["a", "b"], "custom_inputs": {"model": EMBEDDER, "user": "rich"}}

        answer = deployments.predict(endpoint="spendgate", inputs=asked)

        assert len(answer["data"]) == 2

    def test_a_stream_is_read_to_its_spend(self, deployments: Any) -> None:
        chunks = list(deployments.predict_stream(endpoint="spendgate", inputs=chat()))

        assert len(chunks) > 2
        assert chunks[-1]["spend"]["usage_source"] == "reported"

    def test_a_refusal_is_told_once(self, deployments: Any, workspace: Workspace) -> None:
        with pytest.raises(requests.HTTPError) as refused:
            deployments.predict(endpoint="spendgate", inputs=chat("poor"))

        # MLflow makes its own status of it, and a text of the body.
        assert refused.value.response is not None
        assert refused.value.response.status_code == 400
        assert "'code': 'budget_exhausted'" in str(refused.value)
        assert CANARY not in str(refused.value)
        assert len(workspace.attempts) == 1


class TestPlainHttp:
    def post(self, endpoint_url: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{endpoint_url}/invocations", json=body, timeout=60)

    def chunks(self, endpoint_url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        url = f"{endpoint_url}/invocations"
        with httpx.stream("POST", url, json=body, timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in answer.iter_lines() if line]
        assert lines.pop() == "data: [DONE]"
        assert all(line.startswith("data: ") for line in lines)
        return [json.loads(line.removeprefix("data: ")) for line in lines]

    def test_a_chat_and_its_stream(self, endpoint_url: str) -> None:
        whole = self.post(endpoint_url, chat())
        pieces = self.chunks(endpoint_url, chat(stream=True))

        assert whole.json()["spend"]["decision"] == "allow"
        assert pieces[-1]["choices"][0]["finish_reason"]
        assert Decimal(pieces[-1]["spend"]["cost_usd"]) > 0

    def test_a_refusal_has_its_status_and_figures(self, endpoint_url: str) -> None:
        refused = self.post(endpoint_url, chat("poor"))

        assert refused.status_code == 402
        body = refused.json()
        assert (body["error"]["type"], body["error"]["code"]) == (
            "budget_exceeded",
            "budget_exhausted",
        )
        assert body["error_code"] == "INVALID_PARAMETER_VALUE"  # Databricks' word for "don't retry"
        assert body["budget"]["budget_id"] == "poor"

    @pytest.mark.parametrize(
        "fields",
        [
            {"input": CANARY},
            {"input": CANARY, "max_output_tokens": 40, "instructions": "Be brief."},
            {"input": [{"role": "user", "content": CANARY}], "text": {"verbosity": "low"}},
            {"input": "use the tool", "tools": [{"type": "function", **TOOL["function"]}]},  # type: ignore[dict-item]
        ],
        ids=["text", "fields", "messages", "tool"],
    )
    def test_a_responses_body_is_one(self, endpoint_url: str, fields: dict[str, Any]) -> None:
        body = {"custom_inputs": {"model": MODEL, "user": "rich"}, **fields}

        answer = self.post(endpoint_url, body).json()

        assert answer["object"] == "response"
        assert answer["output"][0]["type"] == ("function_call" if "tools" in fields else "message")
        assert answer["spend"]["usage_source"] == "reported"
        assert Decimal(answer["spend"]["cost_usd"]) > 0

    def test_a_responses_body_is_streamed(self, endpoint_url: str) -> None:
        body = {"input": CANARY, "stream": True}
        own = {"custom_inputs": {"model": MODEL, "user": "rich"}}

        pieces = self.chunks(endpoint_url, {**body, **own})

        kinds = [one["type"] for one in pieces]
        assert kinds[0] == "response.created"
        assert kinds[-1] in {"response.completed", "response.incomplete"}
        assert pieces[-1]["response"]["spend"]["usage_source"] == "reported"

    def test_one_text_for_an_embedder_is_an_embedding(self, endpoint_url: str) -> None:
        body = {"input": CANARY, "custom_inputs": {"model": EMBEDDER, "user": "rich"}}

        assert self.post(endpoint_url, body).json()["data"][0]["object"] == "embedding"

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": [{"role": "user", "content": "a"}, 7]}, "input[1]"),
            ({"input": CANARY, "max_output_tokens": "many"}, "max_output_tokens"),
            ({"input": CANARY, "tools": {"a": 1}}, "tools"),
            ({"input": CANARY, "instructions": ["a"]}, "instructions"),
            ({"input": CANARY, "text": "short"}, "text"),
            ({"input": CANARY, "previous_response_id": "resp_1"}, "previous_response_id"),
            ({"input": CANARY, "background": True}, "background"),
            ({"input": {"a": CANARY}, "text": {}}, "input"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_what_is_wrong_with_a_responses_body_is_named(
        self, endpoint_url: str, fields: dict[str, Any], param: str
    ) -> None:
        answer = self.post(
            endpoint_url, {"custom_inputs": {"model": MODEL, "user": "rich"}, **fields}
        )

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert CANARY not in answer.text
