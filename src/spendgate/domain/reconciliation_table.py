"""The table that compares what the gate has charged with what the provider bills."""

from spendgate.domain.table import (
    BIGINT,
    DOUBLE,
    MONEY_SUM,
    STRING,
    TIMESTAMP,
    Column,
    Table,
    required,
)

RECONCILIATION = Table(
    name="reconciliation",
    comment="Ours against the bill per endpoint, SKU and hour, with what didn't pass the gate",
    key=("hour", "endpoint", "sku"),
    columns=(
        required("hour", TIMESTAMP, "Start of the hour, UTC"),
        required("endpoint", STRING, "Model endpoint"),
        required("sku", STRING, "SKU of the bill; unknown where the bill has no row yet"),
        required("our_requests", BIGINT, "Calls that the gate charged"),
        required("our_usd", MONEY_SUM, "What the gate charged, in USD"),
        Column("our_dbu", MONEY_SUM, "What the gate charged, in DBU"),
        Column("billed_dbu", MONEY_SUM, "What was billed, in DBU; null without a bill yet"),
        Column("billed_usd", MONEY_SUM, "What was billed at its price, in USD"),
        Column("platform_requests", BIGINT, "Calls that the platform's usage tables list"),
        Column("bypass_requests", BIGINT, "Calls among them that didn't pass the gate"),
        Column("bypass_usd", MONEY_SUM, "What those cost, in USD"),
        Column("ratio", DOUBLE, "Ours by what was billed, less the bypass; null without a bill"),
        Column("residual_usd", MONEY_SUM, "Billed, less ours and the bypass, in USD"),
        required("status", STRING, "open, agreed, drift or unpriced"),
        required("updated_at", TIMESTAMP, "as_of of the run that wrote this row"),
    ),
)
