"""The rows of a policy as people write them, in YAML, JSON or SQL: checked field by field."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from spendgate.adapters.plain_data import as_mapping
from spendgate.adapters.policy_fields import (
    LIMIT_USD_MAX,
    STORED,
    AddedUsd,
    Fraction,
    Id,
    Instant,
    PolicyRow,
    ScopeText,
    Text,
    Texts,
    Tokens,
    Ttl,
    Usd,
    WindowText,
    Zone,
    did_you_mean,
    read_number,
)
from spendgate.domain.budget import (
    PPM,
    BoundKind,
    DowngradeStep,
    Mode,
    Refusal,
    find_loop,
    parse_window,
)
from spendgate.domain.loop import LoopGuard
from spendgate.domain.money import parse_usd
from spendgate.domain.rollover import CALENDAR
from spendgate.domain.scope import Dimension, Scope, checked_dimension
from spendgate.domain.window import WindowKind

MINUTES_PER_DAY = 1440
FILE = "file:"


def _read_rollover(value: object) -> object:
    if value is not None and as_mapping(value) is None:
        raise ValueError("must be a mapping such as {max_usd: 50}")
    return value


def _read_file_reference(value: object) -> object:
    if isinstance(value, str) and value.startswith(FILE) and value.removeprefix(FILE).strip():
        return value
    raise ValueError("must say where the tokenizer.json is: file:PATH")


def _checked_trust(trust: dict[str, str]) -> dict[str, str]:
    return {checked_dimension(name): how for name, how in trust.items()}


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
    scope: ScopeText
    limit_usd: Usd
    window: WindowText = "month"
    rollover: Annotated[RolloverRow | None, BeforeValidator(_read_rollover)] = None
    tz: Zone = "UTC"
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
    idle_ttl: Ttl | None = None
    expires_at: Instant | None = None

    @field_validator("trust")
    @classmethod
    def _trust_is_about_its_own_scope(
        cls, value: dict[str, Literal["trusted", "asserted"]], info: ValidationInfo
    ) -> dict[str, Literal["trusted", "asserted"]]:
        scope = info.data.get("scope")
        if scope is None or info.context == STORED:
            return value
        others = sorted(set(value) - set(Scope.parse(scope).dimensions))
        if others:
            raise ValueError(
                f"{' and '.join(others)} isn't in the scope {scope}, so nothing asks for it; "
                "remove it, or add it to the scope"
            )
        return value

    @field_validator("idle_ttl")
    @classmethod
    def _only_sessions_and_tasks_are_forgotten(
        cls, value: str | None, info: ValidationInfo
    ) -> str | None:
        window, scope = info.data.get("window"), info.data.get("scope")
        if value is None or window is None or scope is None:
            return value
        if window != WindowKind.LIFETIME:
            raise ValueError(f"a {window} window ends by itself; remove the line")
        if not {Dimension.SESSION, Dimension.TASK} & set(Scope.parse(scope).dimensions):
            raise ValueError(f"would forget what {scope} has spent; only sessions and tasks end")
        return value

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

    @field_validator("on_store_error")
    @classmethod
    def _strict_stays_strict(cls, value: str, info: ValidationInfo) -> str:
        if value == "allow" and info.data.get("bound", BoundKind.STRICT) is BoundKind.STRICT:
            raise ValueError(
                "'allow' would break the promise of bound: strict; write refuse, or remove the "
                "line, or give the promise up with bound: counted"
            )
        return value


class RaiseRow(PolicyRow):
    """A temporary addition to a budget's limit."""

    raises: Id
    id: Id | None = None
    amount_usd: AddedUsd = Field(validation_alias=AliasChoices("amount_usd", "amount"))
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
    routes: Texts = ()


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
    tokenizer: Annotated[str, BeforeValidator(_read_file_reference)] | None = None


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
