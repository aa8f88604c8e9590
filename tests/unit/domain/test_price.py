"""Prices: which row is in force, what a call costs at it, and the dearest it could cost."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from spendgate.domain.price import (
    Cost,
    InvalidPriceError,
    Price,
    PriceBook,
    TokenClass,
    UnpricedModelError,
    WorstRates,
)
from spendgate.domain.usage import DisjointUsage, TokenUsage

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)

SONNET = Price(
    model="sonnet",
    geo="global",
    context_tier="all",
    long_context_over_tokens=None,
    effective_from=START,
    effective_to=None,
    usd_pico={
        TokenClass.INPUT: 3_000_000,
        TokenClass.CACHE_READ: 300_000,
        TokenClass.CACHE_WRITE: 3_750_000,
        TokenClass.CACHE_WRITE_1H: 6_000_000,
        TokenClass.OUTPUT: 15_000_000,
    },
    dbu_pico={TokenClass.INPUT: 42_857_000, TokenClass.OUTPUT: 214_286_000},
    source="test",
    caches_implicitly=False,
)
OPEN = Price(
    model="open",
    geo="global",
    context_tier="all",
    long_context_over_tokens=None,
    effective_from=START,
    effective_to=None,
    usd_pico={TokenClass.INPUT: 500_000, TokenClass.OUTPUT: 1_500_000},
)
SHORT = replace(
    OPEN, model="tiered", context_tier="short", long_context_over_tokens=200_000, version=""
)
LONG = replace(
    SHORT,
    context_tier="long",
    usd_pico={TokenClass.INPUT: 1_000_000, TokenClass.OUTPUT: 2_250_000},
    version="",
)
BOOK = PriceBook((SONNET, OPEN, SHORT, LONG))


def at_rates(price: Price, usd_in: int, usd_out: int, **changes: object) -> Price:
    rates = {TokenClass.INPUT: usd_in, TokenClass.OUTPUT: usd_out}
    return replace(price, usd_pico=rates, dbu_pico=None, version="", **changes)


def test_the_parts_of_a_usage_come_in_the_order_of_the_rates() -> None:
    assert DisjointUsage._fields == tuple(f"{one}_tokens" for one in TokenClass)


def test_a_call_costs_its_tokens_times_their_rates_exactly() -> None:
    cost = SONNET.cost(TokenUsage(input_tokens=1000, output_tokens=200))

    assert cost.total_nano == 6_000_000
    assert cost.breakdown_pico[TokenClass.INPUT] == 3_000_000_000
    assert cost.breakdown_pico[TokenClass.OUTPUT] == 3_000_000_000
    assert cost.dbu_nano == 42_857_000 + 42_857_200
    assert (cost.price_version, cost.geo, cost.context_tier) == (SONNET.version, "global", "all")


def test_every_token_class_is_charged_once_at_its_own_rate() -> None:
    usage = TokenUsage(
        input_tokens=1000,
        output_tokens=50,
        cache_read_tokens=100,
        cache_write_tokens=70,
        cache_write_1h_tokens=30,
        reasoning_tokens=20,
    )

    assert dict(SONNET.cost(usage).breakdown_pico) == {
        TokenClass.INPUT: 830 * 3_000_000,
        TokenClass.CACHE_READ: 100 * 300_000,
        TokenClass.CACHE_WRITE: 40 * 3_750_000,
        TokenClass.CACHE_WRITE_1H: 30 * 6_000_000,
        TokenClass.OUTPUT: 30 * 15_000_000,
        TokenClass.REASONING: 20 * 15_000_000,
    }


def test_a_cost_is_rounded_up_once_for_the_whole_call() -> None:
    price = at_rates(OPEN, 1, 1)

    assert price.cost(TokenUsage(0, 0)).total_nano == 0
    assert price.cost(TokenUsage(1, 0)).total_nano == 1
    assert price.cost(TokenUsage(400, 600)).total_nano == 1
    assert price.cost(TokenUsage(401, 600)).total_nano == 2


def test_a_class_without_a_rate_is_charged_as_the_one_it_belongs_to() -> None:
    with_write = replace(OPEN, usd_pico={**OPEN.usd_pico, TokenClass.CACHE_WRITE: 700_000})

    assert OPEN.rate(TokenClass.CACHE_READ) == 500_000
    assert OPEN.rate(TokenClass.CACHE_WRITE) == 500_000
    assert OPEN.rate(TokenClass.CACHE_WRITE_1H) == 500_000
    assert OPEN.rate(TokenClass.REASONING) == 1_500_000
    assert with_write.rate(TokenClass.CACHE_WRITE_1H) == 700_000


def test_an_embedding_has_no_output_to_charge() -> None:
    embedding = Price(
        model="embedding",
        geo="global",
        context_tier="all",
        long_context_over_tokens=None,
        effective_from=START,
        effective_to=None,
        usd_pico={TokenClass.INPUT: 130_000},
        kind="embedding",
    )

    assert embedding.rate(TokenClass.OUTPUT) == 0
    assert embedding.rate(TokenClass.REASONING) == 0
    assert embedding.cost(TokenUsage(1000, 0)).total_nano == 130_000


def test_a_row_without_dbu_rates_has_an_unknown_dbu_amount_and_not_zero() -> None:
    assert OPEN.cost(TokenUsage(10, 10)).dbu_nano is None
    assert OPEN.dbu_rate(TokenClass.INPUT) is None
    assert SONNET.dbu_rate(TokenClass.CACHE_READ) == 42_857_000


def test_the_prompt_length_chooses_the_context_tier() -> None:
    at_threshold = BOOK.cost("tiered", TokenUsage(200_000, 1), at=NOW)
    above = BOOK.cost("tiered", TokenUsage(200_001, 1), at=NOW)

    assert (at_threshold.context_tier, above.context_tier) == ("short", "long")
    assert at_threshold.total_nano == 200_000 * 500 + 1500
    assert above.total_nano == 200_001 * 1000 + 2250


def test_cached_tokens_count_towards_the_long_context_threshold() -> None:
    usage = TokenUsage(input_tokens=200_001, output_tokens=0, cache_read_tokens=200_000)

    assert BOOK.cost("tiered", usage, at=NOW).context_tier == "long"


def test_a_row_is_in_force_from_its_first_instant_until_its_end() -> None:
    end = datetime(2026, 9, 1, tzinfo=UTC)
    promotion = at_rates(OPEN, 200_000, 600_000, effective_to=end)
    listed = at_rates(OPEN, 500_000, 1_500_000, effective_from=end)
    book = PriceBook((listed, promotion))
    tick = timedelta(microseconds=1)

    assert book.price_for("open", at=START - tick) is None
    assert book.price_for("open", at=START) == promotion
    assert book.price_for("open", at=end - tick) == promotion
    assert book.price_for("open", at=end) == listed
    assert not book.has("open", START - tick)
    assert book.has("open", end)
    assert promotion.is_in_force(end - tick)
    assert not promotion.is_in_force(end)
    assert not PriceBook((promotion,)).has("open", end)


def test_a_newer_row_answers_for_later_calls_and_the_old_one_for_its_own() -> None:
    newer = at_rates(OPEN, 400_000, 1_200_000, effective_from=NOW)
    book = BOOK.with_prices([newer])

    assert book.price_for("open", at=NOW) == newer
    assert book.price_for("open", at=NOW - timedelta(seconds=1)) == OPEN
    assert BOOK.price_for("open", at=NOW) == OPEN
    assert book.version != BOOK.version


def test_of_rows_with_one_date_the_one_added_last_wins() -> None:
    first = at_rates(OPEN, 1, 1)
    second = at_rates(OPEN, 2, 2)

    assert BOOK.with_prices([first, second]).price_for("open", at=NOW) == second
    assert BOOK.with_prices([second, first]).price_for("open", at=NOW) == first


def test_a_newer_row_for_all_prompts_replaces_both_context_tiers() -> None:
    flat = at_rates(OPEN, 400_000, 1_200_000, model="tiered", effective_from=NOW)
    book = BOOK.with_prices([flat])

    assert book.price_for("tiered", at=NOW, input_tokens=1) == flat
    assert book.price_for("tiered", at=NOW, input_tokens=300_000) == flat


def test_a_model_without_a_row_in_a_geo_has_its_global_price_there() -> None:
    in_geo = at_rates(OPEN, 550_000, 1_650_000, model="sonnet", geo="in_geo")
    book = BOOK.with_prices([in_geo])

    assert book.price_for("open", geo="in_geo", at=NOW) == OPEN
    assert book.price_for("sonnet", geo="in_geo", at=NOW) == in_geo


def test_a_model_that_nobody_priced_is_unknown_and_never_free() -> None:
    assert BOOK.price_for("unknown", at=NOW) is None
    assert BOOK.dearest("unknown", at=NOW) is None
    assert BOOK.worst_rates("unknown", at=NOW, input_tokens_max=1) is None
    assert not BOOK.has("unknown", NOW)
    with pytest.raises(UnpricedModelError, match="unknown has no price in global at 2026-06-01"):
        BOOK.cost("unknown", TokenUsage(1, 1), at=NOW)


def test_the_book_lists_its_models_and_finds_a_row_by_its_version() -> None:
    assert BOOK.models() == ("open", "sonnet", "tiered")
    assert BOOK.row(LONG.version) == LONG
    assert BOOK.row("0" * 12) is None


def test_the_dearest_row_is_the_dearest_over_tiers_and_unknown_geos() -> None:
    in_geo = at_rates(LONG, 1_100_000, 2_475_000, geo="in_geo")
    book = BOOK.with_prices([in_geo])

    assert book.dearest("tiered", at=NOW) == LONG
    assert book.dearest("tiered", geo=None, at=NOW) == in_geo


def test_the_worst_rates_use_the_long_tier_only_where_the_prompt_can_reach_it() -> None:
    short = BOOK.worst_rates("tiered", at=NOW, input_tokens_max=200_000)
    long = BOOK.worst_rates("tiered", at=NOW, input_tokens_max=200_001)

    assert short == WorstRates(500_000, 1_500_000, SHORT.version)
    assert long == WorstRates(1_000_000, 2_250_000, LONG.version)


def test_the_worst_rates_take_the_dearest_geo_where_it_is_unknown() -> None:
    in_geo = at_rates(OPEN, 550_000, 1_650_000, geo="in_geo")
    book = BOOK.with_prices([in_geo])

    known = book.worst_rates("open", at=NOW, input_tokens_max=1)
    unknown = book.worst_rates("open", geo=None, at=NOW, input_tokens_max=1)

    assert known == WorstRates(500_000, 1_500_000, OPEN.version)
    assert unknown == WorstRates(550_000, 1_650_000, in_geo.version)


@pytest.mark.parametrize(("ttl", "input_pico"), [(None, 3_000_000), ("5m", 3_750_000)])
def test_an_asked_for_cache_counts_its_write_premium(ttl: str | None, input_pico: int) -> None:
    worst = BOOK.worst_rates("sonnet", at=NOW, input_tokens_max=1, cache_write_ttl=ttl)

    assert worst == WorstRates(input_pico, 15_000_000, SONNET.version)


def test_a_cache_asked_for_an_hour_counts_the_dearer_write() -> None:
    worst = BOOK.worst_rates("sonnet", at=NOW, input_tokens_max=1, cache_write_ttl="1h")

    assert worst == WorstRates(6_000_000, 15_000_000, SONNET.version)


def test_a_provider_that_caches_unasked_always_counts_its_write_premium() -> None:
    rates = {**OPEN.usd_pico, TokenClass.CACHE_WRITE: 625_000}
    implicit = replace(OPEN, usd_pico=rates, version="")

    worst = PriceBook((implicit,)).worst_rates("open", at=NOW, input_tokens_max=1)

    assert worst == WorstRates(625_000, 1_500_000, implicit.version)


def test_dearer_reasoning_makes_the_worst_output_rate() -> None:
    rates = {**OPEN.usd_pico, TokenClass.REASONING: 9_000_000}
    thinking = replace(OPEN, usd_pico=rates, version="")

    worst = PriceBook((thinking,)).worst_rates("open", at=NOW, input_tokens_max=1)

    assert worst == WorstRates(500_000, 9_000_000, thinking.version)


def test_prompt_lengths_that_no_row_prices_make_the_call_unboundable() -> None:
    book = PriceBook((SHORT,))

    assert book.worst_rates("tiered", at=NOW, input_tokens_max=200_000) is not None
    assert book.worst_rates("tiered", at=NOW, input_tokens_max=200_001) is None
    assert book.dearest("tiered", at=NOW) == SHORT


def test_the_versions_follow_the_content_and_nothing_else() -> None:
    again = replace(OPEN, version="", source="elsewhere", output_tokens_max=4096)
    dearer = at_rates(OPEN, 500_001, 1_500_000)
    ended = replace(OPEN, version="", effective_to=NOW)

    assert again.version == OPEN.version
    assert len({OPEN.version, dearer.version, ended.version, SONNET.version}) == 4
    assert PriceBook((OPEN, SONNET)).version == PriceBook((SONNET, OPEN)).version
    assert PriceBook((OPEN,)).version != PriceBook((dearer,)).version


def test_a_given_version_is_kept() -> None:
    assert replace(OPEN, version="v1").version == "v1"


def test_rows_and_costs_cannot_be_changed_from_outside() -> None:
    rates = dict(OPEN.usd_pico)
    price = replace(OPEN, usd_pico=rates)
    rates[TokenClass.INPUT] = 1

    assert price.rate(TokenClass.INPUT) == 500_000
    with pytest.raises(TypeError):
        price.usd_pico[TokenClass.INPUT] = 1  # pyright: ignore[reportIndexIssue] - the point
    assert isinstance(hash(price), int)
    assert isinstance(hash(price.cost(TokenUsage(1, 1))), int)
    assert isinstance(price.cost(TokenUsage(1, 1)), Cost)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "needs a model and a geo"),
        ({"geo": ""}, "needs a model and a geo"),
        ({"kind": "image"}, "kind is 'image'"),
        ({"output_tokens_max": 0}, "output_tokens_max is below 1"),
        ({"effective_from": datetime(2026, 1, 1)}, "is not in UTC"),  # noqa: DTZ001 - naive
        ({"effective_to": NOW.astimezone(timezone(timedelta(hours=2)))}, "is not in UTC"),
        ({"effective_to": START}, "effective_to is not after effective_from"),
        ({"context_tier": "priority"}, "context_tier is 'priority'"),
        ({"context_tier": "long"}, "need long_context_over_tokens"),
        ({"long_context_over_tokens": 1}, "others have none"),
        ({"context_tier": "long", "long_context_over_tokens": -1}, "is below 0"),
        ({"usd_pico": {TokenClass.OUTPUT: 1}}, "usd_pico has no input rate"),
        ({"usd_pico": {TokenClass.INPUT: 1}}, "usd_pico has no output rate"),
        ({"dbu_pico": {TokenClass.INPUT: 1}}, "dbu_pico has no output rate"),
        ({"usd_pico": {**OPEN.usd_pico, "audio": 1}}, "unknown class 'audio'"),
        ({"usd_pico": {**OPEN.usd_pico, TokenClass.INPUT: 0}}, "input is 0, not a whole rate"),
        ({"usd_pico": {**OPEN.usd_pico, TokenClass.INPUT: -1}}, "input is -1"),
        ({"usd_pico": {**OPEN.usd_pico, TokenClass.INPUT: 1.5}}, "input is 1.5"),
        ({"usd_pico": {**OPEN.usd_pico, TokenClass.INPUT: True}}, "input is True"),
    ],
)
def test_a_row_that_cannot_be_charged_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidPriceError, match=message):
        replace(OPEN, **changes)
