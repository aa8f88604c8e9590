"""The limit of a window: the one that held at its last instant, and the highest within it.

Only raises that expire change a limit by the clock alone. So a budget's row has the limit that
holds now and, for each raise that has expired, the one that held until then (`former_until` and
`former_usd`, oldest first). Where a raise began isn't known: it counts from ever on.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import MONEY_SUM

_MONEY_DECIMALS = 9


def last_limit(now_usd: Column) -> Column:
    """Return `Policy.limit` of a window's last instant; of one that still runs, that of now."""
    later = F.filter(_formers(), lambda one: one["former_until"] >= F.col("window_end"))
    return F.coalesce(F.get(later, F.lit(0))["former_usd"], now_usd)


def highest_limit(now_usd: Column) -> Column:
    """Return the highest `Policy.limit` of any instant of a window."""
    inner = F.filter(_formers(), lambda one: _is_inside(one["former_until"]))
    # It is null where no raise expired in the window, and then leaves the other one.
    before = F.array_max(F.transform(inner, lambda one: one["former_usd"]))
    return F.greatest(last_limit(now_usd), before)


def part_of(limit: Column, cap: str) -> Column:
    """Return `Budget.soft_of` or `hard_of` a limit; the column `cap` has the fraction."""
    # 28 digits times 9 make the 38 that a decimal has: nothing is rounded before the floor.
    exact = limit.cast(MONEY_SUM) * F.col(cap)
    return F.floor(exact, _MONEY_DECIMALS).cast(MONEY_SUM)


def _formers() -> Column:
    return F.arrays_zip("former_until", "former_usd")


def _is_inside(until: Column) -> Column:
    """A limit that held until a time was a window's, and others were its after it."""
    start, end = F.col("window_start"), F.col("window_end")
    return (start.isNull() | (until > start)) & (end.isNull() | (until < end))
