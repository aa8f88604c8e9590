"""Streams of the served model: `predict_stream` as a server calls it, and `serve` as it runs."""

import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from mlflow.pyfunc import PyFuncModel

from spendgate.gateway.reply import Reply
from spendgate.gateway.stream_chunk import DONE, KEEP_ALIVE, StreamChunk

if TYPE_CHECKING:
    from tests.integration.serving.conftest import FakeGateway, HostProcess, Running

pytestmark = pytest.mark.server

CANARY = "the canary sings"
MODEL = "databricks-claude-haiku-4-5"


def streamed(simulate: object = None, user: str = "rich", **fields: object) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": CANARY}],
        "max_tokens": 40,
        "stream": True,
        "custom_inputs": {
            "model": MODEL,
            "user": user,
            "extra_body": {"simulate": simulate or {"output_tokens": 4}},
        },
        **fields,
    }


def chunks_of(text: str) -> list[Any]:
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


@pytest.fixture(scope="module")
def endpoint(
    start_simulated: Callable[..., "HostProcess"],
) -> Iterator["Running"]:
    """Serve straight in front of the simulator."""
    with start_simulated("serve") as running:
        yield running


def test_the_model_is_streamable_and_yields_documents(
    pyfunc_model: PyFuncModel, gateway: "FakeGateway"
):
    gateway.chunks = [StreamChunk({"a": 1}), KEEP_ALIVE, StreamChunk({"b": [None]}), DONE]

    pieces = list(pyfunc_model.predict_stream({"messages": [], "seed": 7}))

    assert pieces == [{"a": 1}, {"b": [None]}]
    route, body = gateway.calls[-1]
    assert (route, body["stream"], body["seed"]) == ("chat/completions", True, 7)


def test_a_refusal_is_the_first_and_only_piece(pyfunc_model: PyFuncModel, gateway: "FakeGateway"):
    gateway.reply = Reply(402, {"error": {"code": "budget_exhausted"}, "spend": {"cost_usd": "0"}})

    pieces = list(pyfunc_model.predict_stream({"messages": []}))

    error = {"code": "budget_exhausted"}
    assert pieces == [{"choices": [], "error": error, "spend": {"cost_usd": "0"}}]


def test_a_stream_that_the_server_gives_up_is_closed(
    pyfunc_model: PyFuncModel, gateway: "FakeGateway"
):
    gateway.chunks = [StreamChunk({"a": 1}), StreamChunk({"b": 2})]
    pieces = pyfunc_model.predict_stream({"messages": []})
    next(pieces)

    pieces.close()  # type: ignore[attr-defined]  # a generator, whatever MLflow calls it

    assert gateway.is_closed


def test_serve_streams_words_and_the_spend_on_the_last_chunk(endpoint: "Running"):
    answer = endpoint.post(streamed())

    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = chunks_of(answer.text)
    words = [one["choices"][0]["delta"].get("content") for one in chunks]
    assert len([word for word in words if word]) == 4
    assert chunks[-1]["spend"]["usage_source"] == "reported"
    assert Decimal(chunks[-1]["spend"]["cost_usd"]) > 0


def test_the_openai_client_reads_a_stream_of_serve(endpoint: "Running"):
    # The client appends its own path; a platform routes it to /invocations, as this does.
    rewrite = openai.DefaultHttpxClient(event_hooks={"request": [to_invocations]})
    client = openai.OpenAI(base_url=endpoint.url, api_key="x", http_client=rewrite, max_retries=0)

    chunks = list(
        client.chat.completions.create(
            model="endpoint-name",
            messages=[{"role": "user", "content": CANARY}],
            stream=True,
            extra_body={"custom_inputs": streamed()["custom_inputs"]},
        )
    )

    assert chunks[-1].choices[0].finish_reason == "stop"
    assert (chunks[-1].model_extra or {})["spend"]["decision"] == "allow"


def to_invocations(request: httpx.Request) -> None:
    request.url = request.url.copy_with(path="/invocations")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"user": "poor"}, 402, "budget_exhausted", None),
        ({"user": "nobody"}, 403, "no_budget", None),
        ({"n": 0}, 400, "invalid_request", "n"),
        ({"messages": CANARY}, 400, "invalid_request", "messages"),
        ({"messages": None, "input": ["a"]}, 400, "invalid_request", "stream"),
        ({"simulate": {"status": 503}}, 503, "upstream_error", None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refusals_of_serve_come_with_their_status(
    endpoint: "Running", fields: dict[str, Any], status: int, code: str, param: str | None
):
    answer = endpoint.post(streamed(**fields))

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["param"] == param
    assert CANARY not in answer.text


def test_a_stream_that_breaks_off_ends_with_an_error_chunk(endpoint: "Running"):
    answer = endpoint.post(streamed({"output_tokens": 20, "close_connection": True}))

    last = chunks_of(answer.text)[-1]
    assert last["choices"] == []
    assert last["error"]["code"] == "upstream_error"
    assert last["spend"]["cost_usd"] == last["spend"]["reserved_usd"]


def test_a_client_that_leaves_serve_is_drained_and_pays_what_was_billed(
    endpoint: "Running", simulator: str
):
    spent = spent_usd(endpoint)
    before = bill(simulator)
    slow = streamed({"output_tokens": 20, "ms_per_token": 20})
    with httpx.stream("POST", endpoint.url + "/invocations", json=slow) as answer:
        next(answer.iter_lines())

    deadline = time.monotonic() + 60
    while spent_usd(endpoint, held=True) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    charged = spent_usd(endpoint) - spent
    billed = bill(simulator) - before

    # Each look was a call of its own, which both sides know.
    assert charged == billed > 0


def bill(simulator: str) -> Decimal:
    return Decimal(httpx.get(simulator + "/bill").json()["total_nano_usd"]) / 10**9


def spent_usd(endpoint: "Running", *, held: bool = False) -> Decimal:
    """Look at the budget through a small call."""
    body = {**streamed({"output_tokens": 1}), "max_tokens": 1, "stream": False}
    (budget,) = endpoint.post(body).json()["spend"]["budgets"]
    return Decimal(budget["held_usd" if held else "spent_usd"])
