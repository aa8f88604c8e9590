"""The pages about budgets and about the ledger's quality."""

from typing import Final

from spendgate.dashboard.widgets import (
    COUNT,
    HARD_COLOR,
    OK_COLOR,
    PERCENT,
    SOFT_COLOR,
    STATUS_COLORS,
    USD,
    Field,
    Page,
    Row,
    bar,
    colour_below,
    colour_from,
    colour_of,
    counter,
    forecast,
    largest,
    line,
    plain,
    share,
    table,
    text,
    total,
    warned,
)

DAY: Final = plain("day", "Day (UTC)")
USED: Final = plain(
    "used_ratio", "Used", PERCENT, colour_from(1, HARD_COLOR), colour_from(0.8, SOFT_COLOR)
)
STATUS: Final = plain(
    "status", "Status", None, *(colour_of(name, color) for name, color in STATUS_COLORS.items())
)

_BUDGET_TABLE: Final = table(
    "budget_list",
    "Every budget now",
    "budgets_now",
    (
        plain("budget", "Budget"),
        plain("window", "Window"),
        STATUS,
        USED,
        plain("limit_usd", "Limit, USD", USD),
        plain("spent_usd", "Spent, USD", USD),
        plain("held_usd", "Held, USD", USD),
        plain("remaining_usd", "Left, USD", USD),
        plain(
            "forecast_ratio",
            "Forecast of limit",
            PERCENT,
            colour_from(1, HARD_COLOR),
            colour_from(0.8, SOFT_COLOR),
        ),
        plain("resets_at", "Resets at (UTC)"),
    ),
    note="The 200 fullest. Held is money of calls in flight.",
)

_ALERTS: Final = table(
    "alert_list",
    "Alerts",
    "budget_alerts",
    (
        plain("crossed_at", "When (UTC)"),
        plain("kind", "Kind"),
        plain("budget_id", "Budget"),
        plain("scope_value", "Who"),
        plain("threshold", "At", PERCENT),
        plain("spent_usd", "Spent, USD", USD),
        plain("limit_usd", "Limit, USD", USD),
        plain("detail", "Detail"),
        plain("status", "Sent", None, colour_of("failed", HARD_COLOR)),
    ),
    note="Each crossing once per window; empty until the aggregate job finds one.",
)

_FORECAST: Final = forecast(
    "nearest_forecast",
    "Forecast of the budget nearest its cap",
    "budget_forecast",
    plain("at", "Time (UTC)"),
    (
        plain("spent_usd", "Spent", USD),
        plain("forecast_usd", "Forecast", USD),
        plain("forecast_low_usd", "Low", USD),
        plain("forecast_high_usd", "High", USD),
    ),
    note="Empty until a budget with an end has spent something.",
)

BUDGETS: Final = Page(
    "budgets",
    "Budgets",
    (
        Row(8, ((_BUDGET_TABLE, 12),)),
        Row(
            7,
            (
                (
                    bar(
                        "gauges",
                        "Used of the limit",
                        "budgets_now",
                        largest("used_ratio", "Used of the limit", PERCENT),
                        plain("budget", "Budget"),
                        plain("status", "Status"),
                        colors=STATUS_COLORS,
                    ),
                    6,
                ),
                (_FORECAST, 6),
            ),
        ),
        Row(
            7,
            (
                (
                    line(
                        "history",
                        "Used, window by window",
                        "budget_history",
                        plain("window_start", "Start of the window (UTC)"),
                        largest("used_ratio", "Used of the limit", PERCENT),
                        plain("budget", "Budget"),
                        note="The 12 budgets that spent most in the dates chosen.",
                    ),
                    12,
                ),
            ),
        ),
        Row(7, ((_ALERTS, 12),)),
    ),
)

_INTRO: Final = text(
    "quality_intro",
    "Do the books agree with the provider's bill, and is anything late? An empty table means that "
    "its job hasn't run yet, not that all is well.",
)

_RATIO: Final = Field(
    "ratio",
    "SUM(`our_billed_usd`) / NULLIF(SUM(`billed_through_gate_usd`), 0)",
    "ours by the bill; 98 to 102 % is agreed",
    PERCENT,
    (colour_from(1.02, HARD_COLOR), colour_below(0.98, HARD_COLOR), colour_from(0.98, OK_COLOR)),
)

QUALITY: Final = Page(
    "quality",
    "Quality of the ledger",
    (
        Row(2, ((_INTRO, 12),)),
        Row(
            3,
            (
                (counter("reconciled", "Reconciliation", "reconciliation", _RATIO), 3),
                (
                    counter(
                        "bypass",
                        "Around the gate",
                        "reconciliation",
                        warned(total("bypass_usd", "USD of calls that no budget held"), HARD_COLOR),
                    ),
                    3,
                ),
                (
                    counter(
                        "expired",
                        "Expired holds",
                        "ends",
                        Field(
                            "share_expired",
                            "SUM(`expired`) / NULLIF(SUM(`charged`), 0)",
                            "of charged calls, charged in full",
                            PERCENT,
                            (colour_from(0.01, SOFT_COLOR),),
                        ),
                    ),
                    3,
                ),
                (
                    counter(
                        "newest_event",
                        "Newest event in the tables",
                        "freshness",
                        largest("newest_event_at", "UTC; the drain job brings them"),
                    ),
                    3,
                ),
            ),
        ),
        Row(
            7,
            (
                (
                    line(
                        "ratio_days",
                        "Ours by the bill",
                        "reconciliation",
                        DAY,
                        _RATIO,
                        plain("endpoint", "Endpoint"),
                        note="Empty until the reconcile job has found a bill.",
                    ),
                    6,
                ),
                (
                    bar(
                        "bypass_days",
                        "Spend around the gate",
                        "reconciliation",
                        DAY,
                        total("bypass_usd", "Bypass, USD"),
                        plain("endpoint", "Endpoint"),
                    ),
                    6,
                ),
            ),
        ),
        Row(
            7,
            (
                (
                    bar(
                        "ends_days",
                        "How calls ended",
                        "ends",
                        DAY,
                        total("events", "Events", COUNT),
                        plain("kind", "End"),
                    ),
                    6,
                ),
                (
                    line(
                        "reported_days",
                        "Usage that the model reported",
                        "ends",
                        DAY,
                        share("reported", "charged", "Share of charged calls"),
                        note="The rest is charged by estimate or in full.",
                    ),
                    6,
                ),
            ),
        ),
        Row(
            7,
            (
                (
                    table(
                        "residuals",
                        "By endpoint and SKU",
                        "reconciliation",
                        (
                            DAY,
                            plain("endpoint", "Endpoint"),
                            plain("sku", "SKU"),
                            plain("our_usd", "Ours, USD", USD),
                            plain("billed_usd", "Billed, USD", USD),
                            plain("bypass_usd", "Around the gate, USD", USD),
                            plain("residual_usd", "Unexplained, USD", USD),
                            plain(
                                "drifting_hours",
                                "Hours that drift",
                                COUNT,
                                colour_from(1, HARD_COLOR),
                            ),
                        ),
                    ),
                    8,
                ),
                (
                    table(
                        "fresh",
                        "How fresh the tables are",
                        "freshness",
                        (
                            plain("newest_event_at", "Newest event (UTC)"),
                            plain("newest_state_at", "Budget state (UTC)"),
                            plain("events", "Events", COUNT),
                        ),
                    ),
                    4,
                ),
            ),
        ),
    ),
)
