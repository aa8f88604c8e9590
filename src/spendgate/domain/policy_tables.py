"""The Delta tables that people edit in SQL: budgets with their raises, and dated prices."""

from spendgate.domain.table import (
    BOOLEAN,
    DOUBLE,
    INT,
    MONEY,
    MONEY_SUM,
    STRING,
    TEXT_ARRAY,
    TEXT_MAP,
    TIMESTAMP,
    Column,
    Table,
)

FRACTIONS = "array<double>"


def _required(name: str, type_name: str, comment: str) -> Column:
    return Column(name, type_name, comment, is_required=True)


BUDGETS = Table(
    name="budgets",
    comment="Budgets and their raises; edit them here, sync_policies brings them into force",
    key=("budget_id", "raise_id"),
    columns=(
        _required("budget_id", STRING, "The budget; of a raise the one that is raised"),
        Column("raise_id", STRING, "Names a raise; null in a budget's own row"),
        Column("raise_usd", MONEY_SUM, "What a raise adds to the limit, in USD"),
        Column("reason", STRING, "Why the limit is raised"),
        Column("expires_at", TIMESTAMP, "End of the budget or the raise; null for none"),
        Column("scope", STRING, "Who it covers: agent:triage-bot, org:acme,user:*, or all"),
        Column("limit_usd", MONEY_SUM, "The limit in USD, without raises"),
        Column("window", STRING, "minute … month, lifetime, rolling:24h; null for month"),
        Column("tz", STRING, "IANA time zone of the window; null for UTC"),
        Column("rollover_max_usd", MONEY_SUM, "The most carried into the next window, in USD"),
        Column("soft_cap", DOUBLE, "Fraction from which models are downgraded; null for 0.8"),
        Column("hard_cap", DOUBLE, "Fraction that is never passed; null for 1"),
        Column("auto_downgrade", STRING, 'Steps as JSON: [{"from": ["big"], "to": "small"}]'),
        Column("disable_tools", TEXT_ARRAY, "Tools dropped from the soft cap on"),
        Column("alerts", FRACTIONS, "Fractions of the limit that alert people"),
        Column("routes", TEXT_ARRAY, "Names of the notifiers of its alerts"),
        Column("mode", STRING, "enforce or shadow; null for enforce"),
        Column("bound", STRING, "strict or counted; null for strict"),
        Column("fit", BOOLEAN, "Whether answers shrink to what is left; null for true"),
        Column("min_output_tokens", INT, "Where fit stops; null for 256"),
        Column("trust", TEXT_MAP, "Per dimension: trusted or asserted"),
        Column("refusal", STRING, "http or in_band; null for http"),
        Column("on_client_abort", STRING, "drain or close; null for drain"),
        Column("on_store_error", STRING, "refuse or allow; null for refuse"),
        Column("loop_guard", STRING, 'As JSON: {"repeats": 5, "minutes": 10}'),
        Column("idle_ttl", STRING, "Idle time that forgets a session or task, such as 72h"),
        Column("owner", STRING, "file, people or import; sync_policies writes it"),
        Column("synced_at", TIMESTAMP, "When sync_policies changed this row last"),
    ),
)

PRICES = Table(
    name="prices",
    comment="Dated rates per model, geo, context tier and token class; append-only",
    key=("model", "geo", "context_tier", "effective_from", "token_class", "price_version"),
    columns=(
        _required("model", STRING, "The model, as calls name it"),
        Column("kind", STRING, "chat or embedding; null for chat"),
        Column("geo", STRING, "Where it is served; null for global"),
        Column("context_tier", STRING, "all, short or long prompts; null for all"),
        Column("long_context_over_tokens", INT, "From where a prompt is long"),
        _required("effective_from", TIMESTAMP, "First instant at which it holds"),
        Column("effective_to", TIMESTAMP, "First instant at which it doesn't; null for open"),
        _required("token_class", STRING, "input, cache_read, cache_write, output …"),
        _required("usd_per_million", MONEY, "USD per million tokens"),
        Column("dbu_per_million", MONEY, "DBU per million tokens; null if unknown"),
        Column("caches_implicitly", BOOLEAN, "Whether caches are written unasked; null: yes"),
        Column("output_tokens_max", INT, "The most that one answer can have; null if unknown"),
        Column("source", STRING, "Where the rate comes from; null for sql"),
        Column("price_version", STRING, "As in spend_events; sync_policies fills it in"),
    ),
)

POLICY_CHANGES = Table(
    name="policy_changes",
    comment="Every change of budgets, raises, pauses, prices and defaults: who, what, why",
    key=("change_id",),
    columns=(
        _required("change_id", STRING, "Key: the ledger and its number of the change"),
        _required("changed_at", TIMESTAMP, "When it was in force"),
        _required("changed_by", STRING, "A user, api:NAME, sql, or the policy file"),
        _required("reason", STRING, "Why; empty if nobody said"),
        _required("kind", STRING, "budget, raise, pause, price, defaults, revocation, request"),
        _required("name", STRING, "The budget, raise, scope or request that was changed"),
        Column("before", STRING, "It as JSON before; null if it is new"),
        Column("after", STRING, "It as JSON after; null if it was removed"),
    ),
)

BUDGET_REQUESTS = Table(
    name="budget_requests",
    comment="Who asked for more budget, and what became of it",
    key=("request_id",),
    columns=(
        _required("request_id", STRING, "Key"),
        _required("budget_id", STRING, "The budget whose limit is too low"),
        _required("amount_usd", MONEY_SUM, "What is asked for, in USD"),
        _required("reason", STRING, "Why"),
        Column("lasts_seconds", INT, "How long the raise is asked for; null for good"),
        _required("requested_by", STRING, "Who asked"),
        _required("requested_at", TIMESTAMP, "When"),
        _required("status", STRING, "pending, approved or denied"),
        Column("decided_by", STRING, "Who approved or denied it; null while it is pending"),
        Column("decided_at", TIMESTAMP, "When"),
        Column("decision_reason", STRING, "Why"),
        Column("raise_id", STRING, "The raise that it became"),
        Column("expires_at", TIMESTAMP, "When that raise ends"),
    ),
)
