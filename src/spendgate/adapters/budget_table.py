"""Budgets and raises as rows of the Delta table `budgets`, in the words of the policy file."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from spendgate.adapters.budget_codec import (
    budget_as_json,
    parse_budget,
    parse_raise,
    raise_as_json,
)
from spendgate.adapters.plain_data import as_mapping
from spendgate.domain.budget import Budget, Raise
from spendgate.domain.policy_tables import BUDGETS
from spendgate.errors import PolicyError

PEOPLE = "people"
"""The owner of what is edited in SQL."""

_SAME = (
    *("scope", "limit_usd", "window", "tz", "soft_cap", "hard_cap", "disable_tools", "alerts"),
    *("routes", "mode", "bound", "fit", "min_output_tokens", "trust", "refusal"),
    *("on_client_abort", "on_store_error", "idle_ttl", "expires_at"),
)
"""Columns that have the name and the form of the policy file's keys."""
_AS_JSON = ("auto_downgrade", "loop_guard")
_OF_A_RAISE = ("reason", "expires_at")


def row_name(row: Mapping[str, object]) -> str:
    """Name a row: `budget x` or `raise y`."""
    return f"raise {row['raise_id']}" if is_raise(row) else f"budget {row['budget_id']}"


def name_of(rule: Budget | Raise) -> str:
    """Name a budget or a raise as its row is named."""
    if isinstance(rule, Raise):
        return f"raise {rule.raise_id}"
    return f"budget {rule.budget_id}"


def is_raise(row: Mapping[str, object]) -> bool:
    """Say whether a row is a raise."""
    return row.get("raise_id") is not None or row.get("raise_usd") is not None


def rule_of_row(row: Mapping[str, object]) -> Budget | Raise:
    """Read a row as people wrote it; what is null has the policy file's default.

    Raises:
        PolicyError: names the row and every field that is wrong, a line each.
    """
    where = f"table budgets: {row_name(row)}"
    given = {name: value for name, value in row.items() if value is not None}
    if not is_raise(row):
        stray = ["reason"] if "reason" in given else []
        _refuse_stray(stray, where, "is a raise's column; give the row a raise_id")
        return parse_budget(_budget_form(given, where), where=where, source=PEOPLE)
    if "raise_id" not in given:
        raise PolicyError(f"{where}: raise_id: is required; give the raise a name of its own")
    stray = [name for name in _SAME if name in given and name not in _OF_A_RAISE]
    _refuse_stray(stray, where, "is a budget's column; leave it null in a raise")
    form = {"raises": given["budget_id"], "id": given["raise_id"]}
    form |= {name: given[name] for name in _OF_A_RAISE if name in given}
    if "raise_usd" in given:
        form["amount_usd"] = given["raise_usd"]
    return parse_raise(form, where=where, source=PEOPLE)


def row_of_rule(rule: Budget | Raise, at: datetime) -> dict[str, object]:
    """Write a budget or a raise as a row, every column with its value."""
    row: dict[str, object] = {}
    row |= dict.fromkeys(BUDGETS.column_names)
    row |= {"owner": rule.source, "synced_at": at, "expires_at": rule.expires_at}
    row["budget_id"] = rule.budget_id
    if isinstance(rule, Raise):
        form = raise_as_json(rule)
        amount = Decimal(str(form["amount_usd"]))
        return row | {"raise_id": rule.raise_id, "raise_usd": amount, "reason": rule.reason}
    form = budget_as_json(rule)
    row |= {name: form[name] for name in _SAME if name != "expires_at"}
    row |= {"scope": rule.scope.text, "limit_usd": Decimal(str(form["limit_usd"]))}
    rollover = as_mapping(form["rollover"])
    if rollover is not None:
        row["rollover_max_usd"] = Decimal(str(rollover["max_usd"]))
    for name in _AS_JSON:
        row[name] = json.dumps(form[name]) if form[name] else None
    return row


def rule_form(rule: Budget | Raise) -> dict[str, object]:
    """Return a rule in the policy file's form, without who owns it."""
    return raise_as_json(rule) if isinstance(rule, Raise) else budget_as_json(rule)


def rule_text(rule: Budget | Raise) -> str:
    """Write a rule canonically: equal rules, and only they, have equal texts."""
    return json.dumps(rule_form(rule), sort_keys=True)


def _budget_form(given: Mapping[str, object], where: str) -> dict[str, object]:
    form: dict[str, object] = {name: given[name] for name in _SAME if name in given}
    form["id"] = given["budget_id"]
    if "rollover_max_usd" in given:
        form["rollover"] = {"max_usd": given["rollover_max_usd"]}
    for name in _AS_JSON:
        if name in given:
            try:
                form[name] = json.loads(str(given[name]))
            except ValueError:
                raise PolicyError(f"{where}: {name}: is not JSON") from None
    return form


def _refuse_stray(names: list[str], where: str, why: str) -> None:
    if names:
        raise PolicyError("\n".join(f"{where}: {name}: {why}" for name in names))
