"""Alerts: which budgets have crossed what since the last run; called by `aggregate` at its end."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from pyspark.sql import DataFrame, SparkSession

from spendgate.adapters.notifier import Notifier
from spendgate.adapters.stored_deliveries import DEAD
from spendgate.bootstrap import utc_now
from spendgate.domain.alert import PENDING, UNROUTED, Alert
from spendgate.domain.alert_sources import raise_alerts, sink_alert
from spendgate.domain.budget import PPM, Policy
from spendgate.domain.budget_tables import BUDGET_ALERTS
from spendgate.domain.money import to_decimal
from spendgate.domain.reconciliation_table import RECONCILIATION
from spendgate.domain.table import BUDGET_STATE, DECISIONS
from spendgate.gateway.telling import tell_due
from spendgate.jobs.alert_delivery import (
    add_deliveries,
    note_standings,
    pending_alerts,
    standings_of,
)
from spendgate.jobs.job_run import JobRun, Report
from spendgate.jobs.literal_frame import literal_frame
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.budget_alerts import (
    RUNGS_SCHEMA,
    drift_crossings,
    each_once,
    refusal_crossings,
    rung_rows,
    spend_crossings,
)
from spendgate.transforms.budget_frame import BUDGETS_SCHEMA, budget_rows


def alert(run: JobRun, policy: Policy) -> Report:
    """Add what was crossed since the last run to `budget_alerts`, and tell whom it concerns.

    A notifier that can't be reached is a problem of the report, and is tried again by the next run.

    Raises:
        HostError: if there is no ledger.
        LedgerUnavailableError: if the ledger doesn't answer.
    """
    spark, space = run.spark(), run.space
    with run.opened_ledger() as ledger:
        waiting = ledger.outbox.state()
        late = sink_alert(
            waiting.oldest_at, waiting.waiting_events, run.as_of, run.settings.alert_sink_seconds
        )
        others = [*raise_alerts(policy, run.as_of), *([] if late is None else [late])]
        count = add_alerts(spark, space, policy, others, run.as_of)
        pending = pending_alerts(spark, space)
        add_deliveries(ledger.deliveries, policy, pending, run.as_of)
        sender = Notifier(f"/spendgate/{ledger.ledger_id}", utc_now)
        told = tell_due(ledger.deliveries, policy.notifiers, sender, run.as_of)
        standings = standings_of(ledger.deliveries, policy, pending)
        dead = ledger.deliveries.counts().get(DEAD, 0)
    note_standings(spark, space, standings, run.as_of)
    report: dict[str, object] = {
        "alerts_new": count,
        "alerts_sent": told.sent,
        "alerts_put_off": told.put_off,
        "alerts_dead": dead,
    }
    # Without any, the key is left to the job that this is part of.
    return {**report, "problems": list(told.problems)} if told.problems else report


def add_alerts(
    spark: SparkSession,
    space: TableSpace,
    policy: Policy,
    others: Sequence[Alert],
    as_of: datetime,
) -> int:
    """Add the crossings that `budget_alerts` doesn't have; return how many those were.

    Args:
        spark: a classic or a Connect session.
        space: where the tables are.
        policy: the budgets, with their raises.
        others: alerts that no level of spend makes.
        as_of: the time of the state.
    """
    space.create(spark, BUDGET_ALERTS)
    found = [_frame(spark, policy, others)]
    budgets = literal_frame(spark, budget_rows(policy, as_of), BUDGETS_SCHEMA)
    levels = literal_frame(spark, rung_rows(policy), RUNGS_SCHEMA)
    if space.exists(spark, BUDGET_STATE):
        state = space.read(spark, BUDGET_STATE)
        found.append(spend_crossings(state, budgets, levels, as_of))
    if space.exists(spark, DECISIONS):
        decisions = space.read(spark, DECISIONS)
        scopes = {budget.scope.kind for budget in policy.budgets}
        found.append(refusal_crossings(decisions, budgets, levels, scopes, as_of))
    if space.exists(spark, RECONCILIATION):
        compared = space.read(spark, RECONCILIATION)
        found.append(drift_crossings(compared, policy.defaults.routes, as_of))
    metrics = space.write("add_alerts", BUDGET_ALERTS, each_once(found), script="alerts")
    return int(metrics[0]["num_inserted_rows"])


def _frame(spark: SparkSession, policy: Policy, alerts: Sequence[Alert]) -> DataFrame:
    schema = ", ".join(f"`{column.name}` {column.type}" for column in BUDGET_ALERTS.columns)
    return literal_frame(spark, [_row(policy, one) for one in alerts], schema)


def _row(policy: Policy, alert: Alert) -> tuple[object, ...]:
    budget = policy.budget(alert.budget_id)
    routes = list((budget and budget.routes) or policy.defaults.routes)
    row: dict[str, object] = {
        "alert_id": alert.alert_id,
        "kind": alert.kind.value,
        "budget_id": alert.budget_id or None,
        "scope": alert.scope or None,
        "scope_value": alert.scope_value,
        "window": alert.window,
        "window_start": alert.window_start,
        "window_end": alert.window_end,
        "threshold": Decimal(alert.threshold_ppm) / PPM,
        "limit_usd": None if alert.limit_nano is None else to_decimal(alert.limit_nano),
        "detail": alert.detail,
        "crossed_at": alert.crossed_at,
        "routes": routes,
        "status": PENDING if routes else UNROUTED,
        "attempts": 0,
        "updated_at": alert.crossed_at,
    }
    return tuple(row.get(name) for name in BUDGET_ALERTS.column_names)
