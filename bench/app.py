"""What the ASGI host adds over a direct call, side by side with LiteLLM's proxy.

Each in front of the same model server, with one worker; the gate holds money in six budgets with
durable transactions and flushes to Delta, LiteLLM has no database and holds nothing. All are asked
in turn, in rounds, so that a slow moment of the machine hits all of them; of each measure the round
with the least p50 is shown and the median of all rounds beside it.
"""

import json
import statistics
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import litellm
from bench.closed_loop import Loop, run_loop
from bench.processes import free_port, running
from bench.serving import budgets_of_a_day

MODEL = "databricks-claude-haiku-4-5"
ROUNDS = 8
CALLS = {1: 200, 16: 480}
"""Calls of one round, by the number of clients."""

STREAMS = 60
_SLOWER = 4
"""LiteLLM gets a fourth of the calls, which takes it longer than the others take for all."""

_SCOPES = {
    "org": "acme", "team": "support", "agent": "triage-bot", "user": "u-17", "session": "s-9",
    "task": "t-3",
}  # fmt: skip
_HEADERS = {
    "authorization": f"Bearer {litellm.MASTER_KEY}",
    **{f"x-spend-{name}": value for name, value in _SCOPES.items()},
}
_BODY = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Sort these tickets by urgency. " * 60}],
    "max_tokens": 20,
}


@dataclass(frozen=True)
class Target:
    """One way to the model."""

    name: str
    url: str
    pid: int


def run() -> dict[str, object]:
    """Measure; milliseconds, requests per second, megabytes."""
    with tempfile.TemporaryDirectory() as folder, _targets(Path(folder)) as (targets, problem):
        for target in targets:
            _ask(target, 4, _count(target, 200))  # imports, connections, the first flush
        found: dict[str, object] = {} if problem is None else {"litellm": problem}
        for clients, calls in CALLS.items():
            found[f"{clients} clients"] = _compared(targets, clients, calls)
        found["first event of a stream"] = _streams(targets)
        found["rss_mb"] = {one.name: _resident_mb(one.pid) for one in targets}
    return found


@contextmanager
def _targets(home: Path) -> Generator[tuple[list[Target], str | None]]:
    budgets = home / "budgets.yml"
    budgets.write_text(json.dumps(budgets_of_a_day()))
    upstream, gate = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    simulator = ["-m", "spendgate.simulator", "--port", upstream.rpartition(":")[2]]
    command = ["-m", "spendgate", "app", "--home", str(home / "gate"), "--upstream", upstream]
    command += ["--port", gate.rpartition(":")[2], "--budgets", str(budgets)]
    problem: str | None = None
    with ExitStack() as opened:
        pid = opened.enter_context(running(simulator, f"{upstream}/health"))
        targets = [Target("direct", f"{upstream}/v1/chat/completions", pid)]
        pid = opened.enter_context(running(command, f"{gate}/health"))
        targets.append(Target("gate", f"{gate}/v1/chat/completions", pid))
        try:
            program = litellm.install()
        except litellm.NotInstalledError as error:
            problem = str(error)
        else:
            other = opened.enter_context(litellm.proxy(program, home, MODEL, upstream))
            targets.append(Target("litellm", f"{other.url}/v1/chat/completions", other.pid))
        yield targets, problem


def _count(target: Target, calls: int) -> int:
    return calls // _SLOWER if target.name == "litellm" else calls


def _ask(target: Target, clients: int, calls: int, **fields: object) -> Loop:
    return run_loop(target.url, {**_BODY, **fields}, _HEADERS, clients=clients, calls=calls)


def _compared(targets: list[Target], clients: int, calls: int) -> dict[str, object]:
    rounds: dict[str, list[dict[str, float]]] = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            loop = _ask(target, clients, _count(target, calls))
            rounds[target.name].append(_figures(loop))
    best = {name: min(ones, key=lambda one: one["p50"]) for name, ones in rounds.items()}
    shown: dict[str, object] = {
        name: {**best[name], "p50_median": _median([one["p50"] for one in ones])}
        for name, ones in rounds.items()
    }
    return {**shown, **_added({name: one["p50"] for name, one in best.items()})}


def _streams(targets: list[Target]) -> dict[str, object]:
    rounds: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(ROUNDS):
        for target in targets:
            loop = _ask(target, 1, _count(target, STREAMS), stream=True)
            rounds[target.name].append(statistics.median(loop.first_event) * 1000)
    best = {name: round(min(values), 3) for name, values in rounds.items()}
    medians = {f"{name} median": _median(values) for name, values in rounds.items()}
    return {**best, **medians, **_added(best)}


def _added(p50: dict[str, float]) -> dict[str, float]:
    """Return what each adds over the direct call, and how often ours goes into LiteLLM's."""
    ours = p50["gate"] - p50["direct"]
    added = {"added_ms": round(ours, 3)}
    if "litellm" in p50:
        theirs = p50["litellm"] - p50["direct"]
        added |= {"litellm_added_ms": round(theirs, 3), "times_less": round(theirs / ours, 1)}
    return added


def _figures(loop: Loop) -> dict[str, float]:
    cuts = statistics.quantiles(loop.whole, n=100)
    return {
        "p50": round(cuts[49] * 1000, 3),
        "p99": round(cuts[98] * 1000, 3),
        "requests/s": round(len(loop.whole) / loop.seconds),
    }


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def _resident_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise SystemExit(f"process {pid} says nothing of its memory")


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
