"""The pace of windows from their hours, and what it makes of them: `domain.forecast` in columns."""

import math
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.forecast import (
    BAND_DEVIATIONS,
    HALF_LIFE_HOURS_MIN,
    HALF_LIFE_PARTS,
    RETURN_PARTS,
    SURE_HOURS,
)
from spendgate.domain.table import DOUBLE, MONEY_SUM, TIMESTAMP, WINDOW_KEY
from spendgate.transforms.time_range import HOUR_SECONDS

_SECONDS_MIN = 1
"""A window that begins now has a pace from its first second on."""


def window_pace(hours: DataFrame, as_of: datetime) -> DataFrame:
    """Return spend per hour and its spread, per window that has a start and an end.

    Args:
        hours: rows of `budget_hourly`, of windows that are open at `as_of`.
        as_of: the time of the state.
    """
    now = F.unix_seconds(F.lit(as_of).cast(TIMESTAMP))
    started, ends = F.unix_seconds("window_start"), F.unix_seconds("window_end")
    hour = F.unix_seconds("hour")
    begun = F.greatest(hour, started)
    ended = F.greatest(F.least(hour + HOUR_SECONDS, now, ends), begun + _SECONDS_MIN)
    timed = hours.withColumns(
        {
            "from_ago": (F.greatest(now, ended) - begun) / HOUR_SECONDS,
            "to_ago": F.greatest(now - ended, F.lit(0)) / HOUR_SECONDS,
            "half_life": F.greatest(
                (ends - started) / HOUR_SECONDS / HALF_LIFE_PARTS, F.lit(HALF_LIFE_HOURS_MIN)
            ),
            "elapsed": F.greatest(now - started, F.lit(_SECONDS_MIN)) / HOUR_SECONDS,
        }
    )
    usd, length = F.col("spent_usd").cast(DOUBLE), F.col("from_ago") - F.col("to_ago")
    weights = _weights("from_ago") - _weights("to_ago")
    return timed.groupBy(*WINDOW_KEY).agg(
        (F.sum(usd * weights / length) / F.first(_weights("elapsed"))).alias("pace"),
        F.sum(usd * usd / length).alias("squares"),
    )


def estimates(now: Column) -> dict[str, Column]:
    """Return the columns of `budget_state` that look ahead, from a window's pace and times.

    Needs spent_usd, hard_usd, window_start, window_end, last_event_at, pace, squares, and `elapsed`
    and `left` in hours.
    """
    spent, hard = F.col("spent_usd").cast(DOUBLE), F.col("hard_usd").cast(DOUBLE)
    elapsed, left = F.col("elapsed"), F.col("left")
    mean = spent / elapsed
    pace = F.coalesce("pace", mean)
    fading = (elapsed + left) / RETURN_PARTS
    above = (pace - mean) * fading * (1 - F.exp(-left / fading))
    end = F.greatest(spent + mean * left + above, spent)
    squares = F.coalesce("squares", F.lit(0.0))
    variance = F.greatest(squares / elapsed - mean * mean, F.lit(0.0))
    deviation = F.sqrt(variance)
    deviation = F.when(elapsed < SURE_HOURS, F.greatest(deviation, mean)).otherwise(deviation)
    band = BAND_DEVIATIONS * deviation * F.sqrt(left + left * left / elapsed)
    is_ending = F.col("window_end").isNotNull()
    is_exhausted = F.col("spent_usd") >= F.col("hard_usd")
    seconds_to_hard = F.ceil(left * HOUR_SECONDS * (hard - spent) / (end - spent))
    at_hard = F.timestamp_seconds(F.unix_seconds(now) + seconds_to_hard.cast("bigint"))
    return {
        "burn_usd_per_hour": F.when(F.col("window_start").isNotNull(), _usd(pace)),
        "forecast_usd": F.when(is_ending, _usd(end)),
        "forecast_low_usd": F.when(is_ending, _usd(F.greatest(end - band, spent))),
        "forecast_high_usd": F.when(is_ending, _usd(end + band)),
        "exhausts_at": F.when(is_exhausted, F.col("last_event_at")).when(
            is_ending & (end > hard), at_hard
        ),
    }


def _weights(hours_ago: str) -> Column:
    half_life, ago = F.col("half_life"), F.col(hours_ago)
    return half_life / math.log(2) * (1 - F.pow(F.lit(2.0), -ago / half_life))


def _usd(estimate: Column) -> Column:
    return F.round(estimate, 9).cast(MONEY_SUM)
