"""Price rows as JSON: the book shipped with the package, its overlays, and rows from elsewhere.

Prices are decimal strings per million tokens (`"3.00"`), read exactly: a float is refused, because
0.1 + 0.2 is no price. Nothing is fetched and nothing falls back to an older book: a file that is
wrong stops the host that loads it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
)

from spendgate.domain.price import (
    GLOBAL_GEO,
    ContextTier,
    InvalidPriceError,
    ModelKind,
    Price,
    PriceBook,
    TokenClass,
)
from spendgate.errors import PriceError

SCHEMA_VERSION = 1
PER_MILLION_MAX = Decimal(1_000_000)
"""A dollar per token: a price above it is a slip of the keyboard."""

_PER_MILLION_STEP = Decimal("0.000001")
_OVERLAY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _read_per_million(value: object) -> Decimal:
    if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
        raise ValueError('write a price as a decimal string, such as "3.00"')
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError('not a decimal number; write it like "3.00"') from None
    if not amount.is_finite() or not 0 < amount <= PER_MILLION_MAX:
        raise ValueError(f"must be above 0 and at most {PER_MILLION_MAX} per million tokens")
    if amount % _PER_MILLION_STEP:
        raise ValueError(f"is no multiple of {_PER_MILLION_STEP} (one pico-USD per token)")
    return amount


PerMillion = Annotated[Decimal, BeforeValidator(_read_per_million)]


class _PriceRow(BaseModel):
    """One row of a price file. `note` and `retrieved_on` are for its readers alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    kind: ModelKind = ModelKind.CHAT
    geo: str = Field(default=GLOBAL_GEO, min_length=1)
    context_tier: ContextTier = ContextTier.ALL
    long_context_over_tokens: PositiveInt | None = None
    effective_from: AwareDatetime
    effective_to: AwareDatetime | None = None
    usd_per_million: dict[TokenClass, PerMillion]
    dbu_per_million: dict[TokenClass, PerMillion] | None = None
    caches_implicitly: bool = True
    output_tokens_max: PositiveInt | None = None
    source: str = Field(min_length=1)
    retrieved_on: str | None = None
    note: str | None = None


class _PriceFile(BaseModel):
    """A price file: rows, and where they come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    description: str
    sources: dict[str, dict[str, str]]
    rows: list[dict[str, object]] = Field(min_length=1)


def load_price_book(overlays: Sequence[str] = (), extra_rows: Iterable[Price] = ()) -> PriceBook:
    """Load the shipped book, then named overlays, then extra rows; of equal dates the last wins.

    Raises:
        PriceError: if an overlay doesn't exist or a row is wrong; names file, row and field.
    """
    rows = list(_read_shipped("price_book.json"))
    for name in overlays:
        if name not in overlay_names():
            known = ", ".join(overlay_names())
            raise PriceError(f"there is no price overlay {name[:40]!r}; there are: {known}")
        rows += _read_shipped(f"overlays/{name}.json")
    return PriceBook((*rows, *extra_rows))


def overlay_names() -> tuple[str, ...]:
    """Return the names of the overlays shipped with the package, sorted."""
    folder = resources.files("spendgate") / "data" / "overlays"
    names = (entry.name.removesuffix(".json") for entry in folder.iterdir())
    return tuple(sorted(name for name in names if _OVERLAY_NAME.fullmatch(name)))


def parse_price_file(text: str, *, where: str) -> tuple[Price, ...]:
    """Read the rows of a price file; two rows of one key, tier and date are refused.

    Raises:
        PriceError: names `where` (the file), the row and the field.
    """
    try:
        file = _PriceFile.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise PriceError(f"{where}: line {error.lineno} is not JSON: {error.msg}") from None
    except ValidationError as error:
        raise PriceError(f"{where}: {_first_error(error)}") from None
    rows: list[Price] = []
    seen: set[tuple[object, ...]] = set()
    for number, raw in enumerate(file.rows, start=1):
        row = parse_price_row(raw, where=f"{where}: row {number}")
        key = (row.model, row.geo, row.context_tier, row.effective_from)
        if key in seen:
            raise PriceError(f"{where}: row {number}: {row.model} has this row twice")
        if row.source not in file.sources:
            raise PriceError(f"{where}: row {number}: source {row.source!r} isn't in sources")
        seen.add(key)
        rows.append(row)
    return tuple(rows)


def parse_price_row(row: Mapping[str, object], *, where: str = "price row") -> Price:
    """Read one row.

    Raises:
        PriceError: names `where`, the model if it is known, and the field.
    """
    named = f"{where} ({row['model']})" if isinstance(row.get("model"), str) else where
    try:
        read = _PriceRow.model_validate(row)
        return _price(read)
    except ValidationError as error:
        raise PriceError(f"{named}: {_first_error(error)}") from None
    except InvalidPriceError as error:
        raise PriceError(f"{where}: {error}") from None


def price_row_json(price: Price) -> dict[str, object]:
    """Write one row as `parse_price_row` reads it, without the fields that are at their default."""
    row: dict[str, object] = {"model": price.model, "kind": str(price.kind), "geo": price.geo}
    row["context_tier"] = str(price.context_tier)
    if price.long_context_over_tokens is not None:
        row["long_context_over_tokens"] = price.long_context_over_tokens
    row["effective_from"] = _instant_text(price.effective_from)
    if price.effective_to is not None:
        row["effective_to"] = _instant_text(price.effective_to)
    row["usd_per_million"] = _per_million_text(price.usd_pico)
    if price.dbu_pico is not None:
        row["dbu_per_million"] = _per_million_text(price.dbu_pico)
    row["caches_implicitly"] = price.caches_implicitly
    if price.output_tokens_max is not None:
        row["output_tokens_max"] = price.output_tokens_max
    row["source"] = price.source
    return row


def _read_shipped(path: str) -> tuple[Price, ...]:
    file = resources.files("spendgate").joinpath("data", *path.split("/"))
    return parse_price_file(file.read_text(encoding="utf-8"), where=f"data/{path}")


def _price(row: _PriceRow) -> Price:
    end = row.effective_to
    return Price(
        model=row.model,
        geo=row.geo,
        context_tier=row.context_tier,
        long_context_over_tokens=row.long_context_over_tokens,
        effective_from=row.effective_from.astimezone(UTC),
        effective_to=None if end is None else end.astimezone(UTC),
        usd_pico=_pico(row.usd_per_million),
        dbu_pico=None if row.dbu_per_million is None else _pico(row.dbu_per_million),
        kind=row.kind,
        output_tokens_max=row.output_tokens_max,
        source=row.source,
        caches_implicitly=row.caches_implicitly,
    )


def _pico(per_million: Mapping[TokenClass, Decimal]) -> dict[TokenClass, int]:
    return {one: int(rate.scaleb(6)) for one, rate in per_million.items()}


def _per_million_text(pico: Mapping[TokenClass, int]) -> dict[str, str]:
    return {str(one): per_million_text(pico[one]) for one in TokenClass if one in pico}


def per_million_text(pico_per_token: int) -> str:
    """Write a rate per million tokens as a decimal with at least two places, such as `3.00`."""
    text = f"{Decimal(pico_per_token).scaleb(-6):f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


def _instant_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
