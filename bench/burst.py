"""A burst: 64 callers at once against a budget that affords 40 of them at their actual cost.

Each caller wants one answer of 400 tokens and honours `retryable`. What is admitted is compared
with what the limit could pay for; what the provider billed is compared with the limit.
"""

import json
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from bench.processes import free_port, running

CALLERS, AFFORDED, ANSWER_TOKENS = 64, 40, 400
TRIES_MAX = 200
_MODEL = "databricks-claude-haiku-4-5"
_QUESTION = "Which of these tickets should a person look at first, and why? " * 6


def run() -> dict[str, object]:
    """Measure one burst with the client's `max_tokens` and one without."""
    return {"with max_tokens=500": _burst(500), "without max_tokens": _burst(None)}


def _burst(max_tokens: int | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        actual_nano = _actual_cost_nano()
        limit_nano = AFFORDED * actual_nano
        budgets = home / "budgets.yml"
        limit = f"{limit_nano // 10**9}.{limit_nano % 10**9:09d}"
        rows = [{"id": "burst", "scope": {"org": "acme"}, "limit_usd": limit}]
        budgets.write_text(json.dumps({"budgets": rows}))
        upstream = f"http://127.0.0.1:{(up := free_port())}"
        gate = f"http://127.0.0.1:{(port := free_port())}"
        command = ["-m", "spendgate", "serve", "--home", str(home), "--port", str(port)]
        command += ["--upstream", upstream, "--budgets", str(budgets)]
        simulator = ["-m", "spendgate.simulator", "--port", str(up), "--latency-ms", "200"]
        with running(simulator, f"{upstream}/health"), running(command, f"{gate}/ping"):
            start = time.perf_counter()
            outcomes = _callers(f"{gate}/invocations", max_tokens)
            seconds = time.perf_counter() - start
            bill = httpx.get(f"{upstream}/bill", trust_env=False).json()["total_nano_usd"]
    admitted = outcomes["admitted"]
    return {
        "callers": CALLERS,
        "affordable": AFFORDED,
        "admitted": admitted,
        "admitted/affordable": round(admitted / AFFORDED, 3),
        "bill/limit": round(bill / limit_nano, 4),
        "overspend_nano_usd": max(0, bill - limit_nano),
        "outcomes": dict(outcomes),
        "seconds": round(seconds, 2),
    }


def _actual_cost_nano() -> int:
    """Ask the simulator itself what one such call costs."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with running(["-m", "spendgate.simulator", "--port", str(port)], f"{url}/health"):
        body = {**_body(None), "model": _MODEL, "simulate": {"output_tokens": ANSWER_TOKENS}}
        httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False).raise_for_status()
        return httpx.get(f"{url}/bill", trust_env=False).json()["total_nano_usd"]


def _callers(url: str, max_tokens: int | None) -> Counter[str]:
    barrier = threading.Barrier(CALLERS)
    limits = httpx.Limits(max_connections=CALLERS)
    with httpx.Client(timeout=60, limits=limits, trust_env=False) as http:

        def caller(_: int) -> str:
            barrier.wait()
            for _try in range(TRIES_MAX):
                extra = {"simulate": {"output_tokens": ANSWER_TOKENS}}
                own = {"model": _MODEL, "org": "acme", "extra_body": extra}
                answer = http.post(url, json={**_body(max_tokens), "custom_inputs": own})
                if answer.status_code == 200:
                    return "admitted"
                if not answer.json()["retryable"]:
                    return str(answer.json()["error"]["code"])
                time.sleep(0.2)
            return "gave up"

        with ThreadPoolExecutor(CALLERS) as pool:
            return Counter(pool.map(caller, range(CALLERS)))


def _body(max_tokens: int | None) -> dict[str, object]:
    body: dict[str, object] = {"messages": [{"role": "user", "content": _QUESTION}]}
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}
