"""A home with a sink and the job aggregate over it, for tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.config import Settings
from spendgate.domain.budget import BalanceRow, Budget, Policy
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Scope
from spendgate.domain.table import BUDGET_STATE, SPEND_HOURLY, WINDOW_SPEND
from spendgate.domain.usage import TokenUsage
from spendgate.domain.window import parse_window
from spendgate.gateway.ports import EventBatch
from spendgate.jobs import aggregate
from spendgate.jobs.job_run import Report
from spendgate.jobs.spark_session import local_session
from spendgate.jobs.table_space import TableSpace

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
NOW = datetime(2026, 3, 10, 13, tzinfo=UTC)
USERS = Budget("users", Scope.of({"user": "*"}), 10 * 10**9, parse_window("day"))
LIFE = Budget("life", Scope(), 100 * 10**9, parse_window("lifetime"))
ROLL = Budget("roll", Scope.of({"org": "acme"}), 10**9, parse_window("rolling:1h"))
POLICY = Policy((USERS, LIFE, ROLL))


@dataclass
class Home:
    """A home with a sink, and the job over it."""

    folder: Path
    batches: int = 0
    events: list[SpendEvent] = field(default_factory=list[SpendEvent])

    @property
    def settings(self) -> Settings:
        return Settings(home=self.folder)

    def charge(self, user: str, cost_nano: int, at: datetime = AT) -> None:
        """Flush one settled call, in a batch of its own."""
        self.flush(self.call(user, cost_nano, at))

    def call(self, user: str, cost_nano: int, at: datetime = AT) -> SpendEvent:
        """Make one settled call."""
        number = len(self.events) + 1
        facts = CallFacts(
            1, at, {"org": "acme", "user": user}, "m", "m", "main", "global", "v1", "allow",
            ("users", "life", "roll"),
        )  # fmt: skip
        charge = Charge(TokenUsage(10, 5), cost_nano)
        hold_id = f"r{number}#1"
        event = SpendEvent(
            f"{hold_id}:1", hold_id, EventKind.SETTLED, at, facts, charge, cost_nano, cost_nano
        )
        self.events.append(event)
        return event

    def flush(self, *events: SpendEvent) -> None:
        """Append events as one batch of the sink."""
        self.batches += 1
        DeltaSink(self.settings.delta_folder).append("l", EventBatch(self.batches, events, ()))

    def aggregate(
        self,
        policy: Policy = POLICY,
        balances: list[BalanceRow] | None = None,
        as_of: datetime = NOW,
        *,
        is_rebuild: bool = False,
        space: TableSpace | None = None,
    ) -> Report:
        folder = self.settings.delta_folder.absolute()
        spark = local_session(self.folder)
        checkpoint = self.folder / "checkpoints" / "aggregate"
        return aggregate.aggregate(
            spark, space or TableSpace(folder), policy, balances, as_of, checkpoint,
            is_rebuild=is_rebuild,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in query_rows(self.settings.delta_folder, sql)]

    def sums(self) -> list[list[tuple[object, ...]]]:
        """What the job has made, without the marks of its rounds."""
        return [
            self.rows(f"SELECT {columns} FROM {table} ORDER BY {columns}")
            for table, columns in (
                ("spend_hourly", "hour, org_id, user_id, model, requests, input_tokens, cost_usd"),
                (
                    "window_spend",
                    'budget_id, scope_value, "window", window_start, spent_usd, requests',
                ),
                (
                    "budget_state",
                    'budget_id, scope_value, "window", spent_usd, requests, forecast_usd',
                ),
            )
        ]

    def tables(self) -> list[list[tuple[object, ...]]]:
        """Everything the job has made, in one order."""
        return [
            self.rows(f"SELECT * FROM {table.name} ORDER BY {', '.join(table.key)}")
            for table in (SPEND_HOURLY, WINDOW_SPEND, BUDGET_STATE)
        ]
