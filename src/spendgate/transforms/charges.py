"""Charges: what each kind of token cost, so that the kinds add up to the spend exactly.

Events are summed first and divided afterwards, by what the tokens cost at the list's rates. The
spend itself is what was charged: no rate decides it. Corrections keep to themselves, because a
difference of money belongs to no token.
"""

from collections.abc import Iterable
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.chargeback_tables import CHARGES, UNIT_PRICE
from spendgate.domain.hold import EventKind
from spendgate.domain.price import Price, TokenClass
from spendgate.domain.table import BIGINT, MONEY_SUM, STRING
from spendgate.transforms.charged_calls import charged_calls
from spendgate.transforms.hourly_spend import hour_of
from spendgate.transforms.schemas import conformed

CORRECTION = "correction"
UNKNOWN = "none"
KINDS = (
    TokenClass.INPUT,
    TokenClass.CACHE_READ,
    TokenClass.CACHE_WRITE,
    TokenClass.OUTPUT,
    TokenClass.REASONING,
)
RATES_SCHEMA = f"price_version {STRING}, token_kind {STRING}, usd_pico {BIGINT}, dbu_pico {BIGINT}"

RateRow = tuple[str, str, int, int | None]

_GROUP = (
    "hour", "org_id", "team_id", "agent_id", "user_id", "tags", "model", "upstream", "geo",
    "context_tier", "price_version", "charge_class",
)  # fmt: skip
_WHOLE = "decimal(18,0)"
_WEIGHT = "decimal(19,0)"
"""With `_WHOLE` a product has 38 digits, which is what Spark's decimals hold."""


def rate_rows(prices: Iterable[Price]) -> list[RateRow]:
    """Return a row of `RATES_SCHEMA` per price and kind of token."""
    return [
        (one.version, kind.value, one.rate(kind), one.dbu_rate(kind))
        for one in {price.version: price for price in prices}.values()
        for kind in KINDS
    ]


def charges(events: DataFrame, rates: DataFrame) -> DataFrame:
    """Return the rows of `charges` that some events make, each event counted once.

    Args:
        events: rows of `spend_events`.
        rates: rows of `RATES_SCHEMA`.
    """
    groups = _groups(events)
    is_known = F.col("charge_class").isNull() & (F.col("tokens") > 0)
    return _divided(groups.where(is_known), rates).unionByName(_whole(groups.where(~is_known)))


def _groups(events: DataFrame) -> DataFrame:
    once = events.dropDuplicates(["event_id"]).where(F.col("kind") != EventKind.VOIDED.value)
    tags = F.map_from_entries(F.array_sort(F.map_entries("tags")))
    reads, writes = (F.coalesce(F.col(f"{one}_tokens"), F.lit(0)) for one in KINDS[1:3])
    inputs, outputs, reasoning = (
        F.coalesce(F.col(f"{one}_tokens"), F.lit(0)) for one in (KINDS[0], KINDS[3], KINDS[4])
    )
    is_correction = F.col("kind") == EventKind.CORRECTED.value
    placed = once.withColumns(
        {
            "hour": hour_of("occurred_at"),
            "tags": F.to_json(tags),
            "charge_class": F.when(is_correction, CORRECTION),
            "input": F.greatest(inputs - reads - writes, F.lit(0)),
            "cache_read": reads,
            "cache_write": writes,
            "output": F.greatest(outputs - reasoning, F.lit(0)),
            "reasoning": reasoning,
        }
    ).withColumn("is_metered", (_tokens() > 0) & ~is_correction)
    # Calls without usage have a group of their own: their money must not make tokens dearer.
    return (
        placed.groupBy(*_GROUP, "is_metered")
        .agg(
            *(F.sum(kind.value).cast(BIGINT).alias(kind.value) for kind in KINDS),
            F.coalesce(charged_calls(), F.lit(0)).cast(BIGINT).alias("calls"),
            F.count(F.lit(1)).alias("events"),
            F.sum("cost_usd").cast(MONEY_SUM).alias("cost_usd"),
            F.sum("dbu").cast(MONEY_SUM).alias("dbu"),
        )
        .withColumns({"tokens": _tokens(), "requests": F.greatest("calls", F.lit(0))})
    )


def _tokens() -> Column:
    return sum((F.col(kind.value) for kind in KINDS[1:]), F.col(KINDS[0].value))


def _divided(groups: DataFrame, rates: DataFrame) -> DataFrame:
    """Divide each group by `domain.allocation.allocate`, in columns."""
    by_version = rates.groupBy("price_version").agg(
        F.map_from_entries(F.collect_list(F.struct("token_kind", "usd_pico"))).alias("usd"),
        F.map_from_entries(F.collect_list(F.struct("token_kind", "dbu_pico"))).alias("in_dbu"),
    )
    priced = groups.join(F.broadcast(by_version), "price_version", "left")
    weighed = priced.withColumns({f"w_{kind}": _weight(kind) for kind in KINDS})
    total = sum((F.col(f"w_{kind}") for kind in KINDS[1:]), F.col(f"w_{KINDS[0]}"))
    # Prices may round to nothing, or be unknown: then the tokens themselves are the weights.
    by_rate = weighed.withColumn("by_rate", total > 0).withColumns(
        {
            f"w_{kind}": F.when(F.col("by_rate"), F.col(f"w_{kind}"))
            .otherwise(F.col(kind.value))
            .cast(_WEIGHT)
            for kind in KINDS
        }
    )
    upto = {f"u_{kind}": _sum_upto(number) for number, kind in enumerate(KINDS)}
    with_sums = by_rate.withColumns(upto).withColumns(
        {"cost_nano": _nano("cost_usd"), "dbu_nano": _nano("dbu")}
    )
    parts = [_part(number, kind) for number, kind in enumerate(KINDS)]
    split = with_sums.select(*_GROUP, "requests", F.explode(F.array(*parts)).alias("part")).select(
        *_GROUP, "requests", "part.*"
    )
    return conformed(split.where("quantity > 0"), CHARGES)


def _weight(kind: TokenClass) -> Column:
    """What the tokens of a kind cost at the list's rate, in whole nano-USD."""
    rate = F.coalesce(F.try_element_at(F.col("usd"), F.lit(kind.value)), F.lit(0))
    pico = F.col(kind.value).cast(_WEIGHT) * rate.cast(_WHOLE)
    return F.floor(pico / F.lit(Decimal(1000))).cast(_WEIGHT)


def _sum_upto(number: int) -> Column:
    columns = [F.col(f"w_{kind}") for kind in KINDS[: number + 1]]
    return sum(columns[1:], columns[0]).cast(_WEIGHT)


def _nano(name: str) -> Column:
    return (F.col(name) * F.lit(Decimal(10**9))).cast(_WHOLE)


def _part(number: int, kind: TokenClass) -> Column:
    def share(nano: str) -> Column:
        sums = [_share_upto(nano, one) for one in KINDS[max(number - 1, 0) : number + 1]]
        nanos = sums[-1] if number == 0 else sums[1] - sums[0]
        signed = F.when(F.col(nano) < 0, -nanos).otherwise(nanos)
        return (signed.cast(_WHOLE) / F.lit(Decimal(10**9))).cast(MONEY_SUM)

    return F.struct(
        F.lit(kind.value).alias("token_kind"),
        F.col(kind.value).alias("quantity"),
        share("cost_nano").alias("cost_usd"),
        share("dbu_nano").alias("dbu"),
        _unit_price("usd", kind).alias("list_usd"),
        _unit_price("in_dbu", kind).alias("list_dbu"),
    )


def _share_upto(nano: str, kind: TokenClass) -> Column:
    """Whole division: a decimal one would be rounded, and could be off by one at the edge."""
    return F.expr(f"(abs({nano}) * u_{kind}) div u_{KINDS[-1]}")


def _unit_price(rates: str, kind: TokenClass) -> Column:
    rate = F.try_element_at(F.col(rates), F.lit(kind.value)).cast(_WHOLE)
    return (rate / F.lit(Decimal(10**12))).cast(UNIT_PRICE)


def _whole(groups: DataFrame) -> DataFrame:
    """Keep what can't be divided: usage that nobody knows is counted in calls."""
    is_correction = F.col("charge_class").isNotNull()
    counted = F.greatest("requests", "events").cast(BIGINT)
    return conformed(
        groups.withColumns(
            {
                "token_kind": F.lit(UNKNOWN),
                "quantity": F.when(~is_correction, counted),
                "list_usd": F.lit(None).cast(UNIT_PRICE),
                "list_dbu": F.lit(None).cast(UNIT_PRICE),
            }
        ),
        CHARGES,
    )
