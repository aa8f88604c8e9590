"""A replayed trace from file to sums: servers, calls, jobs, and what the books say of them."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from spendgate.demo.books import Bill, Books, fetch_bill, read_books
from spendgate.demo.home import fresh_home
from spendgate.demo.proof import POLICY_FILE, Check, sum_checks
from spendgate.demo.replay import Pace, ReplayPlan, percentile, replay
from spendgate.demo.report import check_object
from spendgate.demo.run import CALLS_FILE, run_jobs
from spendgate.demo.screen import Watch, checks_table, figures_table, say, step
from spendgate.demo.stage import start_model_server, start_served_model
from spendgate.demo.trace_file import Arrival, read_trace
from spendgate.demo.traffic import CallLog, Endpoint
from spendgate.domain.money import format_usd
from spendgate.errors import HostError

LATENCY_MS = 50.0
REPORT_FILE = "trace.json"
_POLICY = """\
# Written by `spendgate trace`. Limits that the heaviest agents and users of the trace reach.
defaults: {{max_output_tokens: 4096, unmatched: refuse}}
budgets:
  - {{id: org-month, scope: {{org: "*"}}, limit_usd: 500, window: month}}
  - {{id: teams, scope: {{team: "*"}}, limit_usd: 100, window: day}}
  - id: agents
    scope: {{agent: "*"}}
    limit_usd: {agent_usd}
    window: day
    soft_cap: 0.5
    auto_downgrade:
      - {{from: [databricks-claude-sonnet-4-5], to: databricks-claude-haiku-4-5}}
      - {{from: [databricks-claude-haiku-4-5], to: databricks-gpt-oss-20b}}
  - {{id: users, scope: {{user: "*"}}, limit_usd: {user_usd}, window: week}}
  - {{id: sessions, scope: {{session: "*"}}, limit_usd: {session_usd}, window: lifetime}}
"""
# Limits per call of the trace. A call costs 1_800_000 nano-USD in the mean (measured on the Azure
# trace); the busiest agent makes two fifths of all calls, the busiest user a third.
_AGENT_NANO, _USER_NANO, _SESSION_NANO = 600_000, 400_000, 200_000
_LIMIT_NANO_MIN = 50_000_000
_LAG_SECONDS_SHOWN = 1.0


@dataclass(frozen=True, slots=True)
class TracePlan:
    """What to replay, and where."""

    file: Path
    home: Path
    limit: int | None = None
    upstream: str | None = None
    """A model server that runs already; None starts the simulator."""

    budgets: Path | None = None
    replaying: ReplayPlan = field(default_factory=ReplayPlan)


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What a replay came to."""

    calls: int
    pace: Pace
    outcomes: dict[str, int]
    latency_p50_seconds: float
    latency_p99_seconds: float
    sums_nano: dict[str, int]
    """What each book says that the calls cost; no bill where the model server keeps none."""

    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def run_trace(plan: TracePlan, console: Console) -> TraceReport:
    """Replay a trace through the served model, run the jobs, and compare the sums of all books.

    Raises:
        InvalidRequestError: if the file is no trace.
        HostError: if the home can't be used, or a server or a job fails.
    """
    arrivals = read_trace(plan.file, plan.limit)
    home = fresh_home(plan.home)
    _write_policy(home / POLICY_FILE, plan.budgets, len(arrivals))
    minutes = arrivals[-1].offset_seconds / 60
    say(
        console,
        f"{plan.file.name}: {len(arrivals)} calls in {minutes:.1f} min, replayed "
        f"{plan.replaying.speed:g} times as fast; all that it makes is in {plan.home}",
    )
    log = CallLog()
    bill, pace = _play(home, plan, arrivals, log, console)
    log.write(home / CALLS_FILE)
    run_jobs(home, console)
    with step(console, "sums of all books are compared"):
        books = read_books(home)
    report = _report(bill, books, log, pace)
    text = json.dumps(report_object(report), ensure_ascii=False, indent=2)
    (home / REPORT_FILE).write_text(f"{text}\n", encoding="utf-8")
    return report


def report_object(report: TraceReport) -> dict[str, object]:
    """Write a report as JSON, money as decimal text."""
    return {
        "calls": report.calls,
        "seconds": round(report.pace.seconds, 2),
        "calls_per_second": round(report.calls / report.pace.seconds, 1),
        "lag_seconds_max": round(report.pace.lag_seconds_max, 2),
        "outcomes": report.outcomes,
        "latency_p50_ms": round(report.latency_p50_seconds * 1000, 1),
        "latency_p99_ms": round(report.latency_p99_seconds * 1000, 1),
        "sums_usd": {name: format_usd(nano) for name, nano in report.sums_nano.items()},
        "holds": report.holds,
        "checks": [check_object(one) for one in report.checks],
    }


def show_trace(report: TraceReport, console: Console) -> None:
    """Show a report as tables."""
    figures = [
        (name, str(value))
        for name, value in report_object(report).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    figures += [(f"outcome {name}", str(count)) for name, count in report.outcomes.items()]
    figures += [
        (f"sum of {name}, USD", format_usd(nano)) for name, nano in report.sums_nano.items()
    ]
    console.print(figures_table(("figure", "value"), figures, numbers=("value",)))
    console.print(checks_table([(one.holds, one.name, one.detail) for one in report.checks]))
    if report.pace.lag_seconds_max > _LAG_SECONDS_SHOWN:
        say(
            console,
            f"The latest call started {report.pace.lag_seconds_max:.0f} s late: at this speed and "
            "concurrency the machine is full, and latencies are those of a full machine.",
        )
    failed = sum(not one.holds for one in report.checks)
    say(
        console,
        f"{failed} of {len(report.checks)} checks FAILED"
        if failed
        else f"All {len(report.checks)} checks hold",
    )


def _write_policy(target: Path, budgets: Path | None, calls: int) -> None:
    """Copy the user's policy, or write one whose limits grow with the trace."""
    try:
        text = (
            _POLICY.format(
                agent_usd=_limit_usd(_AGENT_NANO * calls),
                user_usd=_limit_usd(_USER_NANO * calls),
                session_usd=_limit_usd(_SESSION_NANO * calls),
            )
            if budgets is None
            else budgets.read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"{budgets} can't be read: {error}") from None
    target.write_text(text, encoding="utf-8")


def _limit_usd(nano: int) -> str:
    return format_usd(max(_LIMIT_NANO_MIN, nano))


def _play(
    home: Path, plan: TracePlan, arrivals: list[Arrival], log: CallLog, console: Console
) -> tuple[Bill | None, Pace]:
    """Run the servers and all calls; return the bill of these calls, if there is one."""
    if plan.upstream is not None:
        before = fetch_bill(plan.upstream)
        # Only the simulator keeps a bill, and only it can be told how much to generate.
        replaying = replace(plan.replaying, steers_length=before is not None)
        pace = _replayed(home, plan.upstream, arrivals, replaying, log, console)
        after = fetch_bill(plan.upstream)
        return (None if before is None or after is None else after.since(before)), pace
    with step(console, "model server starts: it answers without a model and keeps its own bill"):
        model = start_model_server(home, LATENCY_MS)
    with model:
        pace = _replayed(home, model.url, arrivals, plan.replaying, log, console)
        return fetch_bill(model.url), pace


def _replayed(
    home: Path,
    upstream: str,
    arrivals: list[Arrival],
    replaying: ReplayPlan,
    log: CallLog,
    console: Console,
) -> Pace:
    with step(console, "served model starts: MLflow's own scoring server"):
        server = start_served_model(home, upstream, home / POLICY_FILE)
    with server:
        endpoint = Endpoint(server.url, log)
        with Watch(console, log, "replay", len(arrivals)).running() as watch:
            pace = replay(endpoint, arrivals, replaying, watch.tick)
        endpoint.close()
        with step(console, "served model stops"):
            server.stop()
    return pace


def _report(bill: Bill | None, books: Books, log: CallLog, pace: Pace) -> TraceReport:
    calls = log.records
    sums = {} if bill is None else {"bill": bill.total_nano}
    sums |= {
        "ledger": books.journal_nano,
        "Delta": sum(event.cost_nano for event in books.events),
        "spend_hourly": books.hourly_nano,
    }
    return TraceReport(
        calls=len(calls),
        pace=pace,
        outcomes=dict(log.outcomes.most_common()),
        latency_p50_seconds=percentile(calls, 0.50),
        latency_p99_seconds=percentile(calls, 0.99),
        sums_nano=sums,
        checks=tuple(sum_checks(bill, calls, books)),
    )
