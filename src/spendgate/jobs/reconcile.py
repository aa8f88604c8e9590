"""Reconcile: the ledger against the platform's own tables, and what they show back into it.

What the platform counted of a call closes an end that stayed open; calls that went around the gate
are charged to the budgets they belong to; the bill stands beside the ledger per endpoint, SKU and
hour. Without some of the tables the rest is done, and the report says what to ask for.
"""

# pyright: reportUnknownMemberType=false
# createDataFrame is overloaded with types that pandas and Spark leave open.

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import drain_outbox, open_price_book
from spendgate.domain.money import format_usd
from spendgate.domain.price import PriceBook, UnpricedModelError
from spendgate.domain.reconciliation_table import RECONCILIATION
from spendgate.domain.scope import ScopeError
from spendgate.domain.table import SPEND_EVENTS
from spendgate.domain.upstream import UpstreamKind
from spendgate.errors import HostError
from spendgate.gateway.reconciling import (
    Booked,
    BypassSum,
    Payers,
    book_bypass,
    close_open_ends,
    hour_start,
    payers_of,
    price_of,
)
from spendgate.jobs.counted_events import counted_events
from spendgate.jobs.findings import BYPASS_SCHEMA, Findings, seen_calls, seen_held
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.retained import refuse_before_retained
from spendgate.jobs.simulated_platform import simulated_tables
from spendgate.jobs.spark_sink import again_on_conflict, time_literal
from spendgate.jobs.system_tables import (
    ACCOUNT_PRICES,
    BILLED_USAGE,
    GATEWAY_CALLS,
    LIST_PRICES,
    SERVED_CALLS,
    SERVED_ENTITIES,
    SystemTables,
)
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.billed_usage import billed_usage
from spendgate.transforms.platform_usage import (
    gateway_calls,
    is_billed,
    served_calls,
    sorted_out,
)
from spendgate.transforms.reconciliation import our_spend, platform_counts, reconciled
from spendgate.transforms.simulated_platform import WORKSPACE

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
HOLD_HOURS = 24
"""How long before its call's row a hold may have been reserved: longer than any call takes."""
SHOWN_MAX = 20
DELIVERY_ATTEMPTS = 50
DELIVERY_SECONDS = 0.2
"""How often a simulated home's running host, which delivers by itself, is waited for."""

_BILLED = (
    "hour timestamp, endpoint string, sku string, billed_dbu decimal(28,9), "
    "billed_usd decimal(28,9)"
)


def run(run: JobRun) -> Report:
    """Compare, correct and charge; a second run changes nothing, a later one what has come since.

    Raises:
        HostError: if there is no ledger, or a setting can't be used.
        LedgerUnavailableError: if the ledger doesn't answer; what was booked until then is booked.
    """
    try:
        must_be_vouched = run.settings.signing_key is not None or bool(run.settings.signing_keys)
        payers = payers_of(run.settings.requester_scopes, must_be_vouched=must_be_vouched)
    except ScopeError as error:
        raise HostError(f"SPENDGATE_REQUESTER_SCOPES: {error}") from None
    with run.opened_ledger() as ledger:
        return _Reconciliation(run, ledger, payers).report()


class _Reconciliation:
    """One run: what it reads, and what it makes of it."""

    def __init__(self, run: JobRun, ledger: StoredLedger, payers: Payers) -> None:
        self._run = run
        self._ledger = ledger
        self._payers = payers
        self._book: PriceBook = open_price_book(run.settings, ledger)
        self._policy = ledger.policies.policy()
        self._spark: SparkSession = run.spark()
        self._space: TableSpace = run.space
        self._since, self._until = _period(run)
        self._tables = _platform_tables(run, self._spark)
        for table in (SPEND_EVENTS, RECONCILIATION):
            self._space.create(self._spark, table)
        earliest = self._since - timedelta(hours=HOLD_HOURS)
        refuse_before_retained(self._spark, self._space, earliest, "this comparison")

    def report(self) -> Report:
        """Do all of it."""
        at = self._run.as_of
        self._deliver()
        calls = self._calls()
        evidence, found, bypass = Booked(), Findings(), Booked()
        named = self._run.settings.workspace_ids
        workspaces = list(named) if self._run.bill is None else [WORKSPACE]
        if calls is not None:
            workspaces = workspaces or _values(calls.where("is_ours"), "workspace_id")
            opened = calls.where("is_ours").join(self._open_ends(), "client_request_id", "semi")
            geo = self._run.settings.geo
            evidence = close_open_ends(self._ledger, seen_calls(opened), self._book, geo, at)
            found = self._bypass(calls, workspaces)
            bypass = book_bypass(self._ledger, self._policy, self._bookable(found), at)
        if not workspaces:
            self._tables.problems.append(
                "none of our calls is in the platform's usage tables, so it isn't known whose bill "
                "to look at; it may come yet, or set SPENDGATE_WORKSPACE_IDS"
            )
        self._deliver()
        self._compare(calls, found, workspaces)
        problems = [
            *self._tables.problems,
            *evidence.problems,
            *bypass.problems,
            *found.problems,
        ]
        return {
            "job": "reconcile",
            "as_of": at.isoformat(),
            "since": self._since.isoformat(),
            "until": self._until.isoformat(),
            "workspaces": workspaces,
            "evidence": {
                "settled": evidence.settled,
                "freed_usd": format_usd(evidence.freed_nano),
                "too_late": evidence.too_late,
            },
            "bypass": self._bypass_report(found, bypass),
            **self._outcome(),
            "drift": self._drift(),
            **({"problems": problems} if problems else {}),
        }

    def _deliver(self) -> None:
        """Deliver a simulated home's events, so that one run shows what it corrects.

        Elsewhere the job drain does, and the next run shows it.
        """
        if self._run.bill is None:
            return
        for attempt in range(DELIVERY_ATTEMPTS):
            if attempt:
                time.sleep(DELIVERY_SECONDS)
            if drain_outbox(self._ledger, self._run.settings) is not None:
                return
            if not self._ledger.outbox.state().waiting_events:  # a host has delivered them
                return

    def _calls(self) -> DataFrame | None:
        """Return the calls of the platform's tables, each with whether it is a hold's."""
        both: list[DataFrame] = []
        gateway = self._tables.read(GATEWAY_CALLS)
        lost = None if gateway is not None else "open ends and calls around the gate aren't seen"
        served = self._tables.read(SERVED_CALLS, without=lost)
        if served is not None:
            entities = self._tables.read(SERVED_ENTITIES, without="endpoints have no names")
            if entities is None:
                names = "served_entity_id string, endpoint_name string, entity_type string"
                entities = self._spark.createDataFrame([], f"{names}, change_time timestamp")
            both.append(served_calls(served, entities, self._since, self._until))
        if gateway is not None:
            both.append(gateway_calls(gateway, self._since, self._until))
        if not both:
            return None
        calls = both[0] if len(both) == 1 else both[0].unionByName(both[1])
        # The same request in both tables is one call.
        calls = calls.dropDuplicates(["workspace_id", "request_id"])
        holds = self._events().where(F.col("hold_id").contains("#")).select("hold_id").distinct()
        return sorted_out(calls, holds)

    def _events(self) -> DataFrame:
        earliest = self._since - timedelta(hours=HOLD_HOURS)
        events = self._space.read(self._spark, SPEND_EVENTS)
        return events.where(F.col("occurred_at") >= F.lit(earliest))

    def _open_ends(self) -> DataFrame:
        """Holds that were charged in full, because their ends or their usage were unknown."""
        is_open = (F.col("kind") == "expired") | (
            (F.col("kind") == "settled") & (F.col("usage_source") == "reserved")
        )
        of_hold = self._events().groupBy(F.col("hold_id").alias("client_request_id"))
        ends = of_hold.agg(
            F.max(is_open.cast("int")).alias("is_open"),
            F.max((F.col("kind") == "corrected").cast("int")).alias("is_corrected"),
        )
        return ends.where("is_open = 1 AND is_corrected = 0").select("client_request_id")

    def _bypass(self, calls: DataFrame, workspaces: Sequence[str]) -> Findings:
        """Add up what went around the gate, per hour, endpoint, requester and context."""
        found = Findings()
        around = calls.where(~F.col("is_ours") & is_billed())
        around = around.where(F.col("workspace_id").isin(*workspaces))
        undrained: set[str] = set()
        for call, is_held in seen_held(around):
            name = call.client_request_id or ""
            is_ours = "#" in name and not is_held and name not in undrained
            if is_ours and self._ledger.hold_record(name) is not None:
                undrained.add(name)  # its event isn't in the tables yet
                continue
            usage, hour = call.usage, hour_start(call.requested_at)
            try:
                charge = price_of(call, self._book, self._run.settings.geo, at=call.requested_at)
            except UnpricedModelError:
                found.unpriced[hour, call.endpoint] += 1
                continue
            if charge is None or usage is None:
                found.without_tokens[hour, call.endpoint] += 1
                continue
            new = BypassSum(
                call.workspace_id,
                hour,
                call.endpoint,
                call.requester,
                self._payers.of(call),
                call.context,
            )
            found.sums.setdefault(new.booking_id, new).add(charge, usage)
        return found

    def _bookable(self, found: Findings) -> list[BypassSum]:
        """Leave out hours so old that the ledger may have forgotten what was booked for them."""
        keep = timedelta(seconds=self._run.settings.ledger_retention_seconds)
        oldest = self._run.as_of - keep
        late = [one for one in found.sums.values() if one.hour < oldest]
        if late:
            self._tables.problems.append(
                f"{len(late)} sums of calls around the gate before {oldest.isoformat()} are shown "
                "and not charged: the ledger keeps no longer what was booked; use a later --since, "
                "or raise SPENDGATE_LEDGER_RETENTION_SECONDS"
            )
        return [one for one in found.sums.values() if one.hour >= oldest]

    def _compare(self, calls: DataFrame | None, found: Findings, workspaces: Sequence[str]) -> None:
        spark, since, until = self._spark, self._since, self._until
        events = self._events().where(~F.coalesce("upstream", F.lit("")).isin(*self._elsewhere()))
        ours = our_spend(counted_events(spark, self._space, events, self._run.as_of), since, until)
        endpoints = sorted({*self._book.models(), *_values(ours, "endpoint")})
        bill = self._bill(endpoints, workspaces)
        counted = spark.createDataFrame(
            [], "hour timestamp, endpoint string, platform_requests bigint"
        )
        if calls is not None:
            counted = platform_counts(calls.where(F.col("workspace_id").isin(*workspaces)))
        rows = reconciled(
            ours,
            counted,
            spark.createDataFrame(found.rows(), BYPASS_SCHEMA),
            spark.createDataFrame([], _BILLED) if bill is None else bill,
            self._run.as_of,
            NEVER if bill is None else self._final_before(),
        )
        again_on_conflict(
            lambda: self._space.write(
                "merge_reconciliation",
                RECONCILIATION,
                rows,
                "reconcile",
                since=time_literal(since),
                until=time_literal(until),
            )
        )
        of_bill = "status = 'unpriced' AND billed_dbu IS NOT NULL"
        unpriced = _values(self._written().where(of_bill), "sku")
        self._tables.problems.extend(
            f"SKU {sku} is billed and has no price in {self._tables.name(LIST_PRICES)} then: its "
            "USD is unknown, not zero"
            for sku in unpriced
        )

    def _final_before(self) -> datetime:
        """Return when the last hour ended whose bill is complete; a simulator's always is."""
        if self._run.bill is not None:
            return self._until
        return self._run.as_of - timedelta(hours=self._run.settings.bill_hours)

    def _outcome(self) -> Mapping[str, object]:
        """Count the hours by status, and add up those whose bill is known."""
        names = ("our_usd", "billed_usd", "bypass_usd")
        sums = [F.sum(F.coalesce(name, F.lit(0))).alias(name) for name in names]
        by_status = self._written().groupBy("status").agg(F.count(F.lit(1)).alias("hours"), *sums)
        rows = by_status.collect()  # four rows at most
        whole = [row for row in rows if row["status"] in ("agreed", "drift")]
        ours, billed, bypass = (sum((row[name] for row in whole), Decimal(0)) for name in names)
        through = billed - bypass
        return {
            "hours": {row["status"]: row["hours"] for row in rows},
            "compared": {
                "our_usd": f"{ours:f}",
                "billed_usd": f"{billed:f}",
                "bypass_usd": f"{bypass:f}",
                "ratio": round(float(ours / through), 6) if through else None,
                "residual_usd": f"{through - ours:f}",
            },
        }

    def _elsewhere(self) -> list[str]:
        """Name model servers whose calls are on another bill."""
        if self._run.catalog is None:
            return []
        servers = self._policy.upstreams
        return [one.name for one in servers if one.kind is not UpstreamKind.DATABRICKS]

    def _bill(self, endpoints: Sequence[str], workspaces: Sequence[str]) -> DataFrame | None:
        lost = "the bill isn't compared"
        usage = self._tables.read(BILLED_USAGE, without=lost)
        account, listed = self._tables.read(ACCOUNT_PRICES), None
        if usage is not None:
            listed = self._tables.read(LIST_PRICES, without=None if account is not None else lost)
        prices = [one for one in (account, listed) if one is not None]
        if usage is None or not prices or not workspaces:
            return None
        return billed_usage(usage, prices, endpoints, workspaces, self._since, self._until)

    def _written(self) -> DataFrame:
        hour = F.col("hour")
        rows = self._space.read(self._spark, RECONCILIATION)
        return rows.where((hour >= F.lit(self._since)) & (hour < F.lit(self._until)))

    def _drift(self) -> list[Mapping[str, object]]:
        worst = self._written().where("status = 'drift'").orderBy(F.abs("residual_usd").desc())
        rows = worst.limit(SHOWN_MAX).select(
            F.date_format("hour", "yyyy-MM-dd'T'HH:mm").alias("hour"),
            "endpoint",
            "sku",
            "our_usd",
            "billed_usd",
            "bypass_usd",
            "ratio",
        )
        return [row.asDict() for row in rows.collect()]

    def _bypass_report(self, found: Findings, booked: Booked) -> Mapping[str, object]:
        sums = sorted(found.sums.values(), key=lambda one: -one.cost_nano)
        payers: dict[str, list[int]] = {}
        for one in sums:
            who = payers.setdefault(one.payer.text, [0, 0])
            who[0] += one.requests
            who[1] += one.cost_nano
        return {
            "requests": sum(one.requests for one in sums),
            "usd": format_usd(sum(one.cost_nano for one in sums)),
            "charged": booked.charged,
            "corrected": booked.corrected,
            "charged_usd": format_usd(booked.bypass_nano),
            "uncovered": booked.uncovered,
            "payers": {
                name: {"requests": requests, "usd": format_usd(nano)}
                for name, (requests, nano) in list(payers.items())[:SHOWN_MAX]
            },
        }


def _platform_tables(run: JobRun, spark: SparkSession) -> SystemTables:
    home = run.settings.home.absolute()
    if run.bill is not None:
        return simulated_tables(spark, run.bill, home)
    folder = None if run.catalog is not None else home / "system"
    return SystemTables(spark, run.settings.system_catalog, folder)


def _period(run: JobRun) -> tuple[datetime, datetime]:
    """Return whole hours, the one that isn't over included."""
    until = run.until or run.as_of + timedelta(hours=1)
    since = run.since or run.as_of - timedelta(hours=run.settings.reconcile_hours)
    since, until = hour_start(since), hour_start(until)
    if since >= until:
        raise HostError(f"--since {since.isoformat()} isn't before --until {until.isoformat()}")
    return since, until


def _values(frame: DataFrame, name: str) -> list[str]:
    """Return the distinct values of a column that has few."""
    return sorted(row[0] for row in frame.select(name).distinct().collect() if row[0] is not None)
