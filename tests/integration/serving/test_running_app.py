"""The ASGI host as it runs: thousands of calls, clients that leave, a stop in the middle."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from tests.integration.serving.conftest import start_host
from tests.started_server import free_port

from spendgate.app.host import MODEL_CALLS

if TYPE_CHECKING:
    from tests.integration.serving.conftest import HostProcess, Running

pytestmark = pytest.mark.server

CANARY = "the canary sings"
MODEL = "databricks-claude-haiku-4-5"
CHAT = "/v1/chat/completions"
ADMIN = "a token for administration"
CALLS = 1_200


@pytest.fixture(scope="module")
def app(start_simulated: Callable[..., "HostProcess"]) -> Iterator["Running"]:
    with start_simulated("app", SPENDGATE_ADMIN_TOKEN=ADMIN) as running:
        yield running


def asked(user: str = "rich", simulate: object = None, **fields: object) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": CANARY}],
        "max_tokens": 40,
        "custom_inputs": {"user": user},
        "simulate": simulate or {"output_tokens": 4},
        **fields,
    }


def bill(simulator: str) -> Decimal:
    return Decimal(httpx.get(simulator + "/bill").json()["total_nano_usd"]) / 10**9


def budget(running: "Running", user: str) -> dict[str, Any]:
    """Look at the budget through a small call, which both sides know of."""
    answer = running.post(asked(user, simulate={"output_tokens": 1}, max_tokens=1), CHAT).json()
    return answer["spend"]["budgets"][0]


def spent_usd(running: "Running", user: str = "rich") -> Decimal:
    """Wait until nothing is held any more, and return what is spent."""
    deadline = time.monotonic() + 60
    while Decimal(budget(running, user)["held_usd"]) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return Decimal(budget(running, user)["spent_usd"])


def test_more_than_a_thousand_slow_calls_are_in_flight_in_one_process(tmp_path: Path):
    port = free_port()
    in_flight = 0

    async def main(running: "Running") -> list[dict[str, Any]]:
        all_are_here = asyncio.Event()

        async def answer(_request: web.Request) -> web.Response:
            nonlocal in_flight
            in_flight += 1
            if in_flight == CALLS:
                all_are_here.set()
            await all_are_here.wait()  # nobody is answered before all have asked
            choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
            return web.json_response({"choices": [choice], "usage": usage})

        model = web.Application()
        model.router.add_post(CHAT, answer)
        runner = web.AppRunner(model)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=CALLS).start()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as client:

            async def ask() -> dict[str, Any]:
                async with client.post(running.url + CHAT, json=asked()) as said:
                    return await said.json()

            answers = await asyncio.gather(*(ask() for _ in range(CALLS)))
        await runner.cleanup()
        return answers

    with start_host("app", tmp_path, f"http://127.0.0.1:{port}", workers=1) as running:
        answers = asyncio.run(main(running))
        threads = len(list(Path(f"/proc/{running.process.pid}/task").iterdir()))

    cost = {one["spend"]["cost_usd"] for one in answers}
    assert len(cost) == 1
    budgets = [one["spend"]["budgets"][0] for one in answers]
    assert max(Decimal(one["spent_usd"]) for one in budgets) == CALLS * Decimal(cost.pop())
    assert threads < 200


@pytest.mark.parametrize("after_chunks", [0, 1, 5])
def test_a_client_that_leaves_pays_what_was_billed(
    app: "Running", simulator: str, after_chunks: int
):
    spent, before = spent_usd(app), bill(simulator)
    slow = asked(simulate={"output_tokens": 20, "ms_per_token": 20}, stream=True)

    with httpx.stream("POST", app.url + CHAT, json=slow) as answer:
        lines = answer.iter_lines()
        for _ in range(2 * after_chunks):
            next(lines)

    assert spent_usd(app) - spent == bill(simulator) - before > 0


def test_a_stream_may_be_closed_when_its_client_leaves(
    start_simulated: Callable[..., "HostProcess"], simulator: str
):
    with start_simulated("app") as running:
        spent, before = spent_usd(running, "closer"), bill(simulator)
        slow = asked("closer", {"output_tokens": 40, "ms_per_token": 50}, stream=True)
        with httpx.stream("POST", running.url + CHAT, json=slow) as answer:
            next(answer.iter_lines())

        # The usage is unknown, so it costs all that was held: more than 40 tokens' bill.
        assert spent_usd(running, "closer") - spent > bill(simulator) - before > 0


def test_a_stopped_host_ends_its_streams_and_settles_them(
    start_simulated: Callable[..., "HostProcess"], simulator: str
):
    before = bill(simulator)
    slow = asked(simulate={"output_tokens": 20, "ms_per_token": 30}, stream=True)
    with start_simulated("app") as running:
        with httpx.stream("POST", running.url + CHAT, json=slow, timeout=60) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            running.process.send_signal(signal.SIGTERM)
            rest = [first, *lines]
        assert running.process.wait(60) == 0
        log = running.log.read_text()

    events = [line.removeprefix("data: ") for line in rest if line]
    assert events[-1] == "[DONE]"
    spend = json.loads(events[-2])["spend"]
    assert Decimal(spend["cost_usd"]) == bill(simulator) - before
    assert "Traceback" not in log


def test_a_client_that_never_sends_its_body_is_told_and_let_go(
    start_simulated: Callable[..., "HostProcess"],
):
    with start_simulated("app", SPENDGATE_CLIENT_SECONDS="0.3") as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            slow.sendall(
                b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{" % CHAT.encode()
            )
            said = b"".join(iter(lambda: slow.recv(65_536), b""))

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"invalid_request" in said


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 401, "invalid_admin_token"),
        ("Bearer wrong", 401, "invalid_admin_token"),
        ("Basic " + ADMIN, 401, "invalid_admin_token"),
        (f"Bearer {ADMIN}", 404, "not_found"),
    ],
)
def test_administration_needs_its_token(
    app: "Running", authorization: str | None, status: int, code: str
):
    headers = {} if authorization is None else {"authorization": authorization}

    answer = httpx.get(app.url + "/api/nowhere", headers=headers)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


def test_administration_that_isnt_configured_says_how_to_switch_it_on(
    start_simulated: Callable[..., "HostProcess"],
):
    with start_simulated("app", SPENDGATE_ADMIN_TOKEN="") as running:
        answer = httpx.get(running.url + "/api/budgets", headers={"authorization": "Bearer x"})

    assert answer.status_code == 403
    assert "SPENDGATE_ADMIN_TOKEN" in answer.json()["error"]["message"]


def test_the_document_describes_every_path_and_no_other(app: "Running"):
    document = httpx.get(app.url + "/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method in set(operations) & {"get", "post"}:
            url = app.url + path.replace("{model}", MODEL).replace("{hold_id}", "hold-1.1")
            headers = {"authorization": f"Bearer {ADMIN}"}
            answer = httpx.request(method, url, headers=headers)
            assert answer.status_code != 405, (method, path)
            assert "there is no such path" not in answer.text, (method, path)
    assert set(MODEL_CALLS) <= set(document["paths"])
    text = json.dumps(document)
    for reference in (part.split('"')[0] for part in text.split('"$ref": "#/')[1:]):
        found: Any = document
        for name in reference.split("/"):
            found = found[name]


def test_nothing_that_was_said_is_in_the_log(app: "Running"):
    assert CANARY not in app.log.read_text()
    assert "Traceback" not in app.log.read_text()
