"""All Delta tables, in the order in which they are made."""

from spendgate.domain.budget_tables import BUDGET_ALERTS, BUDGET_HOURLY
from spendgate.domain.chargeback_tables import CHARGEBACKS, CHARGES
from spendgate.domain.landing_table import SPEND_LANDING
from spendgate.domain.policy_tables import BUDGET_REQUESTS, BUDGETS, POLICY_CHANGES, PRICES
from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.domain.reconciliation_table import RECONCILIATION
from spendgate.domain.table import (
    BUDGET_STATE,
    DECISIONS,
    SPEND_EVENTS,
    SPEND_HOURLY,
    WINDOW_SPEND,
    Table,
)

ALL_TABLES: tuple[Table, ...] = (
    BUDGETS,
    PRICES,
    POLICY_CHANGES,
    BUDGET_REQUESTS,
    SPEND_EVENTS,
    DECISIONS,
    SPEND_QUARANTINE,
    SPEND_HOURLY,
    BUDGET_HOURLY,
    WINDOW_SPEND,
    BUDGET_STATE,
    BUDGET_ALERTS,
    RECONCILIATION,
    CHARGES,
    CHARGEBACKS,
    SPEND_LANDING,
)

SINK_TABLES: tuple[Table, ...] = (SPEND_EVENTS, DECISIONS)
"""The tables that hosts append to by delta-rs, which refuses some features of Delta."""
