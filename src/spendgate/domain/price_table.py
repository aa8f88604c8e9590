"""The table of prices: the price book as dated rows, one per token class."""

from spendgate.domain.table import (
    BIGINT,
    BOOLEAN,
    PER_MILLION,
    STRING,
    TIMESTAMP,
    Column,
    Table,
    required,
)

PRICES = Table(
    name="prices",
    comment="Dated prices per model, geo, context tier and token class; append-only",
    key=("model", "geo", "context_tier", "token_class", "effective_from", "price_version"),
    columns=(
        required("model", STRING, "The model"),
        required("geo", STRING, "Geography whose prices these are; global is everywhere"),
        required("context_tier", STRING, "all, short or long: which prompts it prices"),
        required("token_class", STRING, "input, cache_read, cache_write, …, output, reasoning"),
        required("effective_from", TIMESTAMP, "First instant at which it holds"),
        Column("effective_to", TIMESTAMP, "First instant after; null until a newer row"),
        Column("usd_per_million", PER_MILLION, "USD per million tokens"),
        Column("dbu_per_million", PER_MILLION, "DBU per million tokens; null if not known"),
        Column("long_context_over_tokens", BIGINT, "Prompt length that parts short from long"),
        required("kind", STRING, "chat or embedding"),
        Column("output_tokens_max", BIGINT, "Most output that the model gives"),
        required("caches_implicitly", BOOLEAN, "Whether the provider may cache unasked"),
        required("source", STRING, "Where the price comes from"),
        required("price_version", STRING, "Fingerprint of the price, as spend_events has it"),
        required("added_at", TIMESTAMP, "When the row was added; of equal dates the last wins"),
        Column("added_by", STRING, "Who added it"),
    ),
)
