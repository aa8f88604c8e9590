"""Budget profiles of the source recipes, camelCase JSON, read as budgets.

A profile names one scope (`scopeType`, `scopeKey`) and one limit. What a profile doesn't say has
the default of the policy file.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal

from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.plain_data import as_list, as_mapping
from spendgate.adapters.policy_fields import did_you_mean
from spendgate.domain.budget import Budget
from spendgate.errors import PolicyError

TEXT_CHARACTERS_MAX = 1_000_000

_LIMITS = {"limit": None, "limitUsd": None, "dailyLimit": "day", "monthlyLimit": "month"}
"""Names of the limit, with the window that a name implies."""
_WINDOWS = {
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "total": "lifetime",
}
_FIELDS = {
    "tz": "tz",
    "timezone": "tz",
    "softCap": "soft_cap",
    "hardCap": "hard_cap",
    "autoDowngrade": "auto_downgrade",
    "disableTools": "disable_tools",
    "alerts": "alerts",
    "mode": "mode",
    "fit": "fit",
    "minOutputTokens": "min_output_tokens",
    "expiresAt": "expires_at",
}
_SCOPE_TYPES = ("org", "team", "agent", "user", "session", "task")
_OWN = ("id", "scopeType", "scopeKey", "window", "period")


def import_profiles(text: str) -> list[Budget]:
    """Read a JSON list of profiles, or `{"profiles": [...]}`, as budgets that people own.

    Raises:
        PolicyError: names every profile and field that is wrong, a line each.
    """
    problems: list[str] = []
    budgets: list[Budget] = []
    for number, profile in enumerate(_profiles(text), start=1):
        try:
            budgets.append(_budget(profile, f"profile #{number}"))
        except PolicyError as error:
            problems.append(str(error))
    ids = [one.budget_id for one in budgets]
    problems += [
        f"profiles: {name!r} stands {ids.count(name)} times; give each its own id"
        for name in dict.fromkeys(ids)
        if ids.count(name) > 1
    ]
    if problems:
        raise PolicyError("\n".join(problems))
    return budgets


def _profiles(text: str) -> list[object]:
    if len(text) > TEXT_CHARACTERS_MAX:
        raise PolicyError(f"profiles: more than {TEXT_CHARACTERS_MAX} characters; split the file")
    try:
        document: object = json.loads(text, parse_float=Decimal)
    except (json.JSONDecodeError, RecursionError) as error:
        raise PolicyError(f"profiles: is not JSON: {error}") from None
    wrapped = as_mapping(document)
    rows = as_list(document if wrapped is None else wrapped.get("profiles"))
    if not rows:
        raise PolicyError('profiles: must be a list of profiles, or {"profiles": [...]}')
    return rows


def _budget(profile: object, where: str) -> Budget:
    read = as_mapping(profile)
    if read is None:
        raise PolicyError(f"{where}: must be an object")
    known = (*_OWN, *_LIMITS, *_FIELDS)
    unknown = [
        f"{where}: {key}: unknown key{did_you_mean(key, known)}" for key in read if key not in known
    ]
    if unknown:
        raise PolicyError("\n".join(unknown))
    row: dict[str, object] = {_FIELDS[key]: value for key, value in read.items() if key in _FIELDS}
    row["scope"] = _scope(read, where)
    row["limit_usd"], implied = _limit(read, where)
    row["window"] = _window(read, implied, where)
    row["id"] = read.get("id") or _id(read, str(row["window"]))
    return parse_budget(row, where=where, source="people")


def _scope(profile: Mapping[str, object], where: str) -> dict[str, object]:
    kind = profile.get("scopeType")
    if kind not in _SCOPE_TYPES:
        known = ", ".join(_SCOPE_TYPES)
        raise PolicyError(f"{where}: scopeType: {str(kind)[:40]!r} is unknown; known are {known}")
    if "scopeKey" not in profile:
        raise PolicyError(f'{where}: scopeKey: is required; "*" covers every {kind}')
    return {str(kind): profile["scopeKey"]}


def _limit(profile: Mapping[str, object], where: str) -> tuple[object, str | None]:
    named = [name for name in _LIMITS if name in profile]
    if len(named) != 1:
        found = " and ".join(named) or "none"
        raise PolicyError(
            f"{where}: limit: name exactly one of {', '.join(_LIMITS)}; found {found}"
        )
    return profile[named[0]], _LIMITS[named[0]]


def _window(profile: Mapping[str, object], implied: str | None, where: str) -> object:
    given = [profile[name] for name in ("window", "period") if name in profile]
    words = [_WINDOWS.get(one, one) if isinstance(one, str) else one for one in given]
    if implied is not None:
        words.append(implied)
    if any(word != words[0] for word in words):
        raise PolicyError(f"{where}: window: {' and '.join(map(str, words))} contradict each other")
    return words[0] if words else "month"


def _id(profile: Mapping[str, object], window: str) -> str:
    """Name a profile after what it covers, so that importing it again replaces it."""
    key = str(profile["scopeKey"])
    # The @ keeps the wildcard apart from a scope that is called `every`.
    name = "@every" if key == "*" else re.sub(r"[^A-Za-z0-9._-]", "-", key)
    if name not in {key, "@every"} or len(name) > 80:
        # Two keys may look alike once they are spelled with the letters of an id.
        name = f"{name[:80]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    return f"{profile['scopeType']}-{name}-{re.sub(r'[^A-Za-z0-9]', '', window)}"
