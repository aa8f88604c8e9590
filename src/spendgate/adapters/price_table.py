"""Prices as rows of the Delta table `prices`: one row per token class of a dated price."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from spendgate.adapters.price_book import parse_price_row, per_million_text
from spendgate.domain.policy_tables import PRICES
from spendgate.domain.price import GLOBAL_GEO, ContextTier, Price, TokenClass

Key = tuple[str, str, str, datetime, str | None]
"""Model, geo, context tier, first instant, version: what the rows of one price share."""

_SHARED = (
    *("kind", "long_context_over_tokens", "effective_to", "caches_implicitly"),
    *("output_tokens_max", "source"),
)


def key_of_row(row: Mapping[str, object]) -> Key:
    """Return which price a row belongs to."""
    start = row["effective_from"]
    assert isinstance(start, datetime)  # noqa: S101 - the column's type
    version = row["price_version"]
    return (
        str(row["model"]),
        str(row["geo"] or GLOBAL_GEO),
        str(row["context_tier"] or ContextTier.ALL),
        start,
        None if version is None else str(version),
    )


def key_text(key: Key) -> str:
    """Name a price in a report."""
    model, geo, tier, start, _ = key
    return f"{model} ({geo}, {tier}) from {start.isoformat()}"


def price_of_rows(key: Key, rows: Iterable[Mapping[str, object]]) -> Price:
    """Put a price together from its rows.

    Raises:
        PriceError: names the price and what is wrong with it.
    """
    model, geo, tier, start, _ = key
    form: dict[str, object] = {"model": model, "geo": geo, "context_tier": tier}
    form |= {"effective_from": start, "source": "sql"}
    usd: dict[str, object] = {}
    dbu: dict[str, object] = {}
    for row in rows:
        token_class = str(row["token_class"])
        usd[token_class] = row["usd_per_million"]
        if row["dbu_per_million"] is not None:
            dbu[token_class] = row["dbu_per_million"]
        form |= {name: row[name] for name in _SHARED if row[name] is not None}
    form["usd_per_million"] = usd
    if dbu:
        form["dbu_per_million"] = dbu
    return parse_price_row(form, where=f"table prices: {key_text(key)}")


def rows_of_price(price: Price) -> list[dict[str, object]]:
    """Write a price as rows."""
    shared: dict[str, object] = {
        "model": price.model,
        "kind": str(price.kind),
        "geo": price.geo,
        "context_tier": str(price.context_tier),
        "long_context_over_tokens": price.long_context_over_tokens,
        "effective_from": price.effective_from,
        "effective_to": price.effective_to,
        "caches_implicitly": price.caches_implicitly,
        "output_tokens_max": price.output_tokens_max,
        "source": price.source,
        "price_version": price.version,
    }
    dbu = price.dbu_pico or {}
    rows: list[dict[str, object]] = []
    for token_class in TokenClass:
        if token_class in price.usd_pico:
            rates = {
                "token_class": str(token_class),
                "usd_per_million": _per_million(price.usd_pico[token_class]),
                "dbu_per_million": _per_million(dbu[token_class]) if token_class in dbu else None,
            }
            rows.append({name: (shared | rates)[name] for name in PRICES.column_names})
    return rows


def _per_million(pico: int) -> Decimal:
    return Decimal(per_million_text(pico))
