"""The fields of a policy's rows as people write them, each read by its own rule.

A number that is money or a fraction may come as text or as a number; a float is read through its
shortest decimal form, so that 0.1 is a tenth. `true` is never a number.
"""

import difflib
import re
import zoneinfo
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, ValidationInfo

from spendgate.adapters.plain_data import as_mapping
from spendgate.domain.budget import parse_window
from spendgate.domain.money import parse_usd
from spendgate.domain.retention import format_ttl, parse_ttl
from spendgate.domain.scope import TAG_PREFIX, Scope, checked_wildcards
from spendgate.domain.window import WindowError, parse_time_zone

LIMIT_USD_MAX = Decimal(9_200_000_000)
"""What a ledger's 64-bit nano-USD column holds, rounded down to a number people remember."""
LIMIT_NANO_MAX = parse_usd(LIMIT_USD_MAX)
FRACTION_MAX = Decimal(10)
"""Alerts above the limit make sense for shadow budgets; ten times it is a slip of the keyboard."""
TEXT_CHARACTERS_MAX = 500
IDLE_TTL_SECONDS_MIN = 3600
"""Shorter, and a session that only waits for its user would start again with all its money."""

STORED = "stored"
"""The context of rows that a ledger has taken: what is refused only since then is still read."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}")


def read_number(value: object) -> Decimal:
    """Read a number exactly; `true` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be a number such as 12.50")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is no number; write it like 12.50") from None
    if not number.is_finite():
        raise ValueError(f"{value} is not a finite number")
    return number


def _read_usd(value: object) -> Decimal:
    amount = read_number(value)
    if amount <= 0:
        raise ValueError(f"{amount} must be above 0; pause the scope to allow nothing at all")
    if amount > LIMIT_USD_MAX:
        raise ValueError(f"{amount:g} USD is more than a ledger can hold ({LIMIT_USD_MAX:f})")
    if amount != round(amount, 9):
        raise ValueError(f"{str(value)[:40]} has more than nine decimals")
    return amount


def _read_added_usd(value: object) -> Decimal:
    amount = read_number(value)
    if amount <= 0:
        raise ValueError(
            f"{amount} must be above 0: it is added to the limit; to lower that, set the budget's "
            "limit_usd"
        )
    return _read_usd(value)


def _read_fraction(value: object) -> Decimal:
    fraction = read_number(value)
    if fraction <= 0:
        raise ValueError(f"{fraction} must be above 0")
    if fraction > FRACTION_MAX:
        raise ValueError(f"{fraction} is above {FRACTION_MAX}; write a fraction of the limit")
    if fraction != round(fraction, 6):
        raise ValueError(f"{str(value)[:40]} has more than six decimals")
    return fraction


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}; put it in quotes")
    if not value.strip() or not value.isprintable():
        raise ValueError("must be printable text and not empty")
    if len(value) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"is longer than {TEXT_CHARACTERS_MAX} characters")
    return value


def _read_id(value: object) -> str:
    text = _read_text(value)
    if not _ID.fullmatch(text):
        raise ValueError(
            f"{text[:40]!r} is no id; use letters, digits and ._:@/+-, a letter or digit first, "
            "128 characters at most"
        )
    return text


def _read_instant(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value[:40]!r} is no time; write 2030-01-31T00:00:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("must be a time with its zone, such as 2030-01-31T00:00:00Z")
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no zone; add Z or an offset such as +02:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the year 1 or 9999, which UTC's calendar doesn't reach
        raise ValueError(f"{value.isoformat()} is no time; write 2030-01-31T00:00:00Z") from None


def _read_tz(value: object) -> str:
    name = _read_text(value)
    try:
        return parse_time_zone(name).key
    except WindowError as error:
        raise ValueError(f"{error}{did_you_mean(name, zoneinfo.available_timezones())}") from None


def _read_window(value: object) -> str:
    return parse_window(value).text


def _read_scope(value: object, info: ValidationInfo) -> str:
    scope = _scope_of(value)
    return (scope if info.context == STORED else checked_wildcards(scope)).text


def _scope_of(value: object) -> Scope:
    if isinstance(value, str):
        return Scope.parse(value)
    parts = as_mapping(value)
    if parts is None:
        raise ValueError("must be a mapping such as {agent: triage-bot}; {} covers everything")
    tags = as_mapping(parts.pop("tags", {}))
    if tags is None:
        raise ValueError("tags must be a mapping such as {cost_center: '4711'}")
    parts.update({f"{TAG_PREFIX}{name}": part for name, part in tags.items()})
    return Scope.of(parts)


def _read_ttl(value: object) -> str:
    seconds = parse_ttl(_read_text(value))
    if seconds < IDLE_TTL_SECONDS_MIN:
        raise ValueError(f"{value} is below {format_ttl(IDLE_TTL_SECONDS_MIN)}")
    return format_ttl(seconds)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Usd = Annotated[Decimal, BeforeValidator(_read_usd)]
AddedUsd = Annotated[Decimal, BeforeValidator(_read_added_usd)]
"""What a raise adds to a limit."""
Fraction = Annotated[Decimal, BeforeValidator(_read_fraction)]
Text = Annotated[str, BeforeValidator(_read_text)]
Id = Annotated[str, BeforeValidator(_read_id)]
Instant = Annotated[datetime, BeforeValidator(_read_instant)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
ScopeText = Annotated[str, BeforeValidator(_read_scope)]
WindowText = Annotated[str, BeforeValidator(_read_window)]
Zone = Annotated[str, BeforeValidator(_read_tz)]
Ttl = Annotated[str, BeforeValidator(_read_ttl)]
Tokens = Annotated[StrictInt, Field(ge=1, le=10**9)]


class PolicyRow(BaseModel):
    """What every row of a policy file has in common: no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
