"""What makes the table `prices` and the ledger's price book agree: both only ever grow."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spendgate.adapters.price_book import price_row_json
from spendgate.adapters.price_table import Key, key_of_row, key_text, price_of_rows, rows_of_price
from spendgate.domain.price import Price, PriceBook
from spendgate.errors import PriceError

Row = Mapping[str, object]
APPEND_ONLY = (
    "the table is append-only and this price was changed; put it back, and add rows with a later "
    "effective_from for a new price"
)


@dataclass(frozen=True, slots=True)
class PricePlan:
    """What to write where."""

    to_ledger: tuple[str, ...]
    added: tuple[str, ...]
    """The prices that the table had alone, as a report names them."""
    filled_in: tuple[Row, ...]
    """Rows of the table that get their version."""
    table_rows: tuple[Row, ...]
    book: PriceBook
    problems: tuple[str, ...]


def plan_prices(rows: Iterable[Row], book: PriceBook) -> PricePlan:
    """Say which prices are missing on which side."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(key_of_row(row), []).append(row)
    known = {price.version: price for price in book.rows}
    new: dict[str, Price] = {}
    filled_in: list[Row] = []
    problems: list[str] = []
    listed: set[str] = set()
    for key, group in groups.items():
        if key[-1] is not None:
            listed.add(key[-1])
        try:
            price = _checked(key, group)
        except PriceError as error:
            problems += str(error).splitlines()
            continue
        listed.add(price.version)
        if price.version not in known:
            new[price.version] = price
        if key[-1] is None:
            filled_in += [{**row, "price_version": price.version} for row in group]
    missing = [price for version, price in known.items() if version not in listed]
    return PricePlan(
        to_ledger=tuple(json.dumps(price_row_json(price)) for price in new.values()),
        added=tuple(f"{_name(price)} ({price.version})" for price in new.values()),
        filled_in=tuple(filled_in),
        table_rows=tuple(row for price in missing for row in rows_of_price(price)),
        book=book.with_prices(new.values()),
        problems=tuple(problems),
    )


def _checked(key: Key, rows: list[Row]) -> Price:
    where = f"table prices: {key_text(key)}"
    classes = [str(row["token_class"]) for row in rows]
    for name in classes:
        if classes.count(name) > 1:
            raise PriceError(f"{where}: token_class {name} stands twice; delete one")
    price = price_of_rows(key, rows)
    if key[-1] is not None and key[-1] != price.version:
        raise PriceError(f"{where}: {APPEND_ONLY}")
    return price


def _name(price: Price) -> str:
    key = (price.model, price.geo, str(price.context_tier), price.effective_from, None)
    return key_text(key)
