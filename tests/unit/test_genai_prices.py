"""Every price that both we and the genai-prices package know, compared; differences are data.

A difference that isn't in `genai_prices_differences.json`, or one in it that is none any more,
fails: a price changed here or there, and somebody has to look which is right.
"""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices.data
import pytest

from spendgate.adapters.price_book import load_price_book
from spendgate.domain.price import Price, TokenClass

BOOK = load_price_book()
RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parent / "genai_prices_differences.json").read_text(encoding="utf-8")
)
AT = datetime.fromisoformat(RECORD["compared_at"]).replace(tzinfo=UTC)
ROUNDING = Decimal("0.001")  # what DBU rates of three decimals lose, in USD per million tokens
LONG_TOKENS = 1_000_000
FIELDS = {
    TokenClass.INPUT: "input_mtok",
    TokenClass.CACHE_READ: "cache_read_mtok",
    TokenClass.CACHE_WRITE: "cache_write_mtok",
    TokenClass.CACHE_WRITE_1H: "cache_write_1h_mtok",
    TokenClass.OUTPUT: "output_mtok",
}
VENDORS = {"claude": "anthropic", "gpt": "openai", "gemini": "google", "grok": "x-ai"}


def their_model(model: str) -> Any:
    """Find a model as Databricks hosts it, else at its vendor under the vendor's spelling."""
    providers = {one.id: one for one in genai_prices.data.providers}
    found = providers["databricks"].find_model(model)
    if found is not None:
        return found
    name = model.removeprefix("databricks-")
    vendor = VENDORS.get(name.split("-", 1)[0])
    if vendor is None:
        return None
    dotted = re.sub(r"-(\d+)-(\d+)", r"-\1.\2", name)
    spellings = (name, dotted) if vendor == "anthropic" else (dotted, name)
    return next((one for text in spellings if (one := providers[vendor].find_model(text))), None)


def their_rate(model: Any, token_class: TokenClass, tokens: int) -> Decimal | None:
    rate = getattr(model.get_prices(AT), FIELDS[token_class], None)
    if rate is None or isinstance(rate, Decimal):
        return rate
    reached = [tier.price for tier in rate.tiers if tokens > tier.start]
    return reached[-1] if reached else rate.base


def our_rate(price: Price, token_class: TokenClass) -> Decimal:
    return Decimal(price.rate(token_class)).scaleb(-6)


def differences(model: str) -> list[tuple[str, str, str, str, str]]:
    theirs = their_model(model)
    found: list[tuple[str, str, str, str, str]] = []
    for prompt, tokens in (("short", 1), ("long", LONG_TOKENS)):
        price = BOOK.price_for(model, at=AT, input_tokens=tokens)
        assert price is not None
        for token_class in FIELDS:
            rate = their_rate(theirs, token_class, tokens)
            ours = our_rate(price, token_class)
            # A class that they don't list is charged by them as input, and by us as our book says.
            if rate is not None and abs(rate - ours) > ROUNDING:
                found.append((model, prompt, str(token_class), f"{ours:f}", f"{rate:f}"))
    return found


def test_what_both_know_agrees_but_for_the_recorded_differences() -> None:
    known = [model for model in BOOK.models() if their_model(model) is not None]

    found = {row for model in known for row in differences(model)}

    recorded = {tuple(row["differs"]) for row in RECORD["differences"]}
    assert found - recorded == set()
    assert recorded - found == set()


def test_what_they_do_not_know_is_recorded_with_its_reason() -> None:
    unknown = {model for model in BOOK.models() if their_model(model) is None}

    recorded = {model for group in RECORD["unknown_there"] for model in group["models"]}
    assert unknown == recorded


@pytest.mark.parametrize("group", ["differences", "unknown_there"])
def test_every_record_has_a_reason(group: str) -> None:
    assert all(len(row["reason"]) > 20 for row in RECORD[group])
