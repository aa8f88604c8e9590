"""The reconcile job over a ledger and stand-ins of the platform's tables, with awkward rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.event_rows import arrow_schema
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import drain_outbox, open_ledger
from spendgate.config import Settings
from spendgate.domain.budget import Budget
from spendgate.domain.decision import Candidate
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.reservation import ReserveRequest, Settlement
from spendgate.domain.scope import Identity, Scope
from spendgate.domain.table import SPEND_EVENTS
from spendgate.domain.usage import TokenUsage
from spendgate.domain.window import parse_window
from spendgate.errors import HostError
from spendgate.jobs import reconcile
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.system_tables import SystemTables
from tests.dashboard_tables import row_of

pytestmark = pytest.mark.spark

DAY = datetime(2026, 3, 10, tzinfo=UTC)
NOW = datetime(2026, 3, 12, 12, 20, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))
HAIKU = "databricks-claude-haiku-4-5"  # 1 USD and 14.286 DBU per million tokens of input
SKU = "PREMIUM_ANTHROPIC_MODEL_SERVING"
MILLION = 1_000_000


@dataclass
class Desk:
    """A home whose ledger is reconciled with tables in its folder `system`."""

    spark: SparkSession
    settings: Settings
    ledger: StoredLedger

    @property
    def tables(self) -> SystemTables:
        return SystemTables(self.spark, folder=self.settings.home.absolute() / "system")

    def call(self, hold_id: str, at: datetime, tokens: int | None, hold_usd: int = 2) -> None:
        """Make a call through the gate; without tokens its end stays unknown."""
        policy, scopes = self.ledger.policies.policy(), {"user": "ann"}
        candidates = {HAIKU: Candidate(HAIKU, 0, 1000, hold_usd * 10**9, 0, "v1")}
        facts = CallFacts(1, at, scopes, HAIKU, "", "main", "global", "", "", ("users",))
        claims = policy.claims(Identity(scopes), at)
        request = ReserveRequest(
            hold_id, "body", claims, candidates, HAIKU, facts,
            policy_version=policy.version, expires_at=at + timedelta(minutes=5),
        )  # fmt: skip
        self.ledger.reserve([request])
        if tokens is None:
            self.ledger.expire([hold_id], at)
        else:
            usage = TokenUsage(tokens, 0)
            charge = Charge(usage, tokens * 1000, tokens * 14286, "short", "reported")
            self.ledger.settle([Settlement(hold_id, charge, at)])

    def drain(self) -> None:
        drain_outbox(self.ledger, self.settings)

    def put(self, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows of which only what matters is given."""
        target = self.spark.table(self.tables.name(table))
        values = [tuple(row.get(name) for name in target.columns) for row in rows]
        frame = self.spark.createDataFrame(values, target.schema)
        frame.write.format("delta").mode("append").save(str(self.tables.folder) + f"/{table}")

    def reconcile(self, **changes: Any) -> dict[str, Any]:  # any field of the settings
        settings = self.settings.model_copy(update=changes)
        return json.loads(json.dumps(reconcile.run(JobRun(settings, NOW)), default=str))

    def rows(self) -> list[tuple[object, ...]]:
        sql = (
            "SELECT date_part('hour', hour), endpoint, sku, our_usd, billed_usd, bypass_usd, "
            "residual_usd, status FROM reconciliation ORDER BY hour, endpoint, sku"
        )
        return [tuple(row.values()) for row in query_rows(self.settings.delta_folder, sql)]

    def spent(self) -> dict[str, int]:
        return {one.scope_value: one.spent_nano for one in self.ledger.balances()}


@pytest.fixture
def desk(spark: SparkSession, tmp_path: Path) -> Iterator[Desk]:
    settings = Settings(home=tmp_path)
    ledger = open_ledger(settings)
    users = Budget("users", Scope.parse("user:*"), 100 * 10**9, parse_window("month"))
    ledger.policies.put_budgets([users])
    yield Desk(spark, settings, ledger)
    ledger.close()


def seen(request_id: str, at: datetime, tokens: int | None, **more: object) -> dict[str, object]:
    row = {
        "workspace_id": "1", "databricks_request_id": request_id, "requester": "bob@acme.com",
        "status_code": 200, "request_time": at, "input_token_count": tokens,
        "output_token_count": None if tokens is None else 0, "served_entity_id": "e1",
    }  # fmt: skip
    return row | more


def billed(
    record_id: str | None, at: datetime, dbu: str, kind: str = "ORIGINAL", **more: object
) -> dict[str, object]:
    row = {
        "record_id": record_id, "workspace_id": "1", "sku_name": SKU, "cloud": "AWS",
        "usage_start_time": at, "usage_end_time": at + timedelta(hours=1),
        "usage_date": at.astimezone(UTC).date(), "usage_unit": "DBU",
        "usage_quantity": Decimal(dbu), "billing_origin_product": "MODEL_SERVING",
        "record_type": kind, "usage_metadata": (HAIKU, None, None),
    }  # fmt: skip
    return row | more


def price(sku: str, usd: str, start: datetime, end: datetime | None = None, **more: object) -> Any:
    row = {
        "sku_name": sku, "cloud": "AWS", "currency_code": "USD", "usage_unit": "DBU",
        "price_start_time": start, "price_end_time": end,
        "pricing": (Decimal("9.99"), None, (Decimal(usd),)),
    }  # fmt: skip
    return row | more


def put_calls(desk: Desk, noon: datetime) -> None:
    """List calls of ours and calls around the gate, each in its own awkward way."""
    entity = {"served_entity_id": "e1", "endpoint_name": HAIKU, "change_time": DAY}
    desk.put(
        "serving.served_entities",
        [
            entity | {"endpoint_name": "its-old-name", "change_time": DAY - timedelta(days=9)},
            entity | {"entity_type": "FOUNDATION_MODEL"},
            entity | {"served_entity_id": "e2", "entity_type": "CUSTOM_MODEL"},
            entity | {"served_entity_id": "e3", "endpoint_name": "databricks-brand-new"},
        ],
    )
    desk.put(
        "serving.endpoint_usage",
        [
            seen("q1", noon + timedelta(minutes=31), MILLION, client_request_id="r1#1"),
            seen("q1", noon + timedelta(minutes=31), MILLION, client_request_id="r1#1"),
            seen("q2", noon + timedelta(minutes=65), MILLION // 2, client_request_id="r2#1"),
            seen("q5", noon, MILLION, client_request_id="r5#1"),
            # Around the gate: by bob, by bob with an id of ours that was used, and by a robot.
            seen("b1", noon + timedelta(minutes=59, seconds=59, microseconds=999_999), MILLION),
            seen("b2", noon + timedelta(minutes=40), 100_000, client_request_id="r1#1"),
            # None of our money, and what can't be priced.
            seen("o1", noon, MILLION, workspace_id="2"),
            seen("o2", noon, None, served_entity_id="e2"),
            seen("o3", noon, None, status_code=429),
            seen("u1", noon, 7, served_entity_id="e3"),
            seen("u2", noon, None),
        ],
    )
    tags = {"client_request_id": "gone#1", "agent": "robot"}
    desk.put(
        "ai_gateway.usage",
        [
            {
                "workspace_id": "1", "request_id": "g1", "event_time": noon, "service_name": HAIKU,
                "requester": "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "request_tags": tags,
                "status_code": 200, "input_tokens": 200_000, "output_tokens": 0,
                "token_details": (100_000, 0, 0),
            },
        ],
    )  # fmt: skip


def put_bill(desk: Desk, noon: datetime) -> None:
    """Bill them, with a retraction, a restatement and rows of others."""
    desk.put(
        "billing.list_prices",
        [
            price(SKU, "0.05", DAY - timedelta(days=99), DAY - timedelta(days=9)),
            price(SKU, "0.07", DAY - timedelta(days=9)),
            price(SKU, "0.06", DAY - timedelta(days=9), currency_code="EUR"),
        ],
    )
    # Haiku at noon: r1 and r5, bob's 2.1 million, the robot's 0.11 USD.
    dbu = str(Decimal("14.286") * (2 + Decimal("2.1") + Decimal("0.11")))
    desk.put(
        "billing.usage",
        [
            billed("a", noon, "99"),
            billed("a", noon, "99"),
            billed("b", noon, "-99", "RETRACTION"),
            billed("c", noon.astimezone(INDIA), dbu, "RESTATEMENT"),
            billed("d", noon + timedelta(hours=1), "7.143"),
            billed("e", noon, "500", workspace_id="2"),
            billed("f", noon, "500", usage_metadata=("ours", None, None), sku_name="COMPUTE"),
            billed(None, noon + timedelta(hours=5), "3", sku_name="PREMIUM_NEW_MODEL_SERVING"),
            billed("h", noon + timedelta(hours=20), "-1", "RETRACTION"),
        ],
    )


def test_ends_are_closed_bypass_is_charged_and_the_bill_agrees(desk: Desk) -> None:
    noon = DAY + timedelta(hours=12)
    desk.call("r1#1", noon + timedelta(minutes=30), MILLION)
    desk.call("r2#1", noon + timedelta(hours=1), None)  # used half a million
    desk.call("r3#1", noon + timedelta(hours=1), None)  # nobody knows
    desk.call("r4#1", NOW - timedelta(minutes=50), MILLION)
    desk.drain()
    desk.call("r5#1", noon, MILLION)  # not in the tables yet
    desk.tables.create()
    put_calls(desk, noon)
    put_bill(desk, noon)

    first = desk.reconcile()

    assert first["workspaces"] == ["1"]
    assert first["evidence"] == {"settled": 1, "freed_usd": "1.500000000", "too_late": 0}
    bypass = first["bypass"]
    assert (bypass["requests"], bypass["charged_usd"]) == (3, "1.210000000")
    assert (bypass["charged"], bypass["uncovered"]) == (2, 1)
    assert set(bypass["payers"]) == {"user:bob@acme.com", "agent:robot"}
    assert desk.spent() == {"ann": 5_500_000_000, "bob@acme.com": 1_100_000_000}
    assert [one.partition(" and has")[0].partition(" aren't")[0] for one in first["problems"]] == [
        "SKU PREMIUM_NEW_MODEL_SERVING is billed",
        "1 calls to databricks-brand-new around the gate",
        f"1 calls to {HAIKU} around the gate",
    ]

    # Its own events are in the tables, and one more call of bob's has come late: with it the bill
    # agrees, and only the difference is booked.
    desk.drain()
    desk.put("serving.endpoint_usage", [seen("b3", noon, MILLION)])
    second = desk.reconcile()

    assert second["evidence"]["settled"] == 0
    bypass = second["bypass"]
    assert (bypass["charged"], bypass["corrected"], bypass["charged_usd"]) == (0, 1, "1.000000000")
    assert desk.spent() == {"ann": 5_500_000_000, "bob@acme.com": 2_100_000_000}
    assert desk.rows() == [
        (12, "databricks-brand-new", "unknown", "0.000000000", None, None, None, "unpriced"),
        (12, HAIKU, SKU, "2.000000000", "4.210084200", "2.210000000", "0.000084200", "agreed"),
        (13, HAIKU, SKU, "2.500000000", "0.500010000", None, "-1.999990000", "drift"),
        (17, HAIKU, "PREMIUM_NEW_MODEL_SERVING", "0.000000000", None, None, None, "unpriced"),
        (8, HAIKU, SKU, "0.000000000", "-0.070000000", None, "-0.070000000", "drift"),
        (11, HAIKU, "unknown", "1.000000000", None, None, None, "open"),
    ]
    assert second["hours"] == {"agreed": 1, "drift": 2, "unpriced": 2, "open": 1}
    assert second["drift"][0]["hour"] == "2026-03-10T13:00"


def test_without_the_platforms_tables_the_report_says_what_to_do(desk: Desk) -> None:
    noon = DAY + timedelta(hours=12)
    desk.call("r1#1", noon, MILLION)
    desk.drain()
    odd = row_of(
        SPEND_EVENTS, event_id="odd#1:1", hold_id="odd#1", kind="settled", occurred_at=noon,
        recorded_at=noon, model=HAIKU, cost_usd=Decimal(-9), usage_source="reported",
    )  # fmt: skip
    rows = pa.Table.from_pylist([odd], schema=arrow_schema(SPEND_EVENTS))
    write_deltalake(desk.settings.delta_folder / SPEND_EVENTS.name, rows, mode="append")

    report = desk.reconcile()

    folder = desk.tables.folder
    served, ours, billed = report["problems"]
    assert served.startswith(f"there is no table {folder}/serving.endpoint_usage, so open ends")
    assert "set SPENDGATE_WORKSPACE_IDS" in ours
    assert billed == f"there is no table {folder}/billing.usage, so the bill isn't compared"
    # What is in quarantine for aggregate isn't ours here either.
    assert [(row[3], row[-1]) for row in desk.rows()] == [("1.000000000", "open")]

    run = JobRun(desk.settings, NOW, catalog="spark_catalog", schema="reconciled")
    desk.spark.sql("CREATE SCHEMA spark_catalog.reconciled")
    problems = reconcile.run(run)["problems"]
    desk.spark.sql("DROP SCHEMA spark_catalog.reconciled CASCADE")
    assert isinstance(problems, list)
    assert "GRANT USE SCHEMA ON SCHEMA system.serving TO `" in problems[0]
    assert "GRANT SELECT ON TABLE system.serving.endpoint_usage TO `" in problems[0]
    assert "GRANT SELECT ON TABLE system.billing.usage TO `" in problems[2]


def test_settings_that_cant_be_used_are_named(desk: Desk) -> None:
    with pytest.raises(HostError, match="SPENDGATE_REQUESTER_SCOPES: unknown scope 'robot'"):
        desk.reconcile(requester_scopes={"x": "robot:y"})
    with pytest.raises(HostError, match="isn't before --until"):
        reconcile.run(JobRun(desk.settings, NOW, since=NOW, until=NOW))
