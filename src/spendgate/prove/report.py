"""What a proof came to: tables, checks, and `prove.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from spendgate.demo.proof import Check
from spendgate.demo.report import check_object
from spendgate.demo.screen import checks_table, figures_table, say
from spendgate.domain.money import format_usd
from spendgate.prove.account import LineAccount, admission_of
from spendgate.prove.evidence import Corrected

PROOF_FILE = "prove.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """All figures of one store."""

    name: str
    lines: tuple[LineAccount, ...]
    checks: tuple[Check, ...]
    faults: Mapping[str, int]
    outcomes: Mapping[str, int]
    retries: Mapping[str, int]
    corrected: Corrected
    unknown_at_end: int
    swept_at_end: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def show_outcome(outcome: Outcome, console: Console) -> None:
    """Show what was done, every budget, and every check."""
    say(console, f"  faults: {_counted(outcome.faults)}")
    say(console, f"  calls: {_counted(outcome.outcomes)}; tried again after {_retried(outcome)}")
    say(
        console,
        f"  ends that nobody knew: {outcome.corrected.holds} calls were charged in full and "
        f"corrected by the bill, {format_usd(outcome.corrected.freed_nano)} USD came free",
    )
    numbers = ("values", "limit", "bill", "ledger", "Delta", "admitted ÷ affordable")
    columns = ("budget", "window", "values", "fullest", *numbers[1:], "")
    console.print(figures_table(columns, _rows(outcome), numbers=numbers))
    console.print(checks_table([(one.holds, one.name, one.detail) for one in outcome.checks]))
    for check in outcome.checks:
        if not check.holds:
            say(console, f"FAILED: {check.name}: {check.detail}")


def write_outcome(home: Path, outcome: Outcome) -> None:
    """Write every figure as JSON, money as decimal text."""
    document = {
        "store": outcome.name,
        "holds": outcome.holds,
        "seconds": round(outcome.seconds, 1),
        "faults": dict(outcome.faults),
        "calls": dict(outcome.outcomes),
        "retries": dict(outcome.retries),
        "corrected_calls": outcome.corrected.holds,
        "corrected_usd": format_usd(outcome.corrected.freed_nano),
        "unknown_at_end": outcome.unknown_at_end,
        "swept_at_end": outcome.swept_at_end,
        "checks": [check_object(one) for one in outcome.checks],
        "budgets": [_line_object(one) for one in outcome.lines],
    }
    text = json.dumps(document, ensure_ascii=False, indent=2)
    (home / PROOF_FILE).write_text(f"{text}\n", encoding="utf-8")


def _rows(outcome: Outcome) -> list[list[str]]:
    groups: dict[str, list[LineAccount]] = {}
    for line in outcome.lines:
        groups.setdefault(line.limit.budget_id, []).append(line)
    rows: list[list[str]] = []
    for budget_id, group in groups.items():
        top = max(group, key=lambda one: one.bill_nano)
        amounts = (top.limit.limit_nano, top.bill_nano, top.ledger_nano, top.delta_nano)
        rows.append(
            [
                budget_id,
                top.limit.window,
                str(len(group)),
                top.line.value,
                *map(format_usd, amounts),
                _admission(group),
                _status(group),
            ]
        )
    return rows


def _admission(group: list[LineAccount]) -> str:
    admitted, affordable = admission_of([one for one in group if one.is_last])
    return f"{admitted} ÷ {affordable} = {admitted / affordable:.3f}" if affordable else "-"


def _status(group: list[LineAccount]) -> str:
    is_shadow = not group[0].limit.is_enforced
    over = sum(one.bill_nano > one.limit.limit_nano for one in group)
    differing = sum(len({one.bill_nano, one.ledger_nano, one.delta_nano}) > 1 for one in group)
    if differing or (over and not is_shadow):
        return f"FAILED: {over} over the limit, books differ for {differing}"
    return "shadow, books agree" if is_shadow else "within, books agree"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.items()) or "none"


def _retried(outcome: Outcome) -> str:
    return _counted(dict(sorted(outcome.retries.items(), key=lambda one: -one[1])[:6]))


def _line_object(one: LineAccount) -> dict[str, object]:
    return {
        "budget_id": one.line.budget_id,
        "value": one.line.value,
        "period": one.line.period,
        "limit_usd": format_usd(one.limit.limit_nano),
        "is_enforced": one.limit.is_enforced,
        "bill_usd": format_usd(one.bill_nano),
        "ledger_usd": format_usd(one.ledger_nano),
        "delta_usd": format_usd(one.delta_nano),
        "admitted": one.admitted,
        "affordable": one.affordable if one.is_last else None,
    }
