"""One Spark session for the run, and the small frames that tests are made of."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pyspark.sql import DataFrame, SparkSession

from spendgate.domain.budget import Policy
from spendgate.domain.table import SPEND_EVENTS
from spendgate.jobs.spark_session import local_session
from spendgate.transforms.budget_frame import BUDGETS_SCHEMA, budget_rows
from spendgate.transforms.schemas import schema_text

AT = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)

_EVENT: dict[str, object] = {
    "event_id": "e1", "hold_id": "h1", "attempt": 1, "kind": "settled", "occurred_at": AT,
    "recorded_at": AT, "org_id": "acme", "team_id": None, "agent_id": None, "user_id": "u1",
    "session_id": None, "task_id": None, "tags": {}, "model_requested": "big", "model": "big",
    "upstream": "main", "geo": "global", "context_tier": None, "input_tokens": None,
    "cache_read_tokens": None, "cache_write_tokens": None, "output_tokens": None,
    "reasoning_tokens": None, "reserved_usd": Decimal(1), "cost_usd": Decimal(1), "dbu": None,
    "price_version": "v1", "usage_source": "reported", "decision": "allow", "budget_ids": [],
    "latency_ms": None, "schema_version": 2, "adjustment_id": None, "adjusted_by": None,
    "reason": None,
}  # fmt: skip

EventFrame = Callable[..., DataFrame]
BudgetFrame = Callable[[Policy, datetime], DataFrame]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    session = local_session(tmp_path_factory.mktemp("home"), "spendgate tests")
    yield session
    session.stop()


@pytest.fixture
def event_frame(spark: SparkSession) -> EventFrame:
    """Make `spend_events` of the columns that a test cares about."""

    def make(*rows: dict[str, object]) -> DataFrame:
        numbered = [{"event_id": f"e{i}"} | row for i, row in enumerate(rows)]
        values = [
            tuple((_EVENT | row)[name] for name in SPEND_EVENTS.column_names) for row in numbered
        ]
        return spark.createDataFrame(values, schema_text(SPEND_EVENTS))

    return make


@pytest.fixture
def budget_frame(spark: SparkSession) -> BudgetFrame:
    """Make the budgets' frame of a policy."""

    def make(policy: Policy, as_of: datetime) -> DataFrame:
        return spark.createDataFrame(budget_rows(policy, as_of), BUDGETS_SCHEMA)

    return make
