"""The demo from start to end: stage, crowd, bursts, a stop in flight, jobs, proof."""

import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from spendgate.demo.books import Bill, fetch_bill
from spendgate.demo.burst import Burst, run_burst
from spendgate.demo.cast import AGENTS_MIN, Agent, make_crowd, policy_text
from spendgate.demo.closing import Closing, close_in_flight
from spendgate.demo.crowd import run_crowd
from spendgate.demo.home import fresh_home
from spendgate.demo.proof import POLICY_FILE, prove
from spendgate.demo.report import Outcome, show_outcome, write_outcome
from spendgate.demo.screen import Watch, say, step
from spendgate.demo.stage import run_command, run_job, start_model_server, start_served_model
from spendgate.demo.story import story_checks
from spendgate.demo.traffic import CallLog, Endpoint
from spendgate.errors import HostError

LATENCY_MS = 120.0
CALLS_FILE = "calls.jsonl"
REPORT_FILE = "report.html"
_BURSTS = (("burst-open", None), ("burst-capped", 700))


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to run."""

    home: Path
    agents: int = 36
    seconds_max: float = 120.0
    """When the crowd goes home at the latest; bursts and jobs come after it."""

    seed: int = 1


def run_demo(plan: DemoPlan, console: Console) -> bool:
    """Run everything, show it, and tell whether every check holds.

    Raises:
        HostError: if the home can't be used, or a server or job fails.
    """
    if plan.agents < AGENTS_MIN:
        raise HostError(f"the crowd has at least {AGENTS_MIN} agents, not {plan.agents}")
    started = time.monotonic()
    home = fresh_home(plan.home)
    crowd = make_crowd(plan.agents)
    (home / POLICY_FILE).write_text(policy_text(crowd), encoding="utf-8")
    say(console, f"spendgate demo: {len(crowd)} agents; all that it makes is in {plan.home}")
    log = CallLog()
    bursts, closing, bill = _play(home, plan, crowd, log, console)
    log.write(home / CALLS_FILE)
    run_jobs(home, console)
    draw_report(home, console)
    with step(console, "proof is worked out from the bill and the clients' log"):
        proof = prove(home, bill, log.records)
    story = story_checks(crowd, log.records, bursts, closing, bill)
    seconds = time.monotonic() - started
    outcome = Outcome(proof, tuple(story), tuple(bursts), log, seconds)
    write_outcome(home, outcome)
    show_outcome(plan.home, outcome, console)
    return outcome.holds


def run_jobs(home: Path, console: Console) -> None:
    """Bring everything into the tables: the outbox to Delta, then the aggregation on Spark."""
    with step(console, "spendgate job drain: what waits in the outbox goes to Delta"):
        run_job(home, "drain")
    with step(console, "spendgate job aggregate: Spark makes spend_hourly and budget_state"):
        run_job(home, "aggregate")


def draw_report(home: Path, console: Console) -> None:
    """Draw the dashboard over the tables, where the extra that draws it is installed."""
    if find_spec("vl_convert") is None:
        say(console, "  no report.html: it needs the extra, pip install 'spendgate[charts]'")
        return
    with step(console, f"spendgate dashboard render: {REPORT_FILE}, open it in a browser"):
        out = str(home / REPORT_FILE)
        run_command(home, ["dashboard", "render", "--home", str(home), "--out", out])


def _play(
    home: Path, plan: DemoPlan, crowd: list[Agent], log: CallLog, console: Console
) -> tuple[list[Burst], Closing, Bill]:
    """Run the servers and all traffic; return once both servers have stopped."""
    with step(console, "model server starts: it answers without a model and keeps its own bill"):
        model = start_model_server(home, LATENCY_MS)
    with model:
        with step(console, "served model starts: MLflow's own scoring server"):
            server = start_served_model(home, model.url, home / POLICY_FILE)
        with server:
            endpoint = Endpoint(server.url, log)
            bursts = _traffic(plan, crowd, endpoint, log, console)
            with step(console, "served model stops by SIGTERM while calls are in flight"):
                closing = close_in_flight(endpoint, server, model)
            endpoint.close()
        bill = fetch_bill(model.url)
    if bill is None:
        raise HostError("the model server keeps no bill")
    return bursts, closing, bill


def _traffic(
    plan: DemoPlan, crowd: list[Agent], endpoint: Endpoint, log: CallLog, console: Console
) -> list[Burst]:
    with Watch(console, log, "crowd").running() as watch:
        deadline = time.monotonic() + plan.seconds_max
        run_crowd(endpoint, crowd, seed=plan.seed, deadline=deadline, watch=watch.tick)
    with Watch(console, log, "bursts of 64").running() as watch:
        return [run_burst(endpoint, name, max_tokens, watch.tick) for name, max_tokens in _BURSTS]
