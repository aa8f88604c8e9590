"""The table of events that no sum may count until somebody, or time, has put them right."""

from enum import StrEnum

from spendgate.domain.table import (
    INT,
    MONEY,
    STRING,
    TIMESTAMP,
    Column,
    Table,
    required,
)

CLOCK_TOLERANCE_SECONDS = 300
"""Clocks of healthy machines differ by less; a few minutes ahead harm no sum."""


class Reason(StrEnum):
    """Why an event isn't counted."""

    SCHEMA_VERSION = "schema_version"
    NEGATIVE_COST = "negative_cost"
    FUTURE_CLOCK = "future_clock"


SPEND_QUARANTINE = Table(
    name="spend_quarantine",
    comment="Events of spend_events that aren't counted, and why; a row stays when it is released",
    key=("event_id",),
    columns=(
        required("event_id", STRING, "The event"),
        required("reason", STRING, "schema_version, negative_cost or future_clock"),
        required("detail", STRING, "What is wrong with it, and the way out"),
        required("occurred_at", TIMESTAMP, "Its occurred_at"),
        required("recorded_at", TIMESTAMP, "Its recorded_at"),
        required("kind", STRING, "Its kind"),
        required("cost_usd", MONEY, "Its cost, in USD"),
        required("schema_version", INT, "Its schema version"),
        required("found_at", TIMESTAMP, "as_of of the run that found it"),
        Column("accepted_by", STRING, "Who says that it shall be counted as it is; edit in SQL"),
        Column("released_at", TIMESTAMP, "as_of of the run that counted it; null while it is not"),
    ),
)
