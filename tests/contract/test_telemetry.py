"""Metrics and telemetry of `spendgate app` as it runs, with backends that work and that don't."""

import json
import socket
import threading
import time
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.contract.running_app import App, running
from tests.integration.telemetry.receiver import receiving

CALLS = 12


def samples(app: App) -> dict[tuple[str, ...], float]:
    page = httpx.get(f"{app.url}/metrics", timeout=30)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def counted(found: dict[tuple[str, ...], float]) -> float:
    names = ("spendgate_admission_seconds_count", "spendgate_settlement_seconds_count")
    return sum(found[name,] for name in names)


def test_the_metrics_page_adds_up_the_calls_of_all_workers(tmp_path: Path, simulator: str) -> None:
    with running(tmp_path, simulator, workers=2) as app:
        answers = [app.chat({"agent": "a", "user": "secret-user"}) for _ in range(CALLS)]
        refused = app.chat({"org": "nobody"})

        # A worker counts a moment after it has answered, and the page may be another worker's.
        deadline = time.monotonic() + 30
        found = samples(app)
        while counted(found) < 2 * CALLS + 1 and time.monotonic() < deadline:
            found = samples(app)
        text = httpx.get(f"{app.url}/metrics", timeout=30).text
        doctor = json.loads(app.cli("doctor", "--host", app.url, "--json"))

    assert [one.status_code for one in answers] == [200] * CALLS
    assert refused.json()["error"]["code"] == "no_budget"
    assert found["spendgate_requests_total", "admitted"] == CALLS
    assert found["spendgate_requests_total", "no_budget"] == 1
    assert found["spendgate_admission_seconds_count",] == CALLS + 1
    assert found["spendgate_settlement_seconds_count",] == CALLS
    charged = sum(float(one.json()["spend"]["cost_usd"]) for one in answers)
    (name,) = [key for key in found if key[0] == "spendgate_charged_usd_total"]
    assert round(found[name], 9) == round(charged, 9)
    assert found["spendgate_ledger_up",] == 1
    assert found["spendgate_holds_open",] == 0
    assert found["spendgate_ledger_commit_seconds",] > 0
    assert found["spendgate_lane_depth", "reserve"] == 0
    assert "secret-user" not in text
    (host,) = [one for one in doctor if one["check"] == "host"]
    assert host["status"] == "ok"
    assert host["figures"]["lane_depth_reserve"] == 0
    assert 0 < host["figures"]["capture_ratio"] <= 1


def test_the_page_of_the_worker_that_answered_has_the_call_at_once(
    tmp_path: Path, simulator: str
) -> None:
    # One open client: to make one takes longer than the reports wait.
    with running(tmp_path, simulator, workers=1) as app, httpx.Client(timeout=30) as client:
        pages: list[str] = []
        for _ in range(CALLS):
            assert app.chat({"agent": "a"}).status_code == 200
            pages.append(client.get(f"{app.url}/metrics").text)

    for number, page in enumerate(pages, 1):
        assert f"spendgate_settlement_seconds_count {number}.0" in page


def test_a_metrics_token_guards_the_page_and_nothing_else(tmp_path: Path, simulator: str) -> None:
    with running(tmp_path, simulator, workers=1, SPENDGATE_METRICS_TOKEN="mt") as app:
        without = httpx.get(f"{app.url}/metrics", timeout=30)
        wrong = httpx.get(f"{app.url}/metrics", headers={"Authorization": "Bearer x"}, timeout=30)
        right = httpx.get(f"{app.url}/metrics", headers={"Authorization": "Bearer mt"}, timeout=30)
        both = [("Authorization", "Bearer mt"), ("Authorization", "Bearer x")]
        twice = httpx.get(f"{app.url}/metrics", headers=both, timeout=30)
        answered = app.chat({"agent": "a"})

    assert (without.status_code, wrong.status_code, right.status_code) == (401, 401, 200)
    assert twice.status_code == 401
    assert without.json()["error"]["param"] == "authorization"
    assert answered.status_code == 200


def test_every_backend_gets_each_call_of_a_running_host(tmp_path: Path, simulator: str) -> None:
    with receiving() as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "LANGFUSE_HOST": receiver.url,
            "LANGFUSE_PUBLIC_KEY": "pk",
            "LANGFUSE_SECRET_KEY": "sk",
            "HELICONE_API_KEY": "hk",
            "SPENDGATE_HELICONE_URL": receiver.url,
        }
        with running(tmp_path, simulator, workers=1, **settings) as app:
            answered = app.chat({"agent": "a", "tags": {"prompt_name": "p", "prompt_version": "2"}})

        logged = receiver.json_of("/custom/v1/log")[0]
        spans = receiver.wait_for("/v1/traces")
        generations = receiver.wait_for("/api/public/otel/v1/traces")
        metrics = receiver.wait_for("/v1/metrics")

    request_id = answered.json()["spend"]["request_id"]
    assert logged["providerRequest"]["meta"]["Helicone-Request-Id"] == request_id
    assert request_id.encode() in spans[0][1]
    assert b"langfuse.observation.prompt.version" in generations[0][1]
    assert b"gen_ai.client.token.usage" in metrics[-1][1]


def test_backends_that_are_down_slow_or_answer_garbage_cost_no_call(
    tmp_path: Path, simulator: str
) -> None:
    with socket.socket() as nobody, receiving(hold=threading.Event()) as slow:
        nobody.bind(("127.0.0.1", 0))  # bound, never listening: refused at once
        down = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with receiving(status=500, garbage=True) as garbage:
            settings = {
                "SPENDGATE_OTLP_ENDPOINT": down,
                "LANGFUSE_HOST": slow.url,
                "LANGFUSE_PUBLIC_KEY": "pk",
                "LANGFUSE_SECRET_KEY": "sk",
                "HELICONE_API_KEY": "hk",
                "SPENDGATE_HELICONE_URL": garbage.url,
                "SPENDGATE_TELEMETRY_TIMEOUT_SECONDS": "0.5",
                "SPENDGATE_TELEMETRY_QUEUE_MAX": "2",
            }
            with running(tmp_path, simulator, workers=1, **settings) as app:
                answers = [app.chat({"agent": "a"}) for _ in range(CALLS)]
                garbage.wait_for("/custom/v1/log")
                lost = {key[1]: n for key, n in samples(app).items() if "lost" in key[0]}

    assert [one.status_code for one in answers] == [200] * CALLS
    assert set(lost) == {"otlp", "langfuse", "helicone"}


def test_half_of_a_backends_settings_stops_the_start(tmp_path: Path, simulator: str) -> None:
    try:
        with running(tmp_path, simulator, workers=1, LANGFUSE_PUBLIC_KEY="pk"):
            raise AssertionError("it started")
    except AssertionError as error:
        assert "LANGFUSE_SECRET_KEY" in str(error)  # noqa: PT017 - the log is the message
