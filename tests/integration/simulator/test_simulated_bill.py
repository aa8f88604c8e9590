"""The simulator bills every call exactly, and keeps its bill."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from typing import Any, Literal

import httpx
import openai
import pytest

from spendgate.simulator.pricelist import ModelRates
from spendgate.simulator.usage import Usage

pytestmark = pytest.mark.server

SONNET = "databricks-claude-sonnet-4-5"
HAIKU = "databricks-claude-haiku-4-5"
LLAMA = "databricks-meta-llama-3-3-70b-instruct"
GTE = "databricks-gte-large-en"
ONE_EACH = {"prompt_tokens": 1, "output_tokens": 1}
Json = dict[str, Any]
Chat = Callable[..., Json]
Start = Callable[..., AbstractContextManager[tuple[httpx.Client, Popen[bytes]]]]


# Expected: tokens x USD per million, times 1,000 for nano-USD, worked out by hand.
@pytest.mark.parametrize(
    ("model", "simulate", "expected_nano"),
    [
        (
            SONNET,
            {
                "prompt_tokens": 1000,
                "cached_tokens": 200,
                "cache_write_tokens": 100,
                "output_tokens": 50,
            },
            700 * 3000 + 200 * 300 + 100 * 3750 + 50 * 15000,
        ),
        (HAIKU, {"prompt_tokens": 7, "output_tokens": 3}, 7 * 1000 + 3 * 5000),
        (
            "databricks-claude-opus-4-5",
            {"prompt_tokens": 9, "cached_tokens": 9, "output_tokens": 0},
            9 * 500,
        ),
        (
            "databricks-gpt-5-mini",
            {"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 2},
            6 * 250 + 4 * 25 + 2 * 2000,
        ),
        # No price for a cache: cached tokens cost as much as any input.
        (
            "databricks-gpt-oss-20b",
            {"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 3},
            10 * 70 + 3 * 300,
        ),
        ("llama-3-8b", {"prompt_tokens": 1_000_000, "output_tokens": 0}, 60_000_000),
        # Reasoning is billed as output, once.
        (
            "databricks-gpt-5",
            {"prompt_tokens": 1, "output_tokens": 8, "reasoning_tokens": 5},
            1250 + 8 * 10000,
        ),
    ],
)
def test_the_bill_is_exact(
    chat: Chat, bill: Callable[[], Json], model: str, simulate: Json, expected_nano: int
) -> None:
    chat(model=model, simulate=simulate)

    assert bill()["total_nano_usd"] == expected_nano
    assert bill()["by_model"] == {model: expected_nano}
    assert bill()["calls"] == 1


def test_a_call_is_rounded_up_once_not_once_per_part() -> None:
    rates = ModelRates(input=1, output=1, cache_read=1, cache_write=1)

    assert rates.cost_nano(Usage(prompt_tokens=3, cache_read_tokens=1, output_tokens=1)) == 1
    assert rates.cost_nano(Usage(prompt_tokens=500, output_tokens=500)) == 1
    assert rates.cost_nano(Usage(prompt_tokens=500, output_tokens=501)) == 2
    assert rates.cost_nano(Usage(prompt_tokens=0)) == 0


def test_the_bill_adds_up_by_request_and_by_usage_context(
    chat: Chat, bill: Callable[[], Json]
) -> None:
    context = {"team": "support", "agent": "triage"}
    for request_id in ("hold-1#0", "hold-1#1", "hold-1#1"):
        chat(model=HAIKU, client_request_id=request_id, usage_context=context, simulate=ONE_EACH)
    chat(model=HAIKU, usage_context={"team": "sales"}, simulate=ONE_EACH)
    chat(model=LLAMA, client_request_id=None, simulate=ONE_EACH)

    billed = bill()
    assert billed["by_client_request_id"] == {"hold-1#0": 6000, "hold-1#1": 12000, "": 8000}
    assert billed["by_usage_context"] == {
        "team=support": 18000,
        "agent=triage": 18000,
        "team=sales": 6000,
    }
    assert billed["by_model"] == {HAIKU: 24000, LLAMA: 2000}
    assert billed["total_nano_usd"] == 26000
    assert billed["calls"] == 5


def test_every_choice_is_generated_and_billed(chat: Chat, bill: Callable[[], Json]) -> None:
    answer = chat(n=3, max_tokens=10, simulate={"prompt_tokens": 4, "output_tokens": 11})

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 30
    assert bill()["total_nano_usd"] == 4 * 500 + 30 * 1500


def test_resetting_the_bill_starts_it_from_zero(
    http: httpx.Client, chat: Chat, bill: Callable[[], Json]
) -> None:
    chat()

    http.post("/bill/reset").raise_for_status()

    assert bill() == {
        "total_nano_usd": 0,
        "calls": 0,
        "requests": 0,
        "max_concurrency": 0,
        "by_model": {},
        "by_usage_context": {},
        "by_client_request_id": {},
    }


def test_a_stream_costs_what_the_same_answer_costs_at_once(
    chat: Chat, events: Callable[..., list[Json]], bill: Callable[[], Json]
) -> None:
    lengths = {"prompt_tokens": 11, "output_tokens": 23}
    chat(client_request_id="once", simulate=lengths)
    events(client_request_id="streamed", simulate=lengths)

    billed = bill()["by_client_request_id"]
    assert billed["once"] == billed["streamed"] == 11 * 500 + 23 * 1500


def test_a_caller_who_hangs_up_in_a_stream_pays_for_all_of_it(
    http: httpx.Client, bill: Callable[[], Json]
) -> None:
    asked = {
        "model": LLAMA,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "simulate": {"prompt_tokens": 2, "output_tokens": 4000},
    }
    with http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        next(answer.iter_lines())

    assert bill()["total_nano_usd"] == 2 * 500 + 4000 * 1500


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_are_billed_by_input(
    client: openai.OpenAI, bill: Callable[[], Json], encoding: Literal["float", "base64"]
) -> None:
    answer = client.embeddings.create(
        model=GTE, input=["12345678", "1234"], encoding_format=encoding
    )

    assert [entry.index for entry in answer.data] == [0, 1]
    assert answer.data[0].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens == 3
    assert bill()["total_nano_usd"] == 3 * 130


def test_databricks_paths_take_the_model_from_the_endpoints_name(
    http: httpx.Client, bill: Callable[[], Json]
) -> None:
    asked = {"messages": [{"role": "user", "content": "hi"}], "simulate": ONE_EACH}
    paths = "/serving-endpoints"

    chatted = http.post(f"{paths}/{HAIKU}/invocations", json={**asked, "model": "ignored"})
    embedded = http.post(f"{paths}/{GTE}/invocations", json={"input": "1234"})
    by_body = http.post(f"{paths}/chat/completions", json={**asked, "model": HAIKU})

    assert chatted.raise_for_status().json()["model"] == HAIKU
    assert embedded.raise_for_status().json()["object"] == "list"
    assert by_body.raise_for_status().json()["model"] == HAIKU
    assert bill()["by_model"] == {HAIKU: 2 * 6000, GTE: 130}


def test_the_bill_tells_how_many_calls_ran_at_once(http: httpx.Client) -> None:
    asked = {
        "model": LLAMA,
        "messages": [{"role": "user", "content": "hi"}],
        "simulate": {"hang": True},
    }

    async def hang_three() -> Json:
        async with httpx.AsyncClient(base_url=http.base_url, timeout=30) as caller:
            calls = [
                asyncio.create_task(caller.post("/v1/chat/completions", json=asked))
                for _ in range(3)
            ]
            while (billed := (await caller.get("/bill")).json())["requests"] < 3:
                await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return billed

    billed = asyncio.run(hang_three())

    assert billed["max_concurrency"] == 3
    assert billed["calls"] == 0


def test_sigterm_leaves_a_complete_bill_in_the_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "new" / "bill.json"
    with start("--bill", str(file)) as (http, process):
        assert json.loads(file.read_bytes())["calls"] == 0
        asked = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}]}
        for number in range(5):
            http.post(
                "/v1/chat/completions", json={**asked, "client_request_id": f"r-{number}"}
            ).raise_for_status()
        billed = http.get("/bill").json()
        http.close()
        process.terminate()
        process.wait(timeout=30)

    assert billed["calls"] == len(billed["by_client_request_id"]) == 5
    assert json.loads(file.read_bytes()) == billed
    record = file.with_suffix(".calls.jsonl")
    assert sorted(file.parent.iterdir()) == [record, file]
    assert sum(one["billed_nano_usd"] for one in listed_in(record)) == billed["total_nano_usd"]


def listed_in(record: Path) -> list[Json]:
    return [json.loads(line) for line in record.read_text().splitlines()]


def test_every_call_is_listed_as_a_platform_does_and_stays_listed_after_a_restart(
    start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "bill.json"
    chat = {"model": HAIKU, "messages": [{"role": "user", "content": "hi"}], "simulate": ONE_EACH}
    ours = {"client_request_id": "r#1", "usage_context": {"agent": "bot"}, "stream": True}
    fails = {**chat, "user": "bob", "simulate": {"status": 429}}
    for calls in ([{**chat, **ours}, fails], [{**chat, "user": "bob"}]):
        with start("--bill", str(file)) as (http, process):
            for asked in calls:
                http.post("/v1/chat/completions", json=asked)
            http.close()
            process.terminate()
            process.wait(timeout=30)

    listed = listed_in(file.with_suffix(".calls.jsonl"))
    assert len({one.pop("request_id") for one in listed}) == 3
    times = [one.pop("at_micros") for one in listed]
    assert times == sorted(times)
    billed = {
        "endpoint": HAIKU, "requester": "somebody", "client_request_id": "r#1",
        "usage_context": {"agent": "bot"}, "is_streaming": True, "status": 200,
        "input_tokens": 1, "output_tokens": 1, "billed_nano_usd": 6000,
    }  # fmt: skip
    bobs = {"requester": "bob", "client_request_id": "", "usage_context": {}, "is_streaming": False}
    unbilled = {"input_tokens": None, "output_tokens": None, "billed_nano_usd": 0}
    assert listed == [billed, {**billed, **bobs, **unbilled, "status": 429}, {**billed, **bobs}]


def test_sigkill_leaves_the_bill_of_a_moment_ago(
    start: Start, eventually: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    file = tmp_path / "bill.json"
    with start("--bill", str(file)) as (http, process):
        asked = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}]}
        http.post("/v1/chat/completions", json=asked).raise_for_status()
        billed = http.get("/bill").json()
        eventually(lambda: json.loads(file.read_bytes()) == billed)
        process.kill()
        process.wait(timeout=30)

    assert json.loads(file.read_bytes())["total_nano_usd"] == billed["total_nano_usd"] > 0
