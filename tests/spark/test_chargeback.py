"""A period charged back: exact to the nano-dollar, in FOCUS's terms, once per version."""

import csv
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import loads
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.plain_data import as_list
from spendgate.bootstrap import drain_outbox, open_ledger, open_price_book
from spendgate.config import Settings
from spendgate.domain.adjustment import Adjustment, Booking
from spendgate.domain.allocation import allocate
from spendgate.domain.budget import Policy
from spendgate.domain.event import CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.money import to_decimal
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.domain.price import Price, TokenClass
from spendgate.domain.usage import TokenUsage
from spendgate.errors import HostError
from spendgate.gateway.ports import EventBatch
from spendgate.jobs import aggregate, chargeback
from spendgate.jobs.job_run import JobRun, Report

pytestmark = pytest.mark.spark

AT = datetime(2026, 2, 28, 23, 30, tzinfo=UTC)
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
MODEL = "databricks-claude-sonnet-4-5"
USAGE = TokenUsage(1000, 70, cache_read_tokens=300, cache_write_tokens=7, reasoning_tokens=30)
BILLING = NotifierSpec("billing", "env:BILLING", NotifierKind.CHARGEBACK, "env:BILLING_KEY")

MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart",
    "ContractedCost", "EffectiveCost", "HostProviderName", "InvoiceIssuerName", "ListCost",
    "PricingCurrency", "PricingCurrencyEffectiveCost", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "SkuId", "ResourceId", "ResourceType", "Tags",
)  # fmt: skip
"""Columns that FOCUS 1.3 asks for and that are never null here."""
CONDITIONAL = ("ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit",
    "ListUnitPrice", "ContractedUnitPrice")  # fmt: skip
"""Null in corrections alone."""
EMPTY = (
    "AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName",
    "AllocatedTags", "AvailabilityZone", "CapacityReservationId", "CapacityReservationStatus",
    "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountQuantity", "CommitmentDiscountStatus", "CommitmentDiscountType",
    "CommitmentDiscountUnit", "ContractApplied", "InvoiceId", "RegionId", "RegionName",
)  # fmt: skip
OTHER = (
    "BillingAccountName", "BillingAccountType", "ChargeClass", "ChargeFrequency",
    "PricingCategory", "PricingCurrencyContractedUnitPrice", "PricingCurrencyListUnitPrice",
    "ResourceName", "SubAccountId", "SubAccountName", "SubAccountType",
)  # fmt: skip


class Billing:
    """A billing system that keeps what it gets."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, str], dict[str, object]]] = []


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Billing]:
    one = Billing()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one.got.append((headers, loads(body)))
            self.send_response(one.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("BILLING", f"http://127.0.0.1:{server.server_address[1]}/in")
    monkeypatch.setenv("BILLING_KEY", "a key of sixteen bytes, and more")
    yield one
    server.shutdown()
    server.server_close()


class Home:
    """A home with events of February, and the job over it."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder, focus_workspace_id="w-1")
        ledger = open_ledger(self.settings)
        ledger.policies.import_policy(Policy(notifiers=(BILLING,)))
        book = open_price_book(self.settings, ledger)
        ledger.close()
        price = book.price_for(MODEL, at=AT)
        assert price is not None
        self.price: Price = price
        self.events: list[SpendEvent] = []

    def event(
        self,
        cost_nano: int,
        kind: EventKind = EventKind.SETTLED,
        usage: TokenUsage | None = USAGE,
        at: datetime = AT,
        **facts: object,
    ) -> None:
        number = len(self.events) + 1
        hold = f"r{number}#1"
        known: dict[str, object] = {"org": "acme", "team": "a"} | facts
        scopes = {
            name: str(value) for name, value in known.items() if value and name in ("org", "team")
        }
        call = CallFacts(
            1, at, scopes, MODEL, MODEL, "main", "global",
            str(facts.get("version", self.price.version)), "allow", (), {"b": "2", "a": "1"},
        )  # fmt: skip
        dbu = None if usage is None else cost_nano * 10
        charge = Charge(usage, cost_nano, dbu, "all", "reported")
        made = SpendEvent(f"{hold}:1", hold, kind, at, call, charge, abs(cost_nano), cost_nano)
        self.events.append(made)
        DeltaSink(self.settings.delta_folder).append("l", EventBatch(number, (made,), ()))

    def run(self, **choices: object) -> Report:
        base = JobRun(self.settings, NOW)
        return chargeback.run(replace(base, **choices))  # type: ignore[arg-type]  # fields of it

    def rows(self, sql: str) -> list[dict[str, object]]:
        return query_rows(self.settings.delta_folder, sql)


def test_a_month_is_charged_back_exactly_once_per_version(
    spark: SparkSession, tmp_path: Path, billing: Billing
) -> None:
    home = Home(tmp_path)
    home.event(1_234_567_891)
    home.event(7)
    home.event(5_000_000_001, EventKind.EXPIRED, None)
    home.event(-4_000_000_000, EventKind.CORRECTED)
    home.event(333_333_333, EventKind.EXTERNAL, version="none", org="", team="")
    home.event(99, at=NOW)
    home.event(0, EventKind.VOIDED, None)
    spent = sum(one.cost_nano for one in home.events if one.facts.occurred_at == AT)

    first = home.run()

    assert first["problems"] == []
    assert (first["version"], first["total_usd"]) == (1, f"{to_decimal(spent):f}")
    assert_parts_add_up(home)
    assert_focus(home, first, to_decimal(spent))
    ((headers, event),) = billing.got
    assert headers["idempotency-key"] == event["id"] == first["idempotency_key"]
    assert headers["webhook-signature"].startswith("v1,")
    data = event["data"]
    assert isinstance(data, dict)
    assert event["type"] == "chargeback.period_closed"
    assert [(one["org_id"], one["cost_usd"]) for one in data["tenants"]] == [
        (None, "0.333333333"), ("acme", "2.234567899")
    ]  # fmt: skip

    again = home.run()

    assert (again["version"], again["idempotency_key"]) == (1, first["idempotency_key"])
    assert (len(billing.got), again["sent"]) == (1, False)
    home.event(1_000_000_000, at=AT - timedelta(days=1))
    billing.status = 503

    refused = home.run()

    assert refused["problems"] == ["notifier 'billing': answers 503"]
    billing.status = 200
    restated = home.run()
    assert (restated["version"], restated["problems"], restated["sent"]) == (2, [], True)
    keys = {headers["idempotency-key"] for headers, _ in billing.got[1:]}
    assert keys == {restated["idempotency_key"]} != {first["idempotency_key"]}
    assert billing.got[-1][1]["type"] == "chargeback.period_restated"
    assert "changed it by +1.000000000 USD" in str(restated["reason"])
    assert [row["status"] for row in home.rows("SELECT * FROM chargebacks ORDER BY version")] == [
        "sent", "sent"
    ]  # fmt: skip


def assert_parts_add_up(home: Home) -> None:
    """The two settled calls are one group, divided as the domain divides."""
    rows = home.rows("SELECT token_kind, quantity, cost_usd, dbu FROM charges WHERE requests = 2")
    tokens = {"input": 1386, "cache_read": 600, "cache_write": 14, "output": 80, "reasoning": 60}
    weights = [count * home.price.rate(TokenClass(kind)) // 1000 for kind, count in tokens.items()]
    parts = allocate(1_234_567_898, weights)
    in_dbu = allocate(12_345_678_980, weights)
    assert {str(row["token_kind"]): row for row in rows} == {
        kind: {
            "token_kind": kind, "quantity": tokens[kind], "cost_usd": f"{to_decimal(part):f}",
            "dbu": f"{to_decimal(dbu):f}",
        }
        for kind, part, dbu in zip(tokens, parts, in_dbu, strict=True)
    }  # fmt: skip


def assert_focus(home: Home, report: Report, spent: Decimal) -> None:
    files = report["files"]
    assert isinstance(files, list)
    written, parquet = map(Path, files)
    assert written.name == "focus-2026-02-v1.csv"
    rows = pq.read_table(parquet).to_pylist()
    columns = list(rows[0])
    focus = [name for name in columns if not name.startswith("x_")]
    assert sorted(focus) == sorted((*MANDATORY, *CONDITIONAL, *EMPTY, *OTHER))
    assert columns[: len(focus)] == focus  # ours come after
    assert sum(row["BilledCost"] for row in rows) == spent
    for row in rows:
        assert_row(row)
    with written.open(encoding="utf-8", newline="") as file:
        texts = list(csv.DictReader(file))
    assert sum(Decimal(one["BilledCost"]) for one in texts) == spent
    assert {one["ChargePeriodStart"] for one in texts} == {"2026-02-28T23:00:00Z"}
    assert {one["ChargePeriodEnd"] for one in texts} == {"2026-03-01T00:00:00Z"}
    assert {one["BillingPeriodStart"] for one in texts} == {"2026-02-01T00:00:00Z"}
    assert {one["BillingPeriodEnd"] for one in texts} == {"2026-03-01T00:00:00Z"}
    assert {one["Tags"] for one in texts} == {'{"a":"1","b":"2"}'}


def assert_row(row: dict[str, object]) -> None:
    """What FOCUS asks of each row, as far as it concerns ours."""
    assert [name for name in MANDATORY if row[name] is None] == []
    assert [name for name in EMPTY if row[name] is not None] == []
    is_correction = row["ChargeClass"] == "Correction"
    assert {row[name] is None for name in CONDITIONAL} == {is_correction}
    assert row["ChargeClass"] in {None, "Correction"}
    assert (row["ChargeCategory"], row["ChargeFrequency"]) == ("Usage", "Usage-Based")
    assert (row["BillingCurrency"], row["PricingCategory"]) == ("USD", "Standard")
    assert row["PricingCurrency"] in {"DBU", "USD"}
    assert row["ServiceCategory"] == "AI and Machine Learning"
    assert row["ConsumedUnit"] in {None, "Tokens", "Requests"}
    assert (row["SubAccountId"], row["SubAccountType"]) == ("w-1", "Workspace")
    details = loads(str(row["SkuPriceDetails"]))
    assert all(name.startswith("x_") for name in details)
    assert details.get("x_TokenDirection") in {None, "Input", "Output"}
    if is_correction:
        return
    quantity, unit_price, listed = (
        Decimal(str(row[name])) for name in ("PricingQuantity", "ListUnitPrice", "ListCost")
    )
    factor = 1_000_000 if row["ConsumedUnit"] == "Tokens" else 1
    assert quantity * factor == row["ConsumedQuantity"]
    assert abs(quantity * unit_price - listed) <= Decimal("1e-9")


@pytest.mark.usefixtures("spark")
def test_a_period_that_isnt_over_is_shown_and_billed_to_nobody(
    tmp_path: Path, billing: Billing
) -> None:
    home = Home(tmp_path)
    home.event(99, at=NOW - timedelta(hours=2))
    month = NOW.replace(day=1, hour=0, minute=0)

    running = home.run(since=month)

    assert (running["preliminary"], running["sent"], running["version"]) == (True, False, None)
    names = [Path(str(one)).name for one in as_list(running["files"]) or ()]
    assert names == ["focus-2026-03-preliminary.csv", "focus-2026-03-preliminary.parquet"]
    assert billing.got == []

    over = home.run(since=month, as_of=NOW + timedelta(days=30))

    assert (over["preliminary"], over["version"], over["total_usd"]) == (False, 1, "0.000000099")
    ((_, event),) = billing.got
    assert event["type"] == "chargeback.period_closed"


def test_a_folder_that_cant_be_made_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = JobRun(Settings(home=tmp_path), NOW, out=tmp_path / "file" / "out")

    with pytest.raises(HostError, match=r"--out .*/file/out can't be made: Not a directory"):
        chargeback.run(run)


@pytest.mark.parametrize("until", [AT, AT - timedelta(minutes=30)])
def test_a_period_that_cant_be_billed_is_refused(tmp_path: Path, until: datetime) -> None:
    run = JobRun(Settings(home=tmp_path), NOW, since=AT - timedelta(minutes=30), until=until)

    with pytest.raises(HostError, match=r"whole hour|isn't after"):
        chargeback.run(run)


@pytest.mark.usefixtures("spark")
def test_a_table_that_isnt_there_is_a_note_only_while_nothing_was_charged(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    run, ledger = JobRun(settings, NOW), open_ledger(settings)

    assert chargeback.run(run)["note"] == "there is no spend_events table yet: no call was charged"

    facts = CallFacts(1, AT, {"user": "ann"}, MODEL, MODEL, "s", "global", "v", "allow", ())
    ledger.adjust([Adjustment("a", "f", Booking(5, (), facts, Charge()), "ann", "why", AT)])
    waiting = ["there is no spend_events table yet, and events wait for it: run drain"]
    assert chargeback.run(run)["problems"] == waiting
    assert aggregate.run_job(run)["problems"] == waiting

    drain_outbox(ledger, settings)
    ledger.close()
    shutil.rmtree(settings.delta_folder / "spend_events")
    (lost,) = chargeback.run(run)["problems"]  # type: ignore[misc]  # plain JSON
    assert aggregate.run_job(run)["problems"] == [lost]
    assert lost.startswith("there is no spend_events table, but the ledger's events were delivered")
