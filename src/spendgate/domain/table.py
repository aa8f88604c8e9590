"""The Delta tables: columns, types and comments, defined once for sink, jobs and DDL.

Types are written as SQL writes them. A money column of one event is DECIMAL(18,9); a sum is as wide
as Spark and DataFusion make the sum of such a column, DECIMAL(28,9). Timestamps are UTC instants.
"""

from dataclasses import dataclass

STRING = "string"
INT = "int"
BIGINT = "bigint"
DOUBLE = "double"
BOOLEAN = "boolean"
TIMESTAMP = "timestamp"
MONEY = "decimal(18,9)"
MONEY_SUM = "decimal(28,9)"
RATIO = "decimal(9,6)"
TEXT_MAP = "map<string,string>"
TEXT_ARRAY = "array<string>"
TIME_ARRAY = f"array<{TIMESTAMP}>"
MONEY_ARRAY = f"array<{MONEY_SUM}>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; a required one is NOT NULL."""

    name: str
    type: str
    comment: str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table; no two rows share the columns of `key`, nulls being equal to each other.

    Where rows may repeat there is no key.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def required(name: str, type_name: str, comment: str) -> Column:
    """Return a column that is NOT NULL."""
    return Column(name, type_name, comment, is_required=True)


_ORG_TO_USER = (
    Column("org_id", STRING, "Organisation that pays; null if the call named none"),
    Column("team_id", STRING, "Team that pays; null if the call named none"),
    Column("agent_id", STRING, "Agent that pays; null if the call named none"),
    Column("user_id", STRING, "User that pays; null if the call named none"),
)
_SCOPES = (
    *_ORG_TO_USER,
    Column("session_id", STRING, "Session that pays; null if the call named none"),
    Column("task_id", STRING, "Task that pays; null if the call named none"),
)

SPEND_EVENTS = Table(
    name="spend_events",
    comment="One row per end or correction of a hold, or spend elsewhere; append-only, no prompts",
    key=("event_id", "occurred_at"),
    columns=(
        required("event_id", STRING, "Key: hold_id:sequence"),
        required(
            "hold_id",
            STRING,
            "The hold that this event ends or corrects: request_id#attempt, or an adjustment's id",
        ),
        required("attempt", INT, "Which try of the request this was, from 1"),
        required("kind", STRING, "settled, voided, expired, corrected or external"),
        required("occurred_at", TIMESTAMP, "When the money was reserved; corrections repeat it"),
        required("recorded_at", TIMESTAMP, "When the ledger wrote this event"),
        *_SCOPES,
        required("tags", TEXT_MAP, "Free tags of the call"),
        Column("model_requested", STRING, "Model that the caller asked for"),
        required("model", STRING, "Model that served the call"),
        Column("upstream", STRING, "Model server that was called"),
        Column("geo", STRING, "Geography whose prices apply"),
        Column("context_tier", STRING, "Price tier by prompt length; null if usage is unknown"),
        Column("input_tokens", BIGINT, "Input, cache reads and writes included; null if unknown"),
        Column("cache_read_tokens", BIGINT, "Part of the input that was read from a cache"),
        Column("cache_write_tokens", BIGINT, "Part of the input that was written to a cache"),
        Column("output_tokens", BIGINT, "Output, reasoning included; null if unknown"),
        Column("reasoning_tokens", BIGINT, "Part of the output that was reasoning"),
        required("reserved_usd", MONEY, "What was reserved before the call, in USD"),
        required("cost_usd", MONEY, "What this event adds to spend, in USD; negative if it frees"),
        Column("dbu", MONEY, "What the call cost in DBU; null if the price isn't known in DBU"),
        Column("price_version", STRING, "Version of the price book that was applied"),
        required("usage_source", STRING, "reported, estimated, reserved or external"),
        Column("decision", STRING, "allow, fit or downgrade"),
        required("budget_ids", TEXT_ARRAY, "Budgets that this event is charged to"),
        Column("latency_ms", BIGINT, "How long the model took, in milliseconds"),
        required("schema_version", INT, "Version of this row's shape"),
        Column("adjustment_id", STRING, "The adjustment that this event is part of"),
        Column("adjusted_by", STRING, "Who made the adjustment"),
        Column("reason", STRING, "Why the adjustment was made"),
    ),
)

DECISIONS = Table(
    name="decisions",
    comment="One row per refusal or downgrade, and per refusal a shadow budget would have made",
    key=("decision_id",),
    columns=(
        required("decision_id", STRING, "Key"),
        required("occurred_at", TIMESTAMP, "When it was decided"),
        *_SCOPES,
        Column("model_requested", STRING, "Model that the caller asked for"),
        required("decision", STRING, "What was decided, such as refuse or downgrade"),
        Column("code", STRING, "Why, as in error.code; null if nothing was refused"),
        Column("budget_id", STRING, "The budget that decided"),
        Column("limit_usd", MONEY_SUM, "Its limit then, in USD"),
        Column("spent_usd", MONEY_SUM, "What was spent of it then, in USD"),
        Column("held_usd", MONEY_SUM, "What calls in flight held of it then, in USD"),
        Column("needed_usd", MONEY_SUM, "What the call would have had to reserve, in USD"),
        Column("suggested_model", STRING, "A model that would have fitted"),
    ),
)

SPEND_HOURLY = Table(
    name="spend_hourly",
    comment="Spend by hour, org, team, agent, user and model; made again from spend_events",
    key=("hour", "org_id", "team_id", "agent_id", "user_id", "model"),
    columns=(
        required("hour", TIMESTAMP, "Start of the hour, UTC, in which the money was reserved"),
        *_ORG_TO_USER,
        required("model", STRING, "Model that served the calls"),
        required("requests", BIGINT, "Calls that were charged; corrections add none"),
        required("input_tokens", BIGINT, "Input where known, cache reads and writes included"),
        required("cache_read_tokens", BIGINT, "Part of the input that was read from a cache"),
        required("cache_write_tokens", BIGINT, "Part of the input that was written to a cache"),
        required("output_tokens", BIGINT, "Output where known, reasoning included"),
        required("reasoning_tokens", BIGINT, "Part of the output that was reasoning"),
        required("cost_usd", MONEY_SUM, "Spend in USD"),
        Column("dbu", MONEY_SUM, "Spend in DBU; null if no event knew it"),
    ),
)

WINDOW_KEY = ("budget_id", "scope", "scope_value", "window", "window_start", "window_end")
WINDOW_COLUMNS = (
    required("budget_id", STRING, "The budget"),
    required("scope", STRING, "Dimensions of its scope, such as org,team; all for everything"),
    required("scope_value", STRING, "Values of its scope, in the same order; * for everything"),
    required("window", STRING, "minute, hour, day, week, month, lifetime, or a rolling duration"),
    Column("window_start", TIMESTAMP, "First instant of the window; null for lifetime"),
    Column("window_end", TIMESTAMP, "First instant after it; null for lifetime and rolling"),
)

WINDOW_SPEND = Table(
    name="window_spend",
    comment="Running sums per budget, value and window, from which budget_state is made",
    key=WINDOW_KEY,
    columns=(
        *WINDOW_COLUMNS,
        required("spent_usd", MONEY_SUM, "Spend in USD"),
        required("requests", BIGINT, "Calls that were charged"),
        required("last_event_at", TIMESTAMP, "Latest occurred_at of the events in the sum"),
        required("round_id", BIGINT, "Last round of aggregate that changed the sum"),
        required("before_usd", MONEY_SUM, "Spend before that round, so that it can be repeated"),
        required("before_requests", BIGINT, "Calls before that round"),
        required("changed_at", TIMESTAMP, "as_of of the run that changed the sum last"),
    ),
)

BUDGET_STATE = Table(
    name="budget_state",
    comment="Each budget, value and window: limit, spend, status, burn rate and forecast",
    key=WINDOW_KEY,
    columns=(
        *WINDOW_COLUMNS,
        required("limit_usd", MONEY_SUM, "Limit in USD, with raises and what is carried"),
        required("spent_usd", MONEY_SUM, "Spend in USD"),
        Column("held_usd", MONEY_SUM, "Held by calls in flight; null if the ledger wasn't asked"),
        required("remaining_usd", MONEY_SUM, "Limit times hard cap, less spent and held, in USD"),
        required("used_ratio", DOUBLE, "Spent as a fraction of the limit"),
        required("status", STRING, "ok, soft or hard: which cap the spend has reached"),
        required("requests", BIGINT, "Calls that were charged"),
        Column("burn_usd_per_hour", MONEY_SUM, "Spend per hour, recent hours counting more"),
        Column("forecast_usd", MONEY_SUM, "Spend expected at the window's end; null if endless"),
        Column("forecast_low_usd", MONEY_SUM, "Lower edge of the forecast's band"),
        Column("forecast_high_usd", MONEY_SUM, "Upper edge of the forecast's band"),
        Column("exhausts_at", TIMESTAMP, "When forecast or spend reaches the hard cap"),
        Column("last_event_at", TIMESTAMP, "Latest occurred_at of the events in the sum"),
        required("updated_at", TIMESTAMP, "as_of of the run that made this row last"),
    ),
)
