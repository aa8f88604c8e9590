"""Tables that jobs keep about budgets: their alerts, and their spend by hour."""

from spendgate.domain.table import (
    BIGINT,
    DOUBLE,
    INT,
    MONEY_SUM,
    RATIO,
    STRING,
    TEXT_ARRAY,
    TIMESTAMP,
    WINDOW_COLUMNS,
    Column,
    Table,
    required,
)

BUDGET_ALERTS = Table(
    name="budget_alerts",
    comment="One row per alert: a threshold of a window is crossed once",
    key=("alert_id",),
    columns=(
        required("alert_id", STRING, "Key: the same crossing has the same id"),
        required(
            "kind",
            STRING,
            "threshold, soft_cap, hard_stop, overrun, forecast, raised, reconciliation_drift or "
            "sink_age",
        ),
        Column("budget_id", STRING, "The budget; null if the alert is about none"),
        Column("scope", STRING, "Dimensions of its scope"),
        Column("scope_value", STRING, "Values of its scope, in the same order"),
        Column("window", STRING, "minute … lifetime, or a rolling duration"),
        Column("window_start", TIMESTAMP, "Start of the window, or of a rolling one's stretch"),
        Column("window_end", TIMESTAMP, "First instant after it; null for lifetime and rolling"),
        Column("threshold", RATIO, "The fraction of the limit that was crossed"),
        Column("limit_usd", MONEY_SUM, "Limit then, in USD"),
        Column("spent_usd", MONEY_SUM, "Spend then, in USD"),
        Column("used_ratio", DOUBLE, "Spent as a fraction of the limit"),
        Column("forecast_usd", MONEY_SUM, "Forecast at the window's end then, in USD"),
        Column("detail", STRING, "What no figure says, such as a raise's reason"),
        required("crossed_at", TIMESTAMP, "as_of of the run that saw it first"),
        Column("routes", TEXT_ARRAY, "Names of the notifiers that it goes to"),
        required("status", STRING, "pending, sent, failed or unrouted"),
        required("attempts", INT, "How often sending was tried"),
        Column("sent_at", TIMESTAMP, "When the last notifier had it"),
        Column("last_error", STRING, "Why the last try failed; names no secret"),
        required("updated_at", TIMESTAMP, "as_of of the run that changed the row last"),
    ),
)

BUDGET_HOURLY = Table(
    name="budget_hourly",
    comment="Spend per budget, value and window by hour; window_spend adds these up",
    key=("hour", *(column.name for column in WINDOW_COLUMNS)),
    columns=(
        required("hour", TIMESTAMP, "Start of the hour, UTC, in which the money was reserved"),
        *WINDOW_COLUMNS,
        required("spent_usd", MONEY_SUM, "Spend in USD"),
        required("requests", BIGINT, "Calls that were charged"),
        required("last_event_at", TIMESTAMP, "Latest occurred_at of the events in the sum"),
        required("round_id", BIGINT, "Last round of aggregate that made this sum"),
        required("before_usd", MONEY_SUM, "Spend before that round, so that it can be repeated"),
        required("before_requests", BIGINT, "Calls before that round"),
    ),
)
