"""The simulator fails and misreports as it is told to, and depends on nothing of the gate."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from subprocess import Popen
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.server

HAIKU = "databricks-claude-haiku-4-5"
ASKED = {"model": HAIKU, "messages": [{"role": "user", "content": "hello there"}]}
PATH = "/v1/chat/completions"
Json = dict[str, Any]
Ask = Callable[..., httpx.Response]
Chat = Callable[..., Json]
Bill = Callable[[], Json]
Start = Callable[..., AbstractContextManager[tuple[httpx.Client, Popen[bytes]]]]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "BAD_REQUEST"),
        (403, "PERMISSION_DENIED"),
        (429, "REQUEST_LIMIT_EXCEEDED"),
        (500, "INTERNAL_ERROR"),
        (503, "TEMPORARILY_UNAVAILABLE"),
    ],
)
def test_a_told_failure_looks_like_databricks_and_is_free(
    ask: Ask, bill: Bill, status: int, code: str
) -> None:
    answer = ask(simulate={"status": status}, stream=True)

    assert answer.status_code == status
    assert set(answer.json()) == {"error_code", "message"}
    assert answer.json()["error_code"] == code
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert bill()["total_nano_usd"] == 0
    assert bill()["requests"] == 1


def test_a_failure_can_be_billed_in_full(ask: Ask, bill: Bill) -> None:
    lengths = {"prompt_tokens": 2, "output_tokens": 5}

    answer = ask(model=HAIKU, simulate={"status": 500, "bill_on_error": True, **lengths})

    assert answer.status_code == 500
    assert bill()["total_nano_usd"] == 2 * 1000 + 5 * 5000


@pytest.mark.parametrize(("billed", "expected_nano"), [(False, 0), (True, 6000)])
def test_a_call_that_hangs_never_answers(
    http: httpx.Client,
    bill: Bill,
    eventually: Callable[[Callable[[], bool]], None],
    billed: bool,
    expected_nano: int,
) -> None:
    simulate = {"hang": True, "bill_on_error": billed, "prompt_tokens": 1, "output_tokens": 1}

    with pytest.raises(httpx.ReadTimeout):
        http.post(PATH, json={**ASKED, "simulate": simulate}, timeout=0.5)

    eventually(lambda: bill()["requests"] == 1)
    assert bill()["total_nano_usd"] == expected_nano


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_that_breaks_off_is_billed(
    http: httpx.Client, bill: Bill, stream: bool
) -> None:
    simulate = {"close_connection": True, "prompt_tokens": 1, "output_tokens": 50}
    asked = {**ASKED, "stream": stream, "simulate": simulate}
    received: list[bytes] = []

    def read() -> None:
        with http.stream("POST", PATH, json=asked) as answer:
            received.extend(answer.iter_raw())

    with pytest.raises(httpx.RemoteProtocolError):
        read()

    # Something arrived before the break, but neither the end of the JSON nor of the stream.
    assert received
    assert not b"".join(received).endswith((b"}", b"[DONE]\n\n"))
    assert bill()["total_nano_usd"] == 1000 + 50 * 5000


def test_usage_can_be_missing_or_garbage_and_is_billed_all_the_same(chat: Chat, bill: Bill) -> None:
    missing = chat(model=HAIKU, simulate={"no_usage": True, "prompt_tokens": 1, "output_tokens": 1})
    garbage = chat(
        model=HAIKU, simulate={"garbage_usage": True, "prompt_tokens": 1, "output_tokens": 1}
    )

    assert "usage" not in missing
    assert garbage["usage"]["completion_tokens"] == -5
    assert bill()["total_nano_usd"] == 2 * 6000


def test_a_stream_can_end_without_the_usage_it_was_asked_for(
    events: Callable[..., list[Json]],
) -> None:
    received = events(
        stream_options={"include_usage": True}, simulate={"no_usage": True, "output_tokens": 3}
    )

    assert all(event["usage"] is None for event in received)
    assert received[-1]["choices"]


def test_a_stream_can_report_part_of_its_usage_in_every_chunk(
    events: Callable[..., list[Json]],
) -> None:
    lengths = {"prompt_tokens": 8, "output_tokens": 3}

    *before, last = events(
        stream_options={"include_usage": True}, simulate={"running_usage": True, **lengths}
    )

    running = {"prompt_tokens": 8, "completion_tokens": None, "total_tokens": None}
    assert all(event["usage"] == running for event in before)
    assert last["usage"]["completion_tokens"] == 3


def test_cached_tokens_can_be_reported_beside_the_prompt_instead_of_in_it(
    chat: Chat, bill: Bill
) -> None:
    lengths = {"prompt_tokens": 10, "cached_tokens": 6, "output_tokens": 1}

    usage = chat(model=HAIKU, simulate={"cache_excluded": True, **lengths})["usage"]

    assert usage["prompt_tokens"] == 4
    assert usage["cache_read_input_tokens"] == 6
    assert usage["total_tokens"] == 11
    assert bill()["total_nano_usd"] == 4 * 1000 + 6 * 100 + 5000


def test_the_header_outranks_the_field(http: httpx.Client) -> None:
    answer = http.post(
        PATH,
        json={**ASKED, "simulate": {"status": 500, "output_tokens": 4}},
        headers={"X-Simulate": json.dumps({"status": 429})},
    )

    assert answer.status_code == 429


def test_an_unknown_model_is_not_found(client: openai.OpenAI, bill: Bill) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="gpt-99", messages=[{"role": "user", "content": "?"}])

    assert refusal.value.code == "model_not_found"
    assert bill()["calls"] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": "hello"},
        {"model": None},
        {"model": "databricks-gte-large-en"},
        {"n": 0},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"simulate": {"statsu": 500}},
        {"simulate": {"status": 200}},
        {"simulate": {"hang": 1}},
        {"simulate": "hang"},
    ],
)
def test_a_malformed_call_is_refused_unbilled(ask: Ask, bill: Bill, fields: Json) -> None:
    answer = ask(**fields)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert bill()["calls"] == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, content: bytes) -> None:
    assert http.post(PATH, content=content).status_code == 400


def test_flags_steer_every_call_under_what_a_call_says_itself(start: Start) -> None:
    flags = ["--simulate", '{"output_tokens": 9, "no_usage": true}', "--bytes-per-token", "1"]
    with start(*flags, "--latency-ms", "60000") as (http, _):
        with pytest.raises(httpx.ReadTimeout):
            http.post(PATH, json=ASKED, timeout=0.5)
        steered = {"latency_ms": 0, "no_usage": False}
        answer = http.post(PATH, json={**ASKED, "simulate": steered}).raise_for_status()

    usage = answer.json()["usage"]
    assert usage["completion_tokens"] == 9
    assert usage["prompt_tokens"] == len("hello there") + 3


def test_tokens_can_take_time(start: Start) -> None:
    asked = {**ASKED, "simulate": {"output_tokens": 100_000}}
    with start("--ms-per-token", "60") as (http, _):
        with pytest.raises(httpx.ReadTimeout):
            http.post(PATH, json=asked, timeout=0.5)
        with http.stream("POST", PATH, json={**asked, "stream": True}) as answer:
            first = next(answer.iter_lines())

    assert first.startswith("data: {")


def test_a_share_of_calls_fails_by_itself_and_is_not_billed(start: Start) -> None:
    with start("--fault-rate", "0.5") as (http, _):
        statuses = [http.post(PATH, json={**ASKED, "n": n}).status_code for n in range(1, 41)]
        billed = http.get("/bill").json()

    assert set(statuses) == {200, 429, 500, 503}
    assert 15 <= statuses.count(200) <= 25
    assert billed["calls"] == statuses.count(200)
    assert billed["requests"] == 40


@pytest.mark.parametrize(
    "flags", [["--simulate", '{"statsu": 500}'], ["--simulate", "["], ["--port", "none"]]
)
def test_a_wrong_flag_stops_the_start(flags: list[str]) -> None:
    command = [sys.executable, "-m", "spendgate.simulator", "--port", "1", *flags]

    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 2
    assert "error: argument" in ended.stderr


def test_the_simulator_shares_no_code_with_the_gate() -> None:
    program = (
        "import spendgate.simulator.__main__, sys;"
        "print([n for n in sys.modules if n.startswith('spendgate.')"
        " and not n.startswith('spendgate.simulator')])"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert ended.stdout.strip() == "[]"
