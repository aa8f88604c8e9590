"""The pages: what people look at, in rows of twelve columns."""

from collections.abc import Mapping
from typing import Final

from spendgate.dashboard.budget_pages import BUDGETS, DAY, QUALITY, STATUS, USED
from spendgate.dashboard.widgets import (
    COUNT,
    HARD_COLOR,
    PERCENT,
    SOFT_COLOR,
    STATUS_COLORS,
    USD,
    Field,
    Page,
    Row,
    bar,
    counted,
    counter,
    largest,
    line,
    plain,
    share,
    table,
    total,
    warned,
)

_BY_ORG: Final = (
    "recent_spend",
    "spend",
    "spend_users",
    "top_sessions",
    "refusals",
    "last_refusals",
    "savings",
)
FILTERED_COLUMNS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "org_id": ("Organisation", (*_BY_ORG, "ends")),
    "team_id": ("Team", _BY_ORG),
    "agent_id": ("Agent", _BY_ORG),
}
"""Columns that people filter by, with a title and the datasets that have them."""

_COST: Final = total("cost_usd", "Spend, USD")

_NOW: Final = Page(
    "now",
    "Now",
    (
        Row(
            3,
            (
                (
                    counter(
                        "spend_today",
                        "Spent today",
                        "recent_spend",
                        total("cost_today_usd", "USD since midnight UTC"),
                    ),
                    3,
                ),
                (
                    counter(
                        "burn",
                        "Burn",
                        "recent_spend",
                        total("burn_usd_per_hour", "USD an hour, mean of the last 24"),
                    ),
                    3,
                ),
                (
                    counter(
                        "budgets_hard",
                        "Budgets at their hard cap",
                        "budgets_now",
                        warned(total("is_hard", "refuse every call now", COUNT), HARD_COLOR),
                    ),
                    2,
                ),
                (
                    counter(
                        "budgets_soft",
                        "Budgets past their soft cap",
                        "budgets_now",
                        warned(total("is_soft", "downgrade now", COUNT), SOFT_COLOR),
                    ),
                    2,
                ),
                (
                    counter(
                        "refused_today",
                        "Refused today",
                        "refusals",
                        warned(counted("refusals_today", "calls since midnight"), SOFT_COLOR),
                    ),
                    2,
                ),
            ),
        ),
        Row(
            7,
            (
                (
                    bar(
                        "fullest",
                        "Budgets near their caps",
                        "budgets_now",
                        largest("used_ratio", "Used of the limit", PERCENT),
                        plain("budget", "Budget"),
                        plain("status", "Status"),
                        colors=STATUS_COLORS,
                        note="Empty until a budget has a window: run the aggregate job.",
                    ),
                    6,
                ),
                (
                    bar(
                        "spend_hours",
                        "Spend by hour and team",
                        "recent_spend",
                        plain("hour", "Hour (UTC)"),
                        _COST,
                        plain("team_id", "Team"),
                        note="The last 48 hours.",
                    ),
                    6,
                ),
            ),
        ),
        Row(
            8,
            (
                (
                    table(
                        "exhaustion",
                        "What runs out, and when",
                        "budgets_now",
                        (
                            plain("budget", "Budget"),
                            STATUS,
                            USED,
                            plain("remaining_usd", "Left, USD", USD),
                            plain("exhausts_at", "Exhausted at (UTC)"),
                            plain("resets_at", "Resets at (UTC)"),
                        ),
                        note="By the forecast of each window.",
                    ),
                    7,
                ),
                (
                    bar(
                        "refusal_reasons",
                        "Refusals by reason",
                        "refusals",
                        total("refusals", "Refusals", COUNT),
                        plain("reason", "Reason"),
                        note="Of the dates chosen; empty if nothing was refused.",
                    ),
                    5,
                ),
            ),
        ),
    ),
)

_SPEND: Final = Page(
    "spend",
    "Spend",
    (
        Row(
            3,
            (
                (counter("spend_total", "Spend", "spend", _COST), 3),
                (
                    counter(
                        "calls_total", "Calls", "spend", total("requests", "charged calls", COUNT)
                    ),
                    3,
                ),
                (
                    counter(
                        "mean_cost",
                        "Per call",
                        "spend",
                        Field(
                            "mean_cost",
                            "SUM(`cost_usd`) / NULLIF(SUM(`requests`), 0)",
                            "USD, mean",
                            USD,
                        ),
                    ),
                    3,
                ),
                (
                    counter(
                        "tokens_out",
                        "Output",
                        "spend",
                        total("output_tokens", "tokens, reasoning included", COUNT),
                    ),
                    3,
                ),
            ),
        ),
        Row(
            7,
            (
                (
                    bar(
                        "spend_days",
                        "Spend by day and model",
                        "spend",
                        DAY,
                        _COST,
                        plain("model", "Model"),
                        note="Choose dates, organisation, team and agent with the filters.",
                    ),
                    12,
                ),
            ),
        ),
        Row(
            7,
            (
                (bar("by_team", "By team", "spend", _COST, plain("team_id", "Team")), 4),
                (bar("by_agent", "By agent", "spend", _COST, plain("agent_id", "Agent")), 4),
                (bar("by_user", "By user", "spend_users", _COST, plain("user_id", "User")), 4),
            ),
        ),
        Row(
            8,
            (
                (
                    table(
                        "sessions",
                        "Dearest sessions and tasks",
                        "top_sessions",
                        (
                            plain("session_id", "Session"),
                            plain("task_id", "Task"),
                            plain("agent_id", "Agent"),
                            plain("requests", "Calls", COUNT),
                            plain("cost_usd", "Spend, USD", USD),
                            plain("last_call_at", "Last call (UTC)"),
                        ),
                        note="The 100 dearest; empty where calls name neither.",
                    ),
                    12,
                ),
            ),
        ),
    ),
)

_SAVINGS: Final = Page(
    "savings",
    "Savings",
    (
        Row(
            3,
            (
                (
                    counter(
                        "saved",
                        "Saved by downgrades",
                        "savings",
                        total("saved_usd", "USD, estimated"),
                        note="Against what the asked-for model's own calls cost per token.",
                    ),
                    3,
                ),
                (
                    counter(
                        "downgraded",
                        "Downgraded calls",
                        "savings",
                        total("calls", "settled calls", COUNT),
                    ),
                    3,
                ),
                (
                    counter(
                        "cache_share",
                        "Input from caches",
                        "spend",
                        share("cache_read_tokens", "input_tokens", "of all input tokens"),
                    ),
                    3,
                ),
                (
                    counter(
                        "refused",
                        "Refused",
                        "refusals",
                        counted("refused_usd", "USD that calls would have reserved", USD),
                        note="A call that is tried again counts again.",
                    ),
                    3,
                ),
            ),
        ),
        Row(
            7,
            (
                (
                    bar(
                        "saved_days",
                        "Saved by day",
                        "savings",
                        DAY,
                        total("saved_usd", "Saved, USD"),
                        plain("model", "Model that served"),
                        note="Empty where nothing was downgraded.",
                    ),
                    6,
                ),
                (
                    line(
                        "cache_days",
                        "Input from caches by day and model",
                        "spend",
                        DAY,
                        share("cache_read_tokens", "input_tokens", "Share of input"),
                        plain("model", "Model"),
                    ),
                    6,
                ),
            ),
        ),
        Row(
            8,
            (
                (
                    table(
                        "downgrades",
                        "Downgrades",
                        "savings",
                        (
                            DAY,
                            plain("agent_id", "Agent"),
                            plain("model_requested", "Asked for"),
                            plain("model", "Served by"),
                            plain("calls", "Calls", COUNT),
                            plain("cost_usd", "Cost, USD", USD),
                            plain("saved_usd", "Saved, USD", USD),
                        ),
                    ),
                    12,
                ),
            ),
        ),
    ),
)

PAGES: Final = (_NOW, _SPEND, BUDGETS, QUALITY, _SAVINGS)
"""The pages in the order of their tabs."""
