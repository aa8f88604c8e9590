"""Rules of prices that hold for every model in the shipped book and any usage."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from spendgate.adapters.price_book import load_price_book
from spendgate.domain.price import GLOBAL_GEO, Price, PriceBook, TokenClass
from spendgate.domain.usage import TokenUsage

BOOK = load_price_book(["recipe"])
FIRST_DAY = datetime(2026, 8, 1, tzinfo=UTC)  # the days around the end of a promotion

models = st.sampled_from(BOOK.models())
geos = st.sampled_from(["global", "in_geo"])
instants = st.integers(0, 60 * 24).map(lambda hours: FIRST_DAY + timedelta(hours=hours))
# Around the thresholds of both vendors as often as anywhere else.
token_counts = st.one_of(
    st.integers(0, 2_000_000),
    st.integers(199_990, 200_010),
    st.integers(271_990, 272_010),
)


@st.composite
def usages(
    draw: st.DrawFn,
    input_tokens_max: int,
    output_tokens_max: int,
    *,
    may_write: bool = True,
    may_write_1h: bool = True,
) -> TokenUsage:
    input_tokens = draw(st.integers(0, input_tokens_max))
    cache_write = draw(st.integers(0, input_tokens)) if may_write else 0
    output_tokens = draw(st.integers(0, output_tokens_max))
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=draw(st.integers(0, input_tokens - cache_write)),
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=draw(st.integers(0, cache_write)) if may_write_1h else 0,
        reasoning_tokens=draw(st.integers(0, output_tokens)),
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    rates = st.integers(1, 1_000_000_000)
    usd = {TokenClass.INPUT: draw(rates), TokenClass.OUTPUT: draw(rates)}
    usd |= draw(st.dictionaries(st.sampled_from(TokenClass), rates))
    tier = draw(st.sampled_from(["all", "short", "long"]))
    start = draw(instants)
    is_ended = draw(st.booleans())
    return Price(
        model=draw(st.sampled_from(["a", "b"])),
        geo=draw(geos),
        context_tier=tier,
        long_context_over_tokens=None if tier == "all" else draw(st.sampled_from([10, 20])),
        effective_from=start,
        effective_to=start + timedelta(hours=draw(st.integers(1, 500))) if is_ended else None,
        usd_pico=usd,
        caches_implicitly=draw(st.booleans()),
    )


@given(
    st.data(),
    models,
    geos,
    st.booleans(),
    instants,
    token_counts,
    st.integers(0, 200_000),
    st.sampled_from([None, "5m", "1h"]),
)
def test_no_usage_within_its_bound_costs_more_than_the_worst_rates_say(
    data: st.DataObject,
    model: str,
    geo: str,
    is_geo_known: bool,
    at: datetime,
    input_tokens_max: int,
    output_tokens_max: int,
    ttl: str | None,
) -> None:
    worst = BOOK.worst_rates(
        model,
        geo=geo if is_geo_known else None,
        at=at,
        input_tokens_max=input_tokens_max,
        cache_write_ttl=ttl,
    )
    price = BOOK.price_for(model, geo=geo, at=at)
    assert worst is not None
    assert price is not None
    usage = data.draw(
        usages(
            input_tokens_max,
            output_tokens_max,
            may_write=ttl is not None or price.caches_implicitly,
            may_write_1h=ttl == "1h",
        )
    )

    cost = BOOK.cost(model, usage, at=at, geo=geo)

    held_pico = (
        input_tokens_max * worst.input_pico_per_token
        + output_tokens_max * worst.output_pico_per_token
    )
    assert cost.total_nano <= -(-held_pico // 1000)


@given(st.data(), st.lists(prices(), min_size=1, max_size=8), geos, instants, st.integers(0, 40))
def test_worst_rates_bound_every_call_in_any_book_or_say_that_they_cannot(
    data: st.DataObject, rows: list[Price], geo: str, at: datetime, input_tokens_max: int
) -> None:
    book = PriceBook(tuple(rows))
    worst = book.worst_rates(
        "a", geo=geo, at=at, input_tokens_max=input_tokens_max, cache_write_ttl="1h"
    )
    if worst is None:
        lengths = range(input_tokens_max + 1)
        found = [book.price_for("a", geo=geo, at=at, input_tokens=tokens) for tokens in lengths]
        assert None in found
        return
    usage = data.draw(usages(input_tokens_max, 100))

    cost = book.cost("a", usage, at=at, geo=geo)

    held_pico = input_tokens_max * worst.input_pico_per_token + 100 * worst.output_pico_per_token
    assert cost.total_nano <= -(-held_pico // 1000)


@given(models, geos, instants, st.data())
def test_a_cost_is_its_parts_rounded_up_by_less_than_one_nano(
    model: str, geo: str, at: datetime, data: st.DataObject
) -> None:
    usage = data.draw(usages(1_000_000, 100_000))

    cost = BOOK.cost(model, usage, at=at, geo=geo)

    exact = Fraction(sum(cost.breakdown_pico.values()), 1000)
    assert exact <= cost.total_nano < exact + 1


@given(models, instants, st.data())
def test_more_tokens_never_cost_less(model: str, at: datetime, data: st.DataObject) -> None:
    larger = TokenUsage(data.draw(token_counts), data.draw(st.integers(0, 100_000)))
    smaller = TokenUsage(
        data.draw(st.integers(0, larger.input_tokens)),
        data.draw(st.integers(0, larger.output_tokens)),
    )

    costs = [BOOK.cost(model, usage, at=at).total_nano for usage in (smaller, larger)]

    assert costs == sorted(costs)


@given(st.lists(prices(), max_size=8), prices(), prices(), st.integers(1, 1000))
def test_a_later_row_never_changes_what_an_earlier_call_cost(
    others: list[Price], known: Price, added: Price, hours: int
) -> None:
    at = known.effective_from
    later = replace(
        added,
        model=known.model,
        geo=known.geo,
        effective_from=at + timedelta(hours=hours),
        effective_to=None,
    )
    before = PriceBook((*others, known))

    after = before.with_prices([later])

    for tokens in (0, 15, 30):
        old = before.price_for(known.model, geo=known.geo, at=at, input_tokens=tokens)
        assert after.price_for(known.model, geo=known.geo, at=at, input_tokens=tokens) == old


@given(st.lists(prices(), max_size=8), instants, st.integers(0, 40))
def test_the_row_found_is_the_newest_of_those_that_price_the_call(
    rows: list[Price], at: datetime, input_tokens: int
) -> None:
    found = PriceBook(tuple(rows)).price_for("a", at=at, input_tokens=input_tokens)

    fitting = [
        row
        for row in rows
        if row.model == "a"
        and row.geo == GLOBAL_GEO
        and row.effective_from <= at
        and (row.effective_to is None or at < row.effective_to)
        and (
            row.context_tier == "all"
            or (row.context_tier == "long") == (input_tokens > (row.long_context_over_tokens or 0))
        )
    ]
    newest = max((row.effective_from for row in fitting), default=None)
    last_added = [row for row in fitting if row.effective_from == newest][-1:]
    assert found == (last_added[0] if last_added else None)


@given(models, geos, instants, st.integers(1, 1_000_000))
def test_nothing_in_the_book_is_free(model: str, geo: str, at: datetime, input_tokens: int) -> None:
    price = BOOK.price_for(model, geo=geo, at=at, input_tokens=input_tokens)

    assert price is not None
    assert price.cost(TokenUsage(input_tokens, 0)).total_nano > 0
