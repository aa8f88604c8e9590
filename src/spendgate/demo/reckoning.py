"""Which budgets a call is charged to, worked out a second time from the policy file alone.

The gate has its own matching and windows; this is written anew, so that a mistake in either shows.
It knows what the demo's policy uses: calendar windows in UTC, lifetimes, exact and wildcard scopes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

import yaml

from spendgate.errors import PolicyError
from spendgate.gateway.json_object import json_list, json_object

_DIMENSIONS = ("org", "team", "agent", "user", "session", "task")
_WINDOWS = ("hour", "day", "week", "month", "lifetime")
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row of the policy file."""

    budget_id: str
    scope: tuple[tuple[str, str], ...]
    """Dimension or `tag.<name>`, and its value or `*`; in the order of the value's text."""

    limit_nano: int
    window: str
    is_enforced: bool


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One line of the proof: a budget, a value of its scope, and a window."""

    budget_id: str
    value: str
    period: str

    def __str__(self) -> str:
        return f"{self.budget_id} {self.value} {self.period}"


def nano_of(amount_usd: object) -> int:
    """Return dollars, given as text or a Decimal, in nano-USD; refuses what isn't whole."""
    nano = Decimal(str(amount_usd)).scaleb(9)
    if nano != nano.to_integral_value():
        raise ValueError(f"{amount_usd} USD is no whole number of nano-dollars")
    return int(nano)


def read_limits(policy_file: Path) -> tuple[Limit, ...]:
    """Read the budgets of a policy file.

    Raises:
        PolicyError: if a budget uses what this reckoning doesn't know.
    """
    policy = json_object(cast("object", yaml.safe_load(policy_file.read_text(encoding="utf-8"))))
    return tuple(_limit(json_object(row)) for row in json_list(policy.get("budgets")))


def lines_of(
    limits: Iterable[Limit], scopes: Mapping[str, str], tags: Mapping[str, str], at: datetime
) -> list[tuple[Limit, Line]]:
    """Return the lines that a call of this payer at this time is charged to."""
    payer = {**scopes, **{f"tag.{name}": value for name, value in tags.items()}}
    covering = [
        limit
        for limit in limits
        if all(name in payer and wanted in (_ANY, payer[name]) for name, wanted in limit.scope)
    ]
    return [
        (limit, Line(limit.budget_id, value_of(limit, payer), period_of(limit.window, at)))
        for limit in covering
        if not any(_is_nearer(other, limit) for other in covering)
    ]


def value_of(limit: Limit, payer: Mapping[str, str | None]) -> str:
    """Return the values of a budget's scope as ledger and tables write them."""
    return ",".join(str(payer.get(name)) for name, _ in limit.scope) or _ANY


def period_of(window: str, at: datetime | None) -> str:
    """Name the window that a time falls into, as the ledger does."""
    if window == "lifetime" or at is None:
        return _ANY
    at = at.astimezone(UTC)
    if window == "hour":
        return f"{at:%Y-%m-%dT%H%z}"
    if window == "week":
        return f"{at - timedelta(days=at.weekday()):%G-W%V}"
    return f"{at:%Y-%m}" if window == "month" else f"{at:%Y-%m-%d}"


def _limit(row: Mapping[str, object]) -> Limit:
    budget_id = str(row["id"])
    window = str(row.get("window", "month"))
    if window not in _WINDOWS or row.get("tz", "UTC") != "UTC" or "hard_cap" in row:
        raise PolicyError(f"budget {budget_id}: the proof knows no such window, tz or hard_cap")
    parts = dict(json_object(row["scope"]))
    tags = json_object(parts.pop("tags", None))
    named = {**parts, **{f"tag.{name}": value for name, value in tags.items()}}
    scope = sorted((name, str(value)) for name, value in named.items())
    return Limit(
        budget_id,
        tuple(sorted(scope, key=_rank)),
        nano_of(row["limit_usd"]),
        window,
        row.get("mode", "enforce") == "enforce",
    )


def _rank(part: tuple[str, str]) -> int:
    return _DIMENSIONS.index(part[0]) if part[0] in _DIMENSIONS else len(_DIMENSIONS)


def _is_nearer(other: Limit, limit: Limit) -> bool:
    """Tell whether an explicit row replaces a wildcard row of the same dimensions and window.

    A shadow row replaces no row in force.
    """
    return (
        [name for name, _ in other.scope] == [name for name, _ in limit.scope]
        and other.window == limit.window
        and _wildcards(other) < _wildcards(limit)
        and (other.is_enforced or not limit.is_enforced)
    )


def _wildcards(limit: Limit) -> frozenset[str]:
    return frozenset(name for name, value in limit.scope if value == _ANY)
