"""The tables of chargeback: charges divided into token kinds, and the periods that were billed."""

from spendgate.domain.table import (
    BIGINT,
    INT,
    MONEY_SUM,
    STRING,
    TIMESTAMP,
    Column,
    Table,
    required,
)

UNIT_PRICE = "decimal(38,12)"

CHARGES = Table(
    name="charges",
    comment="Spend per hour, payer, model and kind of token; view focus_charges shows it as FOCUS",
    key=(
        "hour", "org_id", "team_id", "agent_id", "user_id", "tags", "model", "upstream", "geo",
        "context_tier", "price_version", "charge_class", "token_kind",
    ),
    columns=(
        required("hour", TIMESTAMP, "Start of the hour, UTC, in which the money was reserved"),
        Column("org_id", STRING, "Organisation that pays"),
        Column("team_id", STRING, "Team that pays"),
        Column("agent_id", STRING, "Agent that pays"),
        Column("user_id", STRING, "User that pays"),
        required("tags", STRING, "Free tags of the calls, as JSON with its names in order"),
        required("model", STRING, "Model that served the calls"),
        Column("upstream", STRING, "Model server that was called"),
        Column("geo", STRING, "Geography whose prices apply"),
        Column("context_tier", STRING, "Price tier by prompt length"),
        Column("price_version", STRING, "Version of the price that was applied"),
        Column("charge_class", STRING, "correction, or null for usage"),
        required(
            "token_kind",
            STRING,
            "input, cache_read, cache_write, output, reasoning; none where usage isn't known",
        ),
        Column("quantity", BIGINT, "Tokens, or calls where they aren't known; null: a correction"),
        required("requests", BIGINT, "Calls in the group, the same on each of its kinds"),
        required("cost_usd", MONEY_SUM, "What these tokens cost, in USD; the kinds add up exactly"),
        Column("dbu", MONEY_SUM, "The same in DBU; null if the price isn't known in DBU"),
        Column("list_usd", UNIT_PRICE, "Price of one unit in USD; null if no price is known"),
        Column("list_dbu", UNIT_PRICE, "Price of one unit in DBU; null if none is known"),
    ),
)  # fmt: skip

CHARGEBACKS = Table(
    name="chargebacks",
    comment="One row per version of a billed period: what it came to, and who was told",
    key=("period_start", "period_end", "version"),
    columns=(
        required("period_start", TIMESTAMP, "First instant of the period"),
        required("period_end", TIMESTAMP, "First instant after it"),
        required("version", INT, "1, and one more for each time that the period was restated"),
        required("idempotency_key", STRING, "Names period and version to who is billed"),
        required("digest", STRING, "Of all charges, to see whether they have changed"),
        required("charges", BIGINT, "How many rows the period has"),
        required("total_usd", MONEY_SUM, "What the period came to, in USD"),
        Column("reason", STRING, "Why it was restated; null for the first version"),
        required("status", STRING, "pending, sent or unrouted"),
        required("made_at", TIMESTAMP, "as_of of the run that made this version"),
        Column("sent_at", TIMESTAMP, "When every notifier had it"),
    ),
)
