"""What the served model adds: the gate, an echo model and a forwarding echo model, interleaved.

All three run in MLflow's own scoring server with one worker and the same signature; requests go one
after the other, in rounds, so that a slow moment of the machine hits all of them.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.processes import free_port, running
from spendgate.serving.signature import served_signature

ROUNDS, CALLS = 30, 20
_MODEL = "databricks-claude-haiku-4-5"
_BODY = {
    "messages": [{"role": "user", "content": "Sort these tickets by urgency. " * 60}],
    "max_tokens": 100,
    "custom_inputs": {
        "model": _MODEL, "org": "acme", "team": "support", "agent": "triage-bot",
        "user": "u-17", "session": "s-9", "task": "t-3",
    },
}  # fmt: skip


def budgets_of_a_day() -> dict[str, object]:
    """Return a policy with a budget a day for each value of the six dimensions."""
    names = ("org", "team", "agent", "user", "session", "task")
    return {
        "budgets": [
            {"id": f"{name}-day", "scope": {name: "*"}, "limit_usd": 1000, "window": "day"}
            for name in names
        ]
    }


def run() -> dict[str, object]:
    """Measure added latency in one run; milliseconds."""
    with tempfile.TemporaryDirectory() as folder, _targets(Path(folder)) as targets:
        clients = {name: httpx.Client(timeout=30, trust_env=False) for name in targets}
        times: dict[str, list[float]] = {name: [] for name in targets}
        for round_number in range(ROUNDS + 1):
            for name, url in targets.items():
                measured = _calls(clients[name], url)
                if round_number > 0:  # the first round warms up
                    times[name] += measured
    figures = {name: _percentiles(values) for name, values in times.items()}
    p50 = {name: one["p50"] for name, one in figures.items()}
    return {
        "calls_each": ROUNDS * CALLS,
        **figures,
        "added_over_echo_p50_ms": p50["gate"] - p50["echo"],
        "added_over_forwarding_echo_p50_ms": p50["gate"] - p50["forwarding echo"],
    }


@contextmanager
def _targets(home: Path) -> Generator[dict[str, str]]:
    model = _save_echo(home / "echo")
    budgets = home / "budgets.yml"
    budgets.write_text(json.dumps(budgets_of_a_day()))
    upstream = f"http://127.0.0.1:{(port := free_port())}"
    simulator = ["-m", "spendgate.simulator", "--port", str(port)]
    echo, forwarding, gate = free_port(), free_port(), free_port()
    served = ["-m", "bench.echo_server", str(model)]
    command = ["-m", "spendgate", "serve", "--home", str(home / "gate"), "--port", str(gate)]
    command += ["--upstream", upstream, "--budgets", str(budgets)]
    with (
        running(simulator, f"{upstream}/health"),
        running([*served, str(echo)], f"http://127.0.0.1:{echo}/ping"),
        running(
            [*served, str(forwarding)],
            f"http://127.0.0.1:{forwarding}/ping",
            {"BENCH_ECHO_UPSTREAM": upstream},
        ),
        running(command, f"http://127.0.0.1:{gate}/ping"),
    ):
        yield {
            "echo": f"http://127.0.0.1:{echo}/invocations",
            "forwarding echo": f"http://127.0.0.1:{forwarding}/invocations",
            "gate": f"http://127.0.0.1:{gate}/invocations",
        }


def _save_echo(path: Path) -> Path:
    import mlflow  # noqa: PLC0415 - five seconds, and only here

    source = Path(__file__).with_name("echo_model.py")
    mlflow.pyfunc.save_model(
        path, python_model=str(source), signature=served_signature(), pip_requirements=["mlflow"]
    )
    return path


def _calls(client: httpx.Client, url: str) -> list[float]:
    times: list[float] = []
    for _ in range(CALLS):
        start = time.perf_counter()
        answer = client.post(url, json=_BODY)
        times.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, answer.text
    return times


def _percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 3), "p90": round(cuts[89], 3), "p99": round(cuts[98], 3)}
