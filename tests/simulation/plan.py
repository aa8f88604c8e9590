"""What a seed decides before anything runs: budgets, crowd, and which faults are about.

Every seed leaves out some kinds of fault, so that one kind can't hide another (swarm testing).
"""

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from random import Random

from spendgate.domain.budget import Budget, DowngradeStep, Mode, parse_window
from spendgate.domain.scope import Scope

NANO_PER_CALL = 5_000_000
"""About what one call holds at most, so that limits are a few calls wide."""

STARTS = (
    datetime(2026, 3, 8, 4, 40, tzinfo=UTC),  # before midnight in New York, a short night
    datetime(2026, 11, 1, 3, 40, tzinfo=UTC),  # before midnight in New York, a long night
    datetime(2026, 2, 28, 23, 40, tzinfo=UTC),  # before the end of a month
    datetime(2026, 6, 10, 12, 0, tzinfo=UTC),
)


@dataclass(frozen=True)
class BudgetPlan:
    """A budget as the auditor knows it; `value` may be `*`."""

    budget_id: str
    dimension: str
    value: str
    window: str
    limit_nano: int
    tz: str = "UTC"
    is_shadow: bool = False
    fit: bool = True
    is_stepping_down: bool = False

    def as_budget(self, limit_nano: int) -> Budget:
        """Return the row that the ledger gets."""
        steps = (DowngradeStep(("big",), "small"),) if self.is_stepping_down else ()
        return Budget(
            self.budget_id,
            Scope.parse(f"{self.dimension}:{self.value}"),
            limit_nano,
            parse_window(self.window),
            tz=self.tz,
            auto_downgrade=steps,
            soft_cap_ppm=600_000,
            mode=Mode.SHADOW if self.is_shadow else Mode.ENFORCE,
            fit=self.fit,
            min_output_tokens=16,
        )


@dataclass
class Weather:
    """How likely each fault is, per occasion; zero where a seed leaves it out."""

    death_before_commit: float = 0.02
    death_after_commit: float = 0.02
    lost_commit_answer: float = 0.02
    ledger_unavailable: float = 0.02
    death_between_steps: float = 0.02
    pause_past_ttl: float = 0.05
    cut_inside_the_gate: float = 0.03
    finish_twice: float = 0.05
    reply_dropped: float = 0.08
    reply_late: float = 0.05
    request_twice: float = 0.08
    death_before_append: float = 0.1
    death_after_append: float = 0.1
    sink_unavailable: float = 0.1
    not_sent: float = 0.04
    refused_upstream: float = 0.05
    failed_upstream: float = 0.05
    answer_lost: float = 0.05
    usage_missing: float = 0.04
    usage_garbage: float = 0.04
    clock_jump: float = 0.25
    store_outage: float = 0.15
    sink_outage: float = 0.15
    kill: float = 0.25
    limit_change: float = 0.5
    pause_scope: float = 0.3
    temporary_raise: float = 0.3


@dataclass
class Plan:
    """One seed's world."""

    start: datetime
    budgets: list[BudgetPlan]
    weather: Weather
    workers: int
    clients: int
    calls_per_client: int
    hold_seconds: float
    flush_limit: int
    skews: list[float] = field(default_factory=list)


def draw(random: Random) -> Plan:
    """Draw a world."""
    weather = Weather()
    for one in fields(weather):
        if random.random() < 0.35:
            setattr(weather, one.name, 0.0)
    workers = random.randint(1, 3)
    return Plan(
        start=random.choice(STARTS),
        budgets=_budgets(random),
        weather=weather,
        workers=workers,
        clients=random.randint(2, 4),
        calls_per_client=random.randint(2, 6),
        hold_seconds=random.choice([30.0, 90.0, 300.0]),
        flush_limit=random.choice([1, 3, 100]),
        skews=[random.choice([0.0, 0.0, -5.0, 5.0, 90.0]) for _ in range(workers)],
    )


def _budgets(random: Random) -> list[BudgetPlan]:
    def limit(calls: int) -> int:
        return random.randint(1, calls * 4) * NANO_PER_CALL // 4

    fits, steps = random.random() < 0.7, random.random() < 0.4
    org = BudgetPlan("org", "org", "acme", "lifetime", limit(12), fit=fits)
    optional = [
        BudgetPlan("each-user", "user", "*", "day", limit(6), tz="America/New_York", fit=fits),
        BudgetPlan("ann", "user", "ann", "day", limit(6), tz="America/New_York", fit=fits),
        BudgetPlan("session", "session", "*", "hour", limit(5), fit=fits, is_stepping_down=steps),
        BudgetPlan("agent-hour", "agent", "triage", "rolling:1h", limit(8), fit=fits),
        BudgetPlan("trial", "org", "acme", "day", limit(2), is_shadow=True),
    ]
    return [org, *(one for one in optional if random.random() < 0.7)]
