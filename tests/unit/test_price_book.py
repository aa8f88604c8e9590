"""The shipped price book: what it says, where it comes from, and what a price file may not say."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import metadata
from pathlib import Path

import pytest

from spendgate.adapters.price_book import (
    load_price_book,
    overlay_names,
    parse_price_file,
    parse_price_row,
    price_row_json,
)
from spendgate.domain.price import Price, TokenClass
from spendgate.domain.usage import TokenUsage
from spendgate.errors import PriceError

REPOSITORY = Path(__file__).parents[2]
FACTS = REPOSITORY.parent / "shared" / "data" / "databricks_fmapi_prices.csv"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
BOOK = load_price_book()

# Judged in src/spendgate/data/README.md.
DISAGREEMENTS = {
    "databricks-gemini-2-5-flash",
    "databricks-gemini-2-5-pro",
    "databricks-gpt-5-6-luna",
    "databricks-gpt-5-6-sol",
    "databricks-gpt-5-6-terra",
    "databricks-mpt-7b-instruct",
}
CORRECTED = {"databricks-claude-3-7-sonnet"}
ROUNDING_PICO = 100  # 0.0001 USD per million: what DBU x 0.07 loses in the other tables

ROW: dict[str, object] = {
    "model": "m",
    "effective_from": "2026-01-01T00:00:00Z",
    "usd_per_million": {"input": "3.00", "output": "15.00"},
    "source": "s",
}


def price_file(*rows: dict[str, object]) -> str:
    sources = {"s": {"what": "a test"}}
    file = {"schema_version": 1, "description": "", "sources": sources, "rows": list(rows)}
    return json.dumps(file)


def catalog() -> dict[str, dict[str, dict[str, float]]]:
    path = metadata.distribution("mlflow").locate_file("mlflow/utils/model_catalog/databricks.json")
    return json.loads(Path(str(path)).read_text(encoding="utf-8"))["models"]


def priced(model: str, geo: str = "global", *, at: datetime = NOW, input_tokens: int = 0) -> Price:
    price = BOOK.price_for(model, geo=geo, at=at, input_tokens=input_tokens)
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("model", "usage", "total_nano"),
    [
        ("databricks-claude-sonnet-4-5", TokenUsage(1000, 200), 6_000_000),
        ("databricks-claude-haiku-4-5", TokenUsage(1000, 200), 2_000_000),
        ("databricks-gpt-oss-20b", TokenUsage(1000, 200), 130_000),
        ("databricks-gte-large-en", TokenUsage(1000, 0), 130_000),
        ("databricks-gpt-5-5", TokenUsage(272_000, 0), 1_360_000_000),
        ("databricks-gpt-5-5", TokenUsage(272_001, 0), 2_720_010_000),
        ("databricks-gemini-3-1-pro", TokenUsage(200_000, 0), 500_000_000),
        ("databricks-gemini-3-1-pro", TokenUsage(200_001, 0), 1_000_005_000),
        ("databricks-dbrx-instruct", TokenUsage(1000, 1000), 3_000_000),
        ("databricks-mixtral-8x7b-instruct", TokenUsage(1000, 1000), 1_500_000),
        ("mistral-7b-instruct", TokenUsage(1000, 1000), 140_000),
        ("llama-3-8b", TokenUsage(1000, 1000), 120_000),
        ("deepseek-v4-flash", TokenUsage(1000, 1000), 420_000),
    ],
)
def test_known_calls_cost_what_the_list_says(
    model: str, usage: TokenUsage, total_nano: int
) -> None:
    assert BOOK.cost(model, usage, at=NOW).total_nano == total_nano


def test_an_hour_of_cache_costs_claude_callers_twice_the_input() -> None:
    usage = TokenUsage(1000, 0, cache_write_tokens=1000, cache_write_1h_tokens=1000)

    for model in (name for name in BOOK.models() if "claude" in name):
        price = priced(model)
        assert price.rate(TokenClass.CACHE_WRITE_1H) == 2 * price.rate(TokenClass.INPUT), model
        assert not price.caches_implicitly
    cost = BOOK.cost("databricks-claude-sonnet-4-5", usage, at=NOW)
    assert cost.total_nano == 6_000_000


def test_the_introductory_price_ends_with_august() -> None:
    end = datetime(2026, 9, 1, tzinfo=UTC)
    usage = TokenUsage(1000, 200)

    def cost(at: datetime) -> int:
        return BOOK.cost("databricks-claude-sonnet-5", usage, at=at).total_nano

    assert cost(end - timedelta(microseconds=1)) == 4_000_000
    assert cost(end) == 6_000_000


@pytest.mark.parametrize(
    ("model", "tenths"),
    [
        ("databricks-claude-sonnet-4-5", 11),
        ("databricks-gpt-5-5", 11),
        ("databricks-claude-opus-4-1", 10),
        ("databricks-claude-sonnet-4", 10),
        ("databricks-gemini-3-1-pro", 10),
        ("databricks-gemini-3-5-flash", 11),
        ("databricks-gpt-oss-120b", 10),
        ("databricks-gemma-3-12b", 10),
    ],
)
def test_in_geo_costs_a_tenth_more_where_the_list_says_so(model: str, tenths: int) -> None:
    for one in TokenClass:
        assert priced(model, "in_geo").rate(one) * 10 == priced(model).rate(one) * tenths


def test_models_without_a_published_price_stay_absent() -> None:
    unpriced = {
        "ai_decide",
        "databricks-gemini-3-1-flash-image",
        "databricks-gemini-3-7-flash",
        "databricks-gemini-3-8-flash",
        "databricks-gemini-3-pro-image",
        "databricks-openjev-qwen35-4b",
        "databricks-llama-3-2-1b",
        "system.ai.deepseek-v4-flash-0731",
        "system.ai.kimi-k3",
    }

    assert unpriced.isdisjoint(BOOK.models())


def test_retired_models_can_still_be_priced() -> None:
    for model in (
        "databricks-llama-2-70b-chat",
        "databricks-mpt-7b-instruct",
        "databricks-meta-llama-3-70b-instruct",
        "databricks-meta-llama-3-1-70b-instruct",
        "databricks-meta-llama-3-1-405b-instruct",
        "databricks-claude-3-7-sonnet",
        "databricks-gemini-2-5-pro",
    ):
        assert BOOK.has(model, NOW), model


def test_usd_is_dbu_at_seven_cents_to_the_rounding_of_the_list() -> None:
    for row in BOOK.rows:
        for one, dbu_pico in (row.dbu_pico or {}).items():
            exact = dbu_pico * Decimal("0.07")
            assert abs(row.usd_pico[one] - exact) <= ROUNDING_PICO, (row.model, one)


def test_the_book_agrees_with_mlflow_but_for_the_listed_disagreements() -> None:
    keys = {
        TokenClass.INPUT: "input_per_million_tokens",
        TokenClass.OUTPUT: "output_per_million_tokens",
        TokenClass.CACHE_READ: "cache_read_per_million_tokens",
        TokenClass.CACHE_WRITE: "cache_write_per_million_tokens",
    }
    differing: set[str] = set()
    for model, entry in catalog().items():
        pricing = entry.get("pricing", {})
        if not pricing:
            assert model not in BOOK.models()
            continue
        for one, key in keys.items():
            theirs = int(Decimal(str(pricing[key])).scaleb(6))
            if abs(priced(model).rate(one) - theirs) > ROUNDING_PICO:
                differing.add(model)

    assert differing == DISAGREEMENTS


def facts() -> Iterator[dict[str, str]]:
    with FACTS.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@pytest.mark.skipif(not FACTS.exists(), reason="runs where ../shared/data is beside the repository")
def test_the_book_agrees_with_every_line_of_the_list() -> None:
    columns = {
        TokenClass.INPUT: "in",
        TokenClass.OUTPUT: "out",
        TokenClass.CACHE_READ: "cache_read",
        TokenClass.CACHE_WRITE: "cache_write",
    }
    compared = 0
    for line in facts():
        model = line["endpoint"]
        is_listed = not line["source"].startswith("LiteLLM")
        is_priced = bool(line["usd_in"]) and "UNPRICED" not in line["note"]
        if not is_priced or line["context_tier"] == "priority" or model in CORRECTED:
            continue
        if not is_listed and model in DISAGREEMENTS:
            continue
        at = datetime(2026, 8, 1, tzinfo=UTC) if "introductory" in line["status"] else NOW
        price = priced(model, at=at, input_tokens=10**6 if line["context_tier"] == "long" else 0)
        for one, name in columns.items():
            for unit, ours in (("usd", price.rate(one)), ("dbu", price.dbu_rate(one))):
                theirs = Decimal(line[f"{unit}_{name}"] or "0")
                if not theirs:
                    continue
                assert ours == theirs.scaleb(6), (model, line["context_tier"], one, unit)
                compared += 1

    assert compared > 600


@pytest.mark.skipif(not FACTS.exists(), reason="runs where ../shared/data is beside the repository")
def test_the_shipped_file_is_what_the_list_builds() -> None:
    check("--facts", str(FACTS))


def test_the_shipped_file_is_what_its_own_rows_and_mlflow_build() -> None:
    check()


def check(*arguments: str) -> None:
    script = REPOSITORY / "scripts" / "build_price_book.py"
    result = subprocess.run(
        [sys.executable, script, "--check", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_recipe_overlay_replaces_the_list_for_two_models_only() -> None:
    book = load_price_book(["recipe"])
    usage = TokenUsage(1_000_000, 1_000_000)

    changed = {
        model
        for model in BOOK.models()
        if book.price_for(model, at=NOW) != BOOK.price_for(model, at=NOW)
    }

    assert changed == {"databricks-dbrx-instruct", "databricks-mixtral-8x7b-instruct"}
    assert book.cost("databricks-dbrx-instruct", usage, at=NOW).total_nano == 1_500_000_000
    assert book.cost("databricks-mixtral-8x7b-instruct", usage, at=NOW).total_nano == 600_000_000
    assert overlay_names() == ("recipe",)


def test_an_unknown_overlay_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PriceError, match=r"no price overlay '\.\./x'; there are: recipe"):
        load_price_book(["../x"])


def test_extra_rows_come_after_the_overlays() -> None:
    own = parse_price_row({**ROW, "model": "databricks-dbrx-instruct"})
    book = load_price_book(["recipe"], [own])

    assert book.price_for("databricks-dbrx-instruct", at=NOW) == own


@pytest.mark.parametrize("overlays", [[], ["recipe"]])
def test_an_extra_row_of_the_same_date_replaces_a_shipped_one(overlays: list[str]) -> None:
    shipped = load_price_book(overlays).price_for("databricks-dbrx-instruct", at=NOW)
    assert shipped is not None
    own = replace(shipped, usd_pico={name: 2 * rate for name, rate in shipped.usd_pico.items()})

    book = load_price_book(overlays, [own])

    assert book.price_for("databricks-dbrx-instruct", at=NOW) == own != shipped


def test_every_row_survives_being_written_and_read() -> None:
    for row in load_price_book(["recipe"]).rows:
        written = json.loads(json.dumps(price_row_json(row)))
        assert parse_price_row(written) == row


def test_a_rate_may_be_a_string_an_integer_or_a_decimal() -> None:
    rates = {"input": 3, "output": Decimal("15.000000000"), "cache_read": "0.000001"}

    price = parse_price_row({**ROW, "usd_per_million": rates})

    assert price.rate(TokenClass.INPUT) == 3_000_000
    assert price.rate(TokenClass.OUTPUT) == 15_000_000
    assert price.rate(TokenClass.CACHE_READ) == 1


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (3.0, "decimal string"),
        (0.1 + 0.2, "decimal string"),
        (True, "decimal string"),
        (None, "decimal string"),
        ("0", "above 0"),
        (0, "above 0"),
        ("0.00", "above 0"),
        ("-1", "above 0"),
        ("NaN", "above 0"),
        ("Infinity", "above 0"),
        ("1000001", "at most 1000000"),
        ("1e400", "at most 1000000"),
        ("0.30000000000000004", "multiple of 0.000001"),
        ("0.0000001", "multiple of 0.000001"),
        ("three", "not a decimal number"),
        ("", "not a decimal number"),
    ],
)
def test_a_rate_that_is_no_exact_positive_price_is_refused(rate: object, message: str) -> None:
    row = {**ROW, "usd_per_million": {"input": rate, "output": "15.00"}}

    with pytest.raises(PriceError, match=message) as caught:
        parse_price_row(row, where="prices.yml: row 4")

    assert str(caught.value).startswith("prices.yml: row 4 (m): usd_per_million.input: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"usd": {}}, r"usd: Extra inputs are not permitted"),
        ({"model": 7}, r"^here: model: "),
        ({"effective_from": "2026-01-01T00:00:00"}, "effective_from: .*timezone"),
        ({"effective_to": "2025-01-01T00:00:00Z"}, "effective_to is not after effective_from"),
        ({"usd_per_million": {"input": "1"}}, "has no output rate"),
        ({"usd_per_million": {"input": "1", "output": "1", "audio": "1"}}, "audio: Input should"),
        ({"context_tier": "long"}, "need long_context_over_tokens"),
        ({"output_tokens_max": 0}, "output_tokens_max: "),
        ({"source": ""}, "source: "),
    ],
)
def test_a_wrong_row_is_refused_by_place_and_field(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(PriceError, match=message) as caught:
        parse_price_row({**ROW, **changes}, where="here")

    assert str(caught.value).startswith("here")


def test_times_of_other_zones_are_kept_as_the_same_instant_in_utc() -> None:
    price = parse_price_row({**ROW, "effective_from": "2026-01-01T02:00:00+02:00"})

    assert price.effective_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert price_row_json(price)["effective_from"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "f.json: line 1 is not JSON"),
        ("[]", "f.json: "),
        ("{}", "f.json: schema_version: Field required"),
        (price_file(), "f.json: rows: "),
        (price_file(ROW, ROW), "f.json: row 2: m has this row twice"),
        (price_file({**ROW, "source": "x"}), "f.json: row 1: source 'x' isn't in sources"),
        (price_file(ROW, {**ROW, "geo": ""}), r"f.json: row 2 \(m\): geo: "),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_row(text: str, message: str) -> None:
    with pytest.raises(PriceError, match=message):
        parse_price_file(text, where="f.json")
