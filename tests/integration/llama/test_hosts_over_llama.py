"""Both hosts in front of llama.cpp, by their own clients: streams, embeddings, cached tokens."""

import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from spendgate.demo.stage import run_command, start_gate, start_served_model

pytestmark = pytest.mark.server

EMBEDDER = "tiny-embedder"
INPUT, CACHED, OUTPUT, EMBEDDED = 2_000, 200, 10_000, 500  # nano-USD per token
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory,
    llama_server: str,
    llama_embedder: str,
    llama_model: str,
) -> Path:
    home = tmp_path_factory.mktemp("hosts-over-llama")
    policy = {
        "budgets": [{"id": "agents", "scope": {"agent": "*"}, "limit_usd": 1, "window": "day"}],
        "upstreams": {
            "chat": {"url": llama_server, "models": [llama_model]},
            "vectors": {"url": llama_embedder, "aliases": {EMBEDDER: llama_model}},
        },
    }
    (home / "budgets.yml").write_text(yaml.safe_dump(policy))
    where = ["--home", str(home)]
    rates = ["--input", "2", "--cache-read", "0.2", "--output", "10"]
    run_command(home, ["price", "set", llama_model, *rates, *where])
    run_command(home, ["price", "set", EMBEDDER, "--kind", "embedding", "--input", "0.5", *where])
    return home


@pytest.fixture(scope="module")
def app(home: Path, llama_server: str) -> Iterator[str]:
    settings = {
        "SPENDGATE_HOME": str(home),
        "SPENDGATE_UPSTREAM_URL": llama_server,
        "SPENDGATE_BUDGETS_FILE": str(home / "budgets.yml"),
    }
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        with start_gate(home, "app", list(settings)) as server:
            yield server.url
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def endpoint(home: Path, llama_server: str) -> Iterator[str]:
    with start_served_model(home, llama_server, home / "budgets.yml") as server:
        yield server.url


@pytest.fixture
def client(app: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{app}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(params=["app", "endpoint"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask one host for one answer, or for the chunks of a stream."""
    url = request.getfixturevalue(request.param)

    def send(path: str, **body: Any) -> list[dict[str, Any]]:
        full = url + ("/invocations" if request.param == "endpoint" else path)
        if not body.get("stream"):
            answer = httpx.post(full, json=body, timeout=60)
            assert answer.status_code == 200, answer.text
            return [answer.json()]
        with httpx.stream("POST", full, json=body, timeout=60) as answer:
            lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]

    return send


def own(model: str, agent: str) -> dict[str, object]:
    return {"custom_inputs": {"model": model, "agent": agent}}


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 12}


def cost_nano(answer: dict[str, Any]) -> int:
    return int(Decimal(answer["spend"]["cost_usd"]) * 10**9)


def priced(usage: dict[str, Any]) -> int:
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    fresh = usage["prompt_tokens"] - cached
    return fresh * INPUT + cached * CACHED + usage["completion_tokens"] * OUTPUT


def test_a_stream_costs_what_its_real_tokens_cost(ask: Ask, llama_model: str) -> None:
    chunks = ask(
        "/v1/chat/completions",
        **chat("answers cost money"),
        stream=True,
        stream_options={"include_usage": True},
        **own(llama_model, "stream"),
    )

    words = [one for one in chunks if one["choices"] and one["choices"][0]["delta"].get("content")]
    assert len(words) == 12
    last = chunks[-1]
    assert last["usage"]["completion_tokens"] == 12
    assert cost_nano(last) == priced(last["usage"]) > 0


def test_embeddings_cost_what_their_real_tokens_cost(ask: Ask) -> None:
    (answer,) = ask(
        "/v1/embeddings", input=["team task", "window month spend"], **own(EMBEDDER, "vectors")
    )

    assert len(answer["data"]) == 2
    assert all(len(one["embedding"]) > 8 for one in answer["data"])
    assert cost_nano(answer) == answer["usage"]["prompt_tokens"] * EMBEDDED > 0


def test_cached_tokens_are_charged_at_their_own_rate(ask: Ask, llama_model: str) -> None:
    prompt = chat("hold settle refuse team task window month spend " * 4)

    answers = [
        ask("/v1/chat/completions", **prompt, **own(llama_model, "cached"))[0] for _ in range(3)
    ]

    assert max(one["usage"]["prompt_tokens_details"]["cached_tokens"] for one in answers) > 0
    assert [cost_nano(one) for one in answers] == [priced(one["usage"]) for one in answers]


def test_openai_s_client_chats_streams_and_embeds(client: openai.OpenAI, llama_model: str) -> None:
    payer = {"X-Spend-Agent": "client"}
    answer = client.chat.completions.create(
        model=llama_model,
        messages=[{"role": "user", "content": "the budget"}],
        max_tokens=5,
        extra_headers=payer,
    )
    stream = client.chat.completions.create(
        model=llama_model,
        messages=[{"role": "user", "content": "the budget"}],
        max_tokens=5,
        stream=True,
        extra_headers=payer,
    )
    chunks = list(stream)
    vectors = client.embeddings.create(model=EMBEDDER, input="the budget", extra_headers=payer)

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert (chunks[-1].model_extra or {})["spend"]["usage_source"] == "reported"
    assert len(vectors.data[0].embedding) > 8
