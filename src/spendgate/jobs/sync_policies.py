"""Sync policies: policy file, table `budgets` and ledger agree; prices are dated rows.

The table is written before the ledger, which remembers on what both agreed. So a run that is
killed between the two finds, when it is run again, what is still to do. A row that somebody edits
while the job runs is left alone, and the run starts over.
"""

# pyright: reportUnknownMemberType=false
# createDataFrame is overloaded with types that pandas and Spark leave open.

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.budget_requests import BudgetRequests
from spendgate.adapters.budget_table import name_of, row_name, row_of_rule
from spendgate.adapters.left_spend import left_spend
from spendgate.adapters.policy_source import load_policy
from spendgate.adapters.policy_sync_plan import SyncPlan, plan_sync
from spendgate.adapters.price_sync_plan import PricePlan, plan_prices
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import build_admin, open_price_book
from spendgate.config import Settings
from spendgate.domain.budget import Policy
from spendgate.domain.policy_tables import BUDGET_REQUESTS, BUDGETS, POLICY_CHANGES, PRICES
from spendgate.domain.table import TIMESTAMP, Table
from spendgate.errors import HostError, PolicyError
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.schemas import schema_text

SCRIPT = "sync_policies"
TABLES = (BUDGETS, PRICES, POLICY_CHANGES, BUDGET_REQUESTS)
CHANGES_AT_ONCE = 10_000
ROWS_MAX = 100_000
"""Rows of one of these tables that a run reads; they are kept in memory."""
ROUNDS_MAX = 5
"""How often a run starts over because somebody edits a policy at the same time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Place:
    """The sides of one run."""

    spark: SparkSession
    space: TableSpace
    ledger: StoredLedger
    settings: Settings
    at: datetime


def run(run: JobRun) -> Report:
    """Bring all sides together; twice is as good as once.

    Raises:
        HostError: if there is no ledger, or somebody else keeps editing the policy.
        LedgerUnavailableError: if the ledger doesn't answer.
    """
    with run.opened_ledger() as ledger:
        return sync_policies(run.spark(), run.space, ledger, run.settings, run.as_of)


def sync_policies(
    spark: SparkSession, space: TableSpace, ledger: StoredLedger, settings: Settings, at: datetime
) -> Report:
    """Do the same with a session, classic or Connect, tables and a ledger.

    Raises:
        HostError: if somebody else keeps editing the policy.
    """
    place = _Place(spark, space, ledger, settings, at)
    created = [table.name for table in TABLES if space.create(spark, table)]
    former = ledger.policies.policy().budgets
    for _ in range(ROUNDS_MAX):
        report = _synced(place)
        if report is not None:
            changes = _write_changes(place)
            told = {"job": "sync_policies", "tables_created": created}
            requests = _write_requests(place)
            edited = ledger.policies.policy().budgets
            notes = list(left_spend(former, edited, ledger.balances, at))
            counts = {"policy_changes": changes, "budget_requests": requests}
            return {**told, **report, **counts, "notes": notes}
    raise HostError(
        f"the policy was edited {ROUNDS_MAX} times while this ran; run sync_policies again"
    )


def _synced(place: _Place) -> Report | None:
    """Do one round; None if a row, or the ledger's policy, changed meanwhile."""
    ledger, settings = place.ledger, place.settings
    budgets, prices = _read(place, BUDGETS), _read(place, PRICES)
    price_plan = plan_prices(prices, open_price_book(settings, ledger))
    book = price_plan.book
    problems = list(price_plan.problems)
    file = Policy()
    if settings.budgets_file is not None:
        try:
            file = load_policy(settings.budgets_file, book=book, at=place.at)
            ledger.policies.by("policy file", settings.budgets_file.name).import_policy(file)
        except PolicyError as error:
            # The ledger keeps the file's last valid form; what people edit goes on.
            problems += str(error).splitlines()
    policy = ledger.policies.policy()
    before = ledger.policies.sync_base()
    plan = plan_sync(budgets, policy, before, file=file, book=book, at=place.at)
    if not _write_prices(place, price_plan) or not _write_budgets(place, plan, budgets):
        return None
    edit = replace(plan.edit, prices=price_plan.to_ledger)
    is_changed = bool(edit.put or edit.removed or edit.prices)
    if (is_changed or plan.base != before) and not ledger.policies.by("sql").apply_edit(
        edit, base=plan.base, version=policy.version
    ):
        return None
    return {
        "policy_version": ledger.policies.version(),
        **plan.report,
        "prices_to_ledger": list(price_plan.added),
        "price_rows_to_table": len(price_plan.table_rows),
        "problems": problems + list(plan.problems),
    }


def _read(place: _Place, table: Table) -> list[dict[str, object]]:
    """Return a table's rows; times as aware UTC, and the row as JSON under `seen`."""
    frame = place.space.read(place.spark, table)
    times = [column.name for column in table.columns if column.type == TIMESTAMP]
    # Collected timestamps come in this machine's zone and without it, so they travel as numbers.
    frame = frame.withColumn("seen", F.to_json(F.struct(*table.column_names))).withColumns(
        {name: F.unix_micros(name) for name in times}
    )
    rows = [row.asDict(recursive=True) for row in frame.limit(ROWS_MAX + 1).collect()]
    if len(rows) > ROWS_MAX:
        raise HostError(f"table {table.name} has more than {ROWS_MAX} rows")
    for row in rows:
        row |= {name: _instant(row[name]) for name in times}
    return rows


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def _write_budgets(place: _Place, plan: SyncPlan, budgets: Sequence[Row]) -> bool:
    read = {row_name(row): row for row in budgets}
    rows: list[dict[str, object]] = []
    for rule in plan.table_put:
        seen = read.get(name_of(rule), {}).get("seen")
        rows.append(row_of_rule(rule, place.at) | {"seen": seen, "is_removed": False})
    rows += [{**read[name], "is_removed": True} for name in plan.table_removed]
    return _write(place, "merge_budgets", BUDGETS, rows, ", is_removed boolean")


def _write_prices(place: _Place, plan: PricePlan) -> bool:
    filled = _write(place, "fill_in_prices", PRICES, plan.filled_in)
    # What another run has added meanwhile is as good.
    _write(place, "add_prices", PRICES, [{**row, "seen": None} for row in plan.table_rows])
    return filled


def _write(
    place: _Place, statement: str, table: Table, rows: Iterable[Row], more: str = ""
) -> bool:
    """Merge rows; no row, no new version of the table. False if some were edited meanwhile."""
    schema = f"{schema_text(table)}, seen string{more}"
    names = [*table.column_names, "seen", *(["is_removed"] if more else [])]
    values = [tuple(row[name] for name in names) for row in rows]
    if not values:
        return True
    source = place.spark.createDataFrame(values, schema)
    metrics = place.space.write(statement, table, source, script=SCRIPT)
    return int(metrics[0]["num_affected_rows"]) == len(values)


def _write_changes(place: _Place) -> int:
    """Bring the ledger's journal of changes into its table; the ledger keeps it too."""
    name = f"{place.ledger.ledger_id}:"
    known = place.space.read(place.spark, POLICY_CHANGES).where(F.col("change_id").startswith(name))
    number = F.substring_index("change_id", ":", -1).cast("bigint")
    last = known.agg(F.max(number).alias("last")).collect()[0]["last"] or 0  # one row
    count = 0
    while changes := place.ledger.policies.changes_since(last, CHANGES_AT_ONCE):
        values = [
            (
                f"{name}{one.seq}",
                *(one.changed_at, one.actor, one.reason),
                *(one.kind, one.name, one.before, one.after),
            )
            for one in changes
        ]
        source = place.spark.createDataFrame(values, schema_text(POLICY_CHANGES))
        place.space.write("add_changes", POLICY_CHANGES, source, script=SCRIPT)
        last, count = changes[-1].seq, count + len(changes)
    return count


def _write_requests(place: _Place) -> int:
    """Bring the requests for more budget into their table; return how many are new or decided."""
    known = place.space.read(place.spark, BUDGET_REQUESTS).select("request_id", "status")
    there = {(row["request_id"], row["status"]) for row in known.limit(ROWS_MAX).collect()}
    desk = BudgetRequests(build_admin(place.settings, place.ledger), lambda: place.at)
    new = [one for one in desk.listed() if (one.request_id, one.status.value) not in there]
    values = [
        (
            *(one.request_id, one.budget_id, Decimal(one.amount_nano).scaleb(-9), one.reason),
            *(one.lasts_seconds, one.requested_by, one.requested_at, one.status.value),
            *(one.decided_by, one.decided_at, one.decision_reason, one.raise_id, one.expires_at),
        )
        for one in new
    ]
    if values:
        source = place.spark.createDataFrame(values, schema_text(BUDGET_REQUESTS))
        place.space.write("merge_requests", BUDGET_REQUESTS, source, script=SCRIPT)
    return len(values)
