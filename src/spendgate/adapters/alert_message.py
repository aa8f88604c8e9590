"""What people read of alerts: a title and plain lines.

Names of budgets, values of scopes and reasons are text that users give. Before it goes to a chat or
a mail it loses what those would take for a command: mentions, mark-up, links, line breaks.
"""

from collections.abc import Sequence

from spendgate.adapters.budget_codec import usd_text
from spendgate.domain.alert import Alert, AlertKind
from spendgate.domain.budget import PPM

LINES_MAX = 20
"""Alerts that one message tells of in full; the rest is counted."""
NAME_CHARACTERS_MAX = 120
_HARMLESS = frozenset(" ._-:/+=,;()%#'")
"""Besides letters and digits. `/` stays: no link comes about without a scheme's `//`."""


def shown(text: str) -> str:
    """Return user-given text as it may stand in a message."""
    clean = "".join(one if one.isalnum() or one in _HARMLESS else _stand_in(one) for one in text)
    clean = clean.replace("//", "/ /")
    return clean if len(clean) <= NAME_CHARACTERS_MAX else f"{clean[:NAME_CHARACTERS_MAX]}…"


def message_of(alerts: Sequence[Alert]) -> tuple[str, str]:
    """Return title and body for some alerts, the gravest first."""
    ordered = sorted(alerts, key=lambda one: (_GRAVITY.index(one.kind), one.budget_id))
    first = ordered[0]
    of = f", budget {shown(first.budget_id)}" if first.budget_id else ""
    said = f"{first.kind.replace('_', ' ')}{of}"
    title = f"spendgate: {said}" if len(ordered) == 1 else f"spendgate: {len(ordered)} alerts"
    lines = [_line(one) for one in ordered[:LINES_MAX]]
    if len(ordered) > LINES_MAX:
        lines.append(f"and {len(ordered) - LINES_MAX} more, in the table budget_alerts")
    return title, "\n".join(lines)


_GRAVITY = (
    AlertKind.OVERRUN,
    AlertKind.HARD_STOP,
    AlertKind.DRIFT,
    AlertKind.SINK_AGE,
    AlertKind.SOFT_CAP,
    AlertKind.THRESHOLD,
    AlertKind.FORECAST,
    AlertKind.RAISED,
)


def _stand_in(character: str) -> str:
    return "(at)" if character == "@" else "·"


def _line(alert: Alert) -> str:
    detail = shown(alert.detail)
    if not alert.budget_id:
        return f"{_what(alert)}{': ' if detail else ''}{detail}"
    who = shown(alert.scope_value)
    of = f" for {shown(alert.scope)} {who}" if who not in {"", "*"} else ""
    ending = "" if alert.window_end is None else f" until {alert.window_end:%Y-%m-%d %H:%M} UTC"
    window = f" ({shown(alert.window)}{ending})" if alert.window else ""
    said = f"budget {shown(alert.budget_id)}{of}{window}: {_what(alert)}"
    return f"{said} {detail}" if detail else said


def _what(alert: Alert) -> str:
    percent = f"{alert.threshold_ppm * 100 / PPM:g} %"
    spent = _of(alert.spent_nano, alert.limit_nano)
    forecast = _of(alert.forecast_nano, alert.limit_nano)
    return {
        AlertKind.OVERRUN: f"more is spent than its hard cap allows{spent}",
        AlertKind.HARD_STOP: f"it refuses calls for want of money{spent}",
        AlertKind.SOFT_CAP: f"its soft cap of {percent} is reached{spent}",
        AlertKind.THRESHOLD: f"{percent} is spent{spent}",
        AlertKind.FORECAST: f"at this rate it won't last to the window's end{forecast}",
        AlertKind.RAISED: "its limit was raised",
        AlertKind.DRIFT: f"what the gate charged is {percent} of the bill",
        AlertKind.SINK_AGE: "events reach the tables late",
    }[alert.kind]


def _of(part_nano: int | None, limit_nano: int | None) -> str:
    if part_nano is None or limit_nano is None:
        return ""
    return f", {usd_text(part_nano)} of {usd_text(limit_nano)} USD"
