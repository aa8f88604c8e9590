"""The rows of a policy as people write them, in YAML, JSON or SQL: checked field by field.

A number that is money or a fraction may come as text or as a number; a float is read through its
shortest decimal form, so that 0.1 is a tenth. `true` is never a number.
"""

import difflib
import re
import zoneinfo
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from spendgate.adapters.plain_data import as_mapping
from spendgate.domain.budget import (
    PPM,
    BoundKind,
    DowngradeStep,
    Mode,
    Refusal,
    find_loop,
    format_window,
    parse_window,
)
from spendgate.domain.loop import LoopGuard
from spendgate.domain.money import parse_usd
from spendgate.domain.rollover import CALENDAR
from spendgate.domain.scope import TAG_PREFIX, Scope, checked_dimension
from spendgate.domain.window import WindowError, parse_time_zone

LIMIT_USD_MAX = Decimal(9_200_000_000)
"""What a ledger's 64-bit nano-USD column holds, rounded down to a number people remember."""
LIMIT_NANO_MAX = parse_usd(LIMIT_USD_MAX)
FRACTION_MAX = Decimal(10)
"""Alerts above the limit make sense for shadow budgets; ten times it is a slip of the keyboard."""
TEXT_CHARACTERS_MAX = 500
MINUTES_PER_DAY = 1440

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
    return value.astimezone(UTC)


def _read_tz(value: object) -> str:
    name = _read_text(value)
    try:
        return parse_time_zone(name).key
    except WindowError as error:
        raise ValueError(f"{error}{did_you_mean(name, zoneinfo.available_timezones())}") from None


def _read_window(value: object) -> str:
    return format_window(parse_window(value))


def _read_scope(value: object) -> str:
    if isinstance(value, str):
        return Scope.parse(value).text
    parts = as_mapping(value)
    if parts is None:
        raise ValueError("must be a mapping such as {agent: triage-bot}; {} covers everything")
    tags = as_mapping(parts.pop("tags", {}))
    if tags is None:
        raise ValueError("tags must be a mapping such as {cost_center: '4711'}")
    parts.update({f"{TAG_PREFIX}{name}": part for name, part in tags.items()})
    return Scope.of(parts).text


def _read_rollover(value: object) -> object:
    if value is not None and as_mapping(value) is None:
        raise ValueError("must be a mapping such as {max_usd: 50}")
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _checked_trust(trust: dict[str, str]) -> dict[str, str]:
    return {checked_dimension(name): how for name, how in trust.items()}


Usd = Annotated[Decimal, BeforeValidator(_read_usd)]
Fraction = Annotated[Decimal, BeforeValidator(_read_fraction)]
Text = Annotated[str, BeforeValidator(_read_text)]
Id = Annotated[str, BeforeValidator(_read_id)]
Instant = Annotated[datetime, BeforeValidator(_read_instant)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Tokens = Annotated[StrictInt, Field(ge=1, le=10**9)]


class PolicyRow(BaseModel):
    """What every row of a policy file has in common: no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DowngradeRow(PolicyRow):
    """One step of a downgrade chain; `from` may be one model or a list."""

    from_models: Texts = Field(validation_alias=AliasChoices("from"), min_length=1)
    to: Text


class LoopGuardRow(PolicyRow):
    """How often the same request may be made within one task or session."""

    repeats: Annotated[StrictInt, Field(ge=1, le=10_000)]
    minutes: Annotated[StrictInt, Field(ge=1, le=MINUTES_PER_DAY)]


class RolloverRow(PolicyRow):
    """How much of what a window leaves of its own limit the next one may spend."""

    max_usd: Usd


class BudgetRow(PolicyRow):
    """One budget, with every default of the policy file.

    A field that is checked against another one stands below it.
    """

    id: Id
    scope: Annotated[str, BeforeValidator(_read_scope)]
    limit_usd: Usd
    window: Annotated[str, BeforeValidator(_read_window)] = "month"
    rollover: Annotated[RolloverRow | None, BeforeValidator(_read_rollover)] = None
    tz: Annotated[str, BeforeValidator(_read_tz)] = "UTC"
    hard_cap: Fraction = Decimal("1.0")
    soft_cap: Annotated[Fraction, Field(validate_default=True)] = Decimal("0.8")
    auto_downgrade: tuple[DowngradeRow, ...] = ()
    disable_tools: Texts = ()
    alerts: tuple[Fraction, ...] = tuple(map(Decimal, ("0.5", "0.75", "0.9", "1.0")))
    routes: Texts = ()
    mode: Mode = Mode.ENFORCE
    bound: BoundKind = BoundKind.STRICT
    fit: StrictBool = True
    min_output_tokens: Tokens = 256
    trust: Annotated[dict[str, Literal["trusted", "asserted"]], AfterValidator(_checked_trust)] = (
        Field(default_factory=dict)
    )
    refusal: Refusal = Refusal.HTTP
    on_client_abort: Literal["drain", "close"] = "drain"
    on_store_error: Literal["refuse", "allow"] = "refuse"
    loop_guard: LoopGuardRow | None = None
    expires_at: Instant | None = None

    @field_validator("rollover")
    @classmethod
    def _rollover_needs_a_window_before(
        cls, value: RolloverRow | None, info: ValidationInfo
    ) -> RolloverRow | None:
        window = info.data.get("window")
        if value is not None and window is not None and parse_window(window).kind not in CALENDAR:
            raise ValueError(
                f"a {window} window has none before it; use minute, hour, day, week or month, or "
                "remove the line"
            )
        limit = info.data.get("limit_usd", Decimal(0))
        if value is not None and limit + value.max_usd > LIMIT_USD_MAX:
            raise ValueError(f"with limit_usd {limit:f} it is more than a ledger can hold")
        return value

    @field_validator("hard_cap")
    @classmethod
    def _hard_cap_is_a_part(cls, value: Decimal) -> Decimal:
        if value > 1:
            raise ValueError(f"{value} is above 1.0, which is the whole limit; raise limit_usd")
        return value

    @field_validator("soft_cap")
    @classmethod
    def _soft_cap_comes_first(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        hard_cap: Decimal = info.data.get("hard_cap", Decimal(1))
        if value > hard_cap:
            raise ValueError(f"{value} is above hard_cap {hard_cap}; set it to {hard_cap} or less")
        return value

    @field_validator("auto_downgrade")
    @classmethod
    def _chain_ends(cls, steps: tuple[DowngradeRow, ...]) -> tuple[DowngradeRow, ...]:
        loop = find_loop(steps_of(steps))
        if loop is not None:
            raise ValueError(f"goes in a circle: {' -> '.join(loop)}; remove one of these steps")
        return steps

    @field_validator("alerts")
    @classmethod
    def _alerts_ascend(cls, alerts: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
        return tuple(sorted(set(alerts)))

    @field_validator("bound")
    @classmethod
    def _bound_exists(cls, value: BoundKind) -> BoundKind:
        if value is BoundKind.COUNTED:
            raise ValueError("'counted' is not supported by this version; write strict")
        return value

    @field_validator("on_store_error")
    @classmethod
    def _strict_stays_strict(cls, value: str, info: ValidationInfo) -> str:
        if value == "allow" and info.data.get("bound", BoundKind.STRICT) is BoundKind.STRICT:
            raise ValueError(
                "'allow' would break the promise of bound: strict; write refuse, or remove the line"
            )
        return value


class RaiseRow(PolicyRow):
    """A temporary addition to a budget's limit."""

    raises: Id
    id: Id | None = None
    amount_usd: Usd = Field(validation_alias=AliasChoices("amount_usd", "amount"))
    reason: Text
    expires_at: Instant | None = None


class DefaultsRow(PolicyRow):
    """What holds where a budget is silent."""

    max_output_tokens: Tokens | None = None
    unmatched: Literal["refuse", "allow"] = "refuse"
    held_wait_seconds: (
        Annotated[Decimal, BeforeValidator(read_number), Field(ge=0, le=60)] | None
    ) = None
    loop_guard: LoopGuardRow | None = None


class ModelRow(PolicyRow):
    """What an operator knows about a model."""

    image_tokens: Tokens | None = None
    audio_tokens: Tokens | None = None
    file_tokens: Tokens | None = None
    kept_reasoning_tokens: Annotated[StrictInt, Field(ge=0, le=10**9)] | None = None
    max_output_tokens: Tokens | None = None
    min_output_tokens: Tokens | None = None
    tool_preamble_tokens: Annotated[StrictInt, Field(ge=0, le=10**9)] | None = None
    template_tokens: Annotated[StrictInt, Field(ge=0, le=10**9)] | None = None


def steps_of(rows: Iterable[DowngradeRow]) -> tuple[DowngradeStep, ...]:
    """Return the steps of a chain in the domain's form."""
    return tuple(DowngradeStep(row.from_models, row.to) for row in rows)


def guard_of(row: LoopGuardRow | None) -> LoopGuard | None:
    """Return a loop guard in the domain's form."""
    return None if row is None else LoopGuard(row.repeats, row.minutes)


def nano_of(amount_usd: Decimal) -> int:
    """Return a checked amount in nano-USD."""
    return parse_usd(amount_usd)


def ppm_of(fraction: Decimal) -> int:
    """Return a checked fraction in parts per million."""
    return int(fraction * PPM)


def problems_of(error: ValidationError, known: Iterable[str] = ()) -> list[str]:
    """Say what is wrong with a row: field, problem and way out, one text per problem.

    `known` are the keys that an unknown one may have been meant for; the budgets' own by default.
    """
    keys = list(known) or _KNOWN
    found = error.errors(include_url=False, include_context=False)
    return list(
        dict.fromkeys(
            _problem(one["loc"], one["type"], one["msg"], one["input"], keys) for one in found
        )
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


_KNOWN = sorted(
    {"from", "to", "tags"}
    | {
        name
        for row in (BudgetRow, LoopGuardRow, RolloverRow, RaiseRow, DefaultsRow, ModelRow)
        for name in row.model_fields
    }
)


def _problem(
    loc: tuple[int | str, ...], kind: str, message: str, given: object, known: Iterable[str]
) -> str:
    place = ".".join(str(part) for part in loc if part != "[key]")
    if kind == "extra_forbidden":
        return f"{place}: unknown key{did_you_mean(str(loc[-1]), known)}"
    if kind == "missing":
        return f"{place}: is required"
    if kind == "too_short":
        return f"{place}: must name at least one"
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    if not place:
        return text  # the row as a whole; the text names its field
    if isinstance(given, str | int | float) and kind in {"enum", "literal_error"}:
        text = f"{str(given)[:40]!r} {text}"
    return f"{place}: {text}"
