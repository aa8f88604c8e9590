"""`spendgate price list|set`: the dated prices that calls are held and charged at."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Annotated

import typer

from spendgate.adapters.price_book import parse_price_row, per_million_text, price_row_json
from spendgate.bootstrap import open_price_book, utc_now
from spendgate.cli.budget_commands import SEEN_AT_ONCE
from spendgate.cli.console import note, print_json, print_table, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    has_ledger,
    opened_ledger,
    parse_instant,
    settings_from,
    system_user,
)
from spendgate.domain.price import (
    GLOBAL_GEO,
    ContextTier,
    ModelKind,
    Price,
    PriceBook,
    TokenClass,
)
from spendgate.errors import PriceError

PerMillion = Annotated[str | None, typer.Option(metavar="USD", help="Per million tokens.")]
DbuPerMillion = Annotated[str | None, typer.Option(metavar="DBU", help="Per million tokens.")]
SHOWN = (TokenClass.INPUT, TokenClass.CACHE_READ, TokenClass.CACHE_WRITE, TokenClass.OUTPUT)


def make_group() -> typer.Typer:
    """Return the group of commands on prices."""
    group = typer.Typer(help="List and set prices.", no_args_is_help=True)
    group.command("list")(list_prices)
    group.command("set")(set_price)
    return group


def list_prices(
    model: Annotated[str | None, typer.Option(help="Only this model, with its past rows.")] = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """List the prices in force now, USD per million tokens."""
    settings = settings_from(home, ledger)
    # The shipped prices can be read before there is a ledger.
    with opened_ledger(settings) if has_ledger(settings) else nullcontext() as opened:
        book = open_price_book(settings, opened)
    now = utc_now()
    if model is not None and model not in book.models():
        raise PriceError(f"{model!r} has no price; add one with `spendgate price set {model} …`")
    rows = [
        row
        for row in sorted(book.rows, key=lambda one: (one.model, one.geo, one.effective_from))
        if (row.model == model if model is not None else _is_charged(book, row, now))
    ]
    if as_json:
        print_json([price_row_json(row) | {"version": row.version} for row in rows])
        return
    rates = [str(one) for one in SHOWN]
    columns = ("model", "geo", "tier", *rates, "from", "version", "source")
    print_table(columns, [_as_row(row) for row in rows], numbers=rates)


def set_price(
    model: Annotated[str, typer.Argument(help="The model's name, as calls name it.")],
    input_: Annotated[str, typer.Option("--input", metavar="USD", help="Per million tokens.")],
    output: PerMillion = None,
    cache_read: PerMillion = None,
    cache_write: PerMillion = None,
    dbu_input: DbuPerMillion = None,
    dbu_output: DbuPerMillion = None,
    dbu_cache_read: DbuPerMillion = None,
    dbu_cache_write: DbuPerMillion = None,
    effective_from: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="Default now; UTC without a zone.")
    ] = None,
    geo: Annotated[str, typer.Option(help="global, in_geo …")] = GLOBAL_GEO,
    kind: Annotated[str, typer.Option(help="chat, or embedding (needs no --output).")] = "chat",
    home: Home = None,
    ledger: Ledger = None,
) -> None:
    """Add a dated price for a model; older calls keep the price they had."""
    if kind == ModelKind.CHAT and output is None:
        raise typer.BadParameter("a chat model needs --output", param_hint="--output")
    usd = _given(input_, output, cache_read, cache_write)
    dbu = _given(dbu_input, dbu_output, dbu_cache_read, dbu_cache_write)
    start = utc_now() if effective_from is None else parse_instant(effective_from, "--from")
    settings = settings_from(home, ledger)
    with opened_ledger(settings, may_create=True) as opened:
        book = open_price_book(settings, opened)
        before = book.price_for(model, geo=geo, at=start)
        row: dict[str, object] = {
            "model": model,
            "kind": kind,
            "geo": geo,
            "effective_from": start.isoformat(),
            "usd_per_million": usd,
            "source": "operator",
        }
        if before is not None:
            row |= _kept(before)
            kept = _in_proportion(before, usd)
            row["usd_per_million"] = kept | usd
            if kept:
                listed = ", ".join(f"{name} {value}" for name, value in kept.items())
                note(f"rates that weren't named keep their proportion: {listed}")
        if dbu:
            row["dbu_per_million"] = dbu
        price = parse_price_row(row, where="command line")
        opened.policies.by(system_user()).put_price(json.dumps(price_row_json(price)))
    shown = ", ".join(f"{name} {value}" for name, value in usd.items())
    say(f"{model} costs {shown} USD per million tokens from {start.isoformat()} ({price.version})")
    say(SEEN_AT_ONCE)
    if before is not None and before.context_tier != ContextTier.ALL:
        note("the model had a price for long prompts; this one holds for all lengths")


def _given(
    input_: str | None, output: str | None, cache_read: str | None, cache_write: str | None
) -> dict[str, str]:
    named = {
        "input": input_,
        "cache_read": cache_read,
        "cache_write": cache_write,
        "output": output,
    }
    return {name: value for name, value in named.items() if value is not None}


def _in_proportion(before: Price, usd: Mapping[str, str]) -> dict[str, str]:
    """Return the rates of a model that a change doesn't name, moved with input or output.

    A cache write that silently fell back to the input rate would be charged too little.
    """
    kept: dict[str, str] = {}
    for token_class, pico in before.usd_pico.items():
        base = TokenClass.OUTPUT if token_class is TokenClass.REASONING else TokenClass.INPUT
        old = before.usd_pico.get(base)
        if token_class.value not in usd and base.value in usd and old:
            new = Decimal(usd[base.value]).scaleb(6)
            moved = (Decimal(pico) * new / old).to_integral_value(ROUND_CEILING)
            kept[token_class.value] = per_million_text(int(moved))
    return kept


def _kept(before: Price) -> dict[str, object]:
    """What a price change doesn't change about a model."""
    kept: dict[str, object] = {"caches_implicitly": before.caches_implicitly}
    if before.output_tokens_max is not None:
        kept["output_tokens_max"] = before.output_tokens_max
    return kept


def _is_charged(book: PriceBook, row: Price, at: datetime) -> bool:
    over = row.long_context_over_tokens or 0
    tokens = over + 1 if row.context_tier == ContextTier.LONG else 0
    return book.price_for(row.model, geo=row.geo, at=at, input_tokens=tokens) is row


def _as_row(row: Price) -> list[object]:
    rates = [per_million_text(row.usd_pico[one]) if one in row.usd_pico else "" for one in SHOWN]
    start = row.effective_from.date().isoformat()
    return [row.model, row.geo, row.context_tier, *rates, start, row.version, row.source]
