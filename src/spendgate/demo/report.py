"""The end of the demo: the closing tables, the SQL to type next, and `proof.json`."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from spendgate.adapters.statements import statements
from spendgate.demo.burst import Burst
from spendgate.demo.proof import Check, Proof, ProvenLine
from spendgate.demo.screen import checks_table, figures_table, say
from spendgate.demo.stage import run_command
from spendgate.demo.traffic import CallLog
from spendgate.domain.money import format_usd

PROOF_FILE = "proof.json"
_SQL = statements("demo/queries.sql")
_EXECUTED = ("spend_by_model", "full_budgets")
_SUGGESTED = ("refusals_by_reason", "spend_by_team", "downgrades")

_MEANINGS = {
    "allow": "answered as asked",
    "fit": "answered, with max_tokens shrunk to what the budgets afford",
    "downgrade": "answered by a cheaper model, from a soft cap on",
    "budget_exhausted": "refused: too little is left until the window ends",
    "budget_held": "refused for a moment: calls in flight hold what is left; a retry helps",
    "no_budget": "refused: no budget covers the call",
    "model_not_priced": "refused: a model without a price has no bound",
    "upstream_error": "the model server answered 429, as some calls told it to; nothing charged",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a demo came to."""

    proof: Proof
    story: tuple[Check, ...]
    bursts: tuple[Burst, ...]
    log: CallLog
    seconds: float

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of the story, then of the money."""
        return (*self.story, *self.proof.checks)

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def show_outcome(home: Path, outcome: Outcome, console: Console) -> None:
    """Show tables, checks and queries; `home` as the user wrote it."""
    say(console, "\nBudgets; of a wildcard's values, the fullest one")
    console.print(_budget_table(outcome.proof.lines))
    say(console, "Calls by decision, or by why they were refused")
    rows = [
        (name, str(count), _MEANINGS.get(name, ""))
        for name, count in outcome.log.outcomes.most_common()
    ]
    console.print(figures_table(("outcome", "calls", ""), rows, numbers=("calls",)))
    say(console, "Checks")
    console.print(checks_table([(one.holds, one.name, one.detail) for one in outcome.checks]))
    show_queries(home, _EXECUTED, _SUGGESTED, console)
    failed = [one for one in outcome.checks if not one.holds]
    for check in failed:
        say(console, f"FAILED: {check.name}: {check.detail}")
    verdict = (
        f"{len(failed)} of {len(outcome.checks)} checks FAILED"
        if failed
        else f"All {len(outcome.checks)} checks hold"
    )
    say(console, f"{verdict}; {outcome.seconds:.0f} s; every figure is in {home / PROOF_FILE}")


def show_queries(
    home: Path, executed: Sequence[str], suggested: Sequence[str], console: Console
) -> None:
    """Run some of the queries as a user would, and say how to type others."""
    folder = str(home.absolute())
    for name in executed:
        sql = _one_line(name)
        say(console, _command_line(home, sql))
        say(console, run_command(home.absolute(), ["sql", "--home", folder, sql]))
    say(console, "Next you might type")
    for name in suggested:
        say(console, _command_line(home, _one_line(name)))
    say(console, "")


def _command_line(home: Path, sql: str) -> str:
    return f'$ uv run spendgate sql --home {home} "{sql}"'


def _one_line(name: str) -> str:
    return " ".join(_SQL[name].split())


def write_outcome(home: Path, outcome: Outcome) -> None:
    """Write every figure as JSON, money as decimal text."""
    document = {
        "holds": outcome.holds,
        "seconds": round(outcome.seconds, 1),
        "calls": dict(outcome.log.outcomes.most_common()),
        "checks": [check_object(one) for one in outcome.checks],
        "bursts": [
            {
                "name": one.name,
                "callers": one.callers,
                "max_tokens": one.max_tokens,
                "admitted": one.admitted,
                "affordable": one.affordable,
                "spent_usd": format_usd(one.spent_nano),
                "limit_usd": format_usd(one.limit_nano),
            }
            for one in outcome.bursts
        ],
        "budgets": [_line_object(one) for one in outcome.proof.lines],
    }
    text = json.dumps(document, ensure_ascii=False, indent=2)
    (home / PROOF_FILE).write_text(f"{text}\n", encoding="utf-8")


def check_object(check: Check) -> dict[str, object]:
    """Write one check as JSON."""
    return {"name": check.name, "holds": check.holds, "detail": check.detail}


def _line_object(one: ProvenLine) -> dict[str, object]:
    return {
        "budget_id": one.line.budget_id,
        "value": one.line.value,
        "period": one.line.period,
        "limit_usd": format_usd(one.limit.limit_nano),
        "is_enforced": one.limit.is_enforced,
        "bill_usd": format_usd(one.bill_nano),
        "ledger_usd": format_usd(one.ledger_nano),
        "delta_usd": format_usd(one.delta_nano),
        "budget_state_usd": format_usd(one.state_nano),
        "holds": one.agrees and one.is_within,
    }


def _budget_table(lines: Sequence[ProvenLine]) -> object:
    grouped: defaultdict[str, list[ProvenLine]] = defaultdict(list)
    for line in lines:
        grouped[line.limit.budget_id].append(line)
    columns = ("budget", "window", "values", "fullest", "limit", "bill", "ledger", "Delta", "state")
    rows: list[list[str]] = []
    for budget_id, group in grouped.items():
        top = max(group, key=lambda one: one.bill_nano)
        amounts = (top.limit.limit_nano, top.bill_nano, top.ledger_nano, top.delta_nano)
        rows.append(
            [
                budget_id,
                top.limit.window,
                str(len(group)),
                top.line.value,
                *map(format_usd, amounts),
                format_usd(top.state_nano),
                _status(group),
            ]
        )
    numbers = ("values", "limit", "bill", "ledger", "Delta", "state")
    return figures_table((*columns, "status"), rows, numbers=numbers)


def _status(group: Sequence[ProvenLine]) -> str:
    wrong = Counter(
        "books differ" if not one.agrees else "over the limit"
        for one in group
        if not (one.agrees and one.is_within)
    )
    if wrong:
        return "FAILED: " + ", ".join(f"{count} {what}" for what, count in wrong.items())
    return "within, books agree" if group[0].limit.is_enforced else "shadow, books agree"
