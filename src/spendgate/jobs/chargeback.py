"""Chargeback: what a period came to, as FOCUS files, as rows, and for an internal billing system.

A period can be run any number of times. While its charges are the same so is its version, and who
is billed sees one idempotency key; charges that have changed since are a new version with a reason.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow ships no types, and createDataFrame is overloaded with some that Spark leaves open.

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from string import Template

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.chargeback_hook import Statement, Tenant, send_statement
from spendgate.adapters.focus_files import check_folder, write_focus
from spendgate.adapters.statements import statements
from spendgate.bootstrap import open_price_book, utc_now
from spendgate.config import Settings
from spendgate.domain.chargeback import (
    Period,
    PeriodError,
    idempotency_key,
    period_of,
    restatement_reason,
)
from spendgate.domain.chargeback_tables import CHARGEBACKS, CHARGES
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.domain.table import INT, MONEY_SUM, SPEND_EVENTS, STRING, TIMESTAMP, Table
from spendgate.errors import HostError
from spendgate.jobs.absent_events import absent_events
from spendgate.jobs.counted_events import counted_events
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.retained import refuse_before_retained
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.charges import RATES_SCHEMA, charges, rate_rows
from spendgate.transforms.schemas import quoted_text, schema_text

EXPORT_ROWS_MAX = 2_000_000
"""Rows of one export, which the driver holds at once; a larger period is exported in parts."""
TENANTS_MAX = 20_000
PENDING, SENT, UNROUTED = "pending", "sent", "unrouted"
_SENT_SCHEMA = (
    f"period_start {TIMESTAMP}, period_end {TIMESTAMP}, version {INT}, status {STRING}, "
    f"sent_at {TIMESTAMP}"
)
_FOCUS = Table("focus_charges", "", (), ())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run(run: JobRun) -> Report:
    """Charge back one period; by default the month before the run.

    Raises:
        HostError: if there is no ledger, or the period can't be billed.
        LedgerUnavailableError: if the ledger doesn't answer.
    """
    try:
        period = period_of(run.since, run.until, run.as_of)
    except PeriodError as error:
        raise HostError(str(error)) from None
    if run.out is not None:
        check_folder(run.out)
    spark, space = run.spark(), run.space
    report: dict[str, object] = {"job": "chargeback", "period": period.name}
    if not space.exists(spark, SPEND_EVENTS):
        with run.opened_ledger() as ledger:
            return {**report, **absent_events(ledger)}
    refuse_before_retained(spark, space, period.start, "this period's bill")
    with run.opened_ledger() as ledger:
        prices = open_price_book(run.settings, ledger).rows
        notifiers = ledger.policies.policy().notifiers
        ledger_id = ledger.ledger_id
    counted = counted_events(spark, space, space.read(spark, SPEND_EVENTS), run.as_of)
    events = _within(counted, "occurred_at", period)
    rates = spark.createDataFrame(rate_rows(prices), RATES_SCHEMA)
    _replace(spark, space, charges(events, rates), period)
    made = _within(space.read(spark, CHARGES), "hour", period)
    billed = [one for one in notifiers if one.kind is NotifierKind.CHARGEBACK]
    is_over = period.end <= run.as_of
    if is_over:
        statement, status = _version(spark, space, made, period, run.as_of, ledger_id, bool(billed))
        version = f"v{statement.version}"
    else:
        statement, status, version = _preliminary(made, period, run.as_of), UNROUTED, "preliminary"
    spent = events.dropDuplicates(["event_id"]).agg(F.sum("cost_usd").alias("usd")).collect()
    problems = _unequal(spent[0]["usd"] or Decimal(0), statement.total_usd)  # one row
    exported, files = _export(spark, space, made, run, f"focus-{period.name}-{version}")
    problems += exported
    is_due = is_over and bool(billed) and status != SENT
    if is_due and not problems:
        problems += _send(spark, space, statement, billed, f"/spendgate/{ledger_id}", run.as_of)
    return report | {
        "period_start": period.start.isoformat(),
        "period_end": period.end.isoformat(),
        "version": statement.version or None,
        "idempotency_key": statement.idempotency_key or None,
        "reason": statement.reason,
        "total_usd": format(statement.total_usd, "f"),
        "tenants": len(statement.tenants),
        "files": files,
        "sent": is_due and not problems,
        "preliminary": not is_over,
        "problems": problems,
    }


def focus_frame(spark: SparkSession, made: DataFrame, settings: Settings) -> DataFrame:
    """Return rows of `charges` as FOCUS 1.3."""
    return spark.sql(_focus_sql(settings), source=made)


def _focus_sql(settings: Settings) -> str:
    def text(value: str | None) -> str:
        return "CAST(NULL AS STRING)" if value is None else quoted_text(value)

    return Template(statements("delta/focus.sql")["focus_charges"]).substitute(
        account_id=text(settings.focus_account_id),
        account_name=text(settings.focus_account_name or settings.focus_account_id),
        workspace_id=text(settings.focus_workspace_id),
        cloud=text(settings.focus_cloud),
    )


def _within(frame: DataFrame, column: str, period: Period) -> DataFrame:
    at = F.col(column)
    return frame.where((at >= F.lit(period.start)) & (at < F.lit(period.end)))


def _replace(spark: SparkSession, space: TableSpace, made: DataFrame, period: Period) -> None:
    """Put a period's charges in the place of what it had, in one transaction."""
    space.create(spark, CHARGES)
    start, end = (f"TIMESTAMP'{at:%Y-%m-%dT%H:%M:%SZ}'" for at in (period.start, period.end))
    writer = made.write.format("delta").mode("overwrite")
    writer = writer.option("replaceWhere", f"hour >= {start} AND hour < {end}")
    if space.folder is not None:
        writer.save(str(space.folder / CHARGES.name))
    else:
        writer.saveAsTable(space.name(CHARGES))


def _version(
    spark: SparkSession,
    space: TableSpace,
    made: DataFrame,
    period: Period,
    as_of: datetime,
    ledger_id: str,
    is_routed: bool,
) -> tuple[Statement, str]:
    """Return what a period comes to, as the version that says so, and whether it was sent."""
    space.create(spark, CHARGEBACKS)
    tenants = _tenants(made)
    total = sum((one.cost_usd for one in tenants), Decimal(0))
    count, digest = _digest(made)
    last = _last_version(spark, space, period)
    if last is not None and last["digest"] == digest:
        made_at = _EPOCH + timedelta(microseconds=last["made_micros"])
        number, reason, status = last["version"], last["reason"], last["status"]
    else:
        number, reason, made_at = 1, None, as_of
        status = PENDING if is_routed else UNROUTED
        if last is not None:
            number, reason = last["version"] + 1, restatement_reason(last["total_usd"], total)
    key = idempotency_key(ledger_id, period, number)
    statement = Statement(key, period, number, total, tenants, made_at, reason)
    row = (
        period.start, period.end, number, key, digest, count, total, reason, status, made_at, None,
    )  # fmt: skip
    frame = spark.createDataFrame([row], schema_text(CHARGEBACKS))
    space.write("add_version", CHARGEBACKS, frame, script="chargeback")
    return statement, status


def _preliminary(made: DataFrame, period: Period, as_of: datetime) -> Statement:
    """Return what a period that isn't over comes to so far: no version, so nobody bills it."""
    tenants = _tenants(made)
    total = sum((one.cost_usd for one in tenants), Decimal(0))
    return Statement("", period, 0, total, tenants, as_of)


def _tenants(made: DataFrame) -> list[Tenant]:
    rows = (
        made.groupBy("org_id", "team_id")
        .agg(F.sum("cost_usd").cast(MONEY_SUM).alias("usd"), F.sum("dbu").alias("dbu"))
        .orderBy("org_id", "team_id")
        .limit(TENANTS_MAX + 1)
        .collect()
    )
    if len(rows) > TENANTS_MAX:
        raise HostError(f"a statement holds {TENANTS_MAX} tenants at most; bill shorter periods")
    return [Tenant(row["org_id"], row["team_id"], row["usd"], row["dbu"]) for row in rows]


def _digest(made: DataFrame) -> tuple[int, str]:
    """Sum a number of each row: the same rows in any order have the same sum."""
    numbers = F.xxhash64(*CHARGES.column_names).cast("decimal(38,0)")
    row = made.agg(F.count(F.lit(1)).alias("n"), F.sum(numbers).alias("digest")).collect()[0]
    return row["n"], f"{row['n']}:{row['digest'] or 0}"


def _last_version(spark: SparkSession, space: TableSpace, period: Period) -> Row | None:
    known = space.read(spark, CHARGEBACKS).where(
        (F.col("period_start") == F.lit(period.start)) & (F.col("period_end") == F.lit(period.end))
    )
    numbered = known.withColumn("made_micros", F.unix_micros("made_at"))
    rows = numbered.orderBy(F.desc("version")).limit(1).collect()
    return rows[0] if rows else None


def _unequal(spent_usd: Decimal, charged_usd: Decimal) -> list[str]:
    """Compare the period's events with what was made of them; there is no rounding to allow for."""
    if spent_usd == charged_usd:
        return []
    return [f"the charges sum up to {charged_usd} USD, the events to {spent_usd}; nothing was sent"]


def _export(
    spark: SparkSession, space: TableSpace, made: DataFrame, run: JobRun, name: str
) -> tuple[list[str], list[str]]:
    focus = focus_frame(spark, made, run.settings)
    if space.catalog is not None:
        shown = _focus_sql(run.settings).replace("{source}", space.name(CHARGES))
        spark.sql(f"CREATE OR REPLACE VIEW {space.name(_FOCUS)} AS {shown}")
    ordered = focus.orderBy("ChargePeriodStart", "x_OrgId", "x_TeamId", "x_UserId", "SkuId")
    table = ordered.limit(EXPORT_ROWS_MAX + 1).toArrow()
    if table.num_rows > EXPORT_ROWS_MAX:
        problem = f"more than {EXPORT_ROWS_MAX} rows; export shorter periods by --since and --until"
        return [problem], []
    folder = run.folder / "exports" if run.out is None else run.out
    return [], [str(path) for path in write_focus(table, folder, name)]


def _send(
    spark: SparkSession,
    space: TableSpace,
    statement: Statement,
    billed: list[NotifierSpec],
    source: str,
    as_of: datetime,
) -> list[str]:
    errors = [(one.name, send_statement(one, statement, source, utc_now)) for one in billed]
    problems = [f"notifier {name!r}: {error}" for name, error in errors if error is not None]
    if not problems:
        key = (statement.period.start, statement.period.end, statement.version, SENT, as_of)
        frame = spark.createDataFrame([key], _SENT_SCHEMA)
        space.write("note_sent", CHARGEBACKS, frame, script="chargeback")
    return problems
