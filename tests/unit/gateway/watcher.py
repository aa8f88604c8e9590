"""Telemetry that keeps what it hears."""

from dataclasses import dataclass, field

from spendgate.gateway.call_report import CallReport


@dataclass
class Watcher:
    """Keeps what it hears."""

    is_watching: bool = True
    outcomes: list[str] = field(default_factory=list)
    reports: list[CallReport] = field(default_factory=list)

    def answered(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)

    def ended(self, report: CallReport, seconds: float) -> None:
        assert seconds >= 0
        self.reports.append(report)
