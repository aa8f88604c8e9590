"""The forecast of a window: what will be spent at its end, with a band (docs/forecast.md).

The pace of the last hours is expected to last a while and to fall back to the window's mean. This
is the definition; `transforms.pace` says the same in columns, and a test compares both. An estimate
is no money that moves, so that it may be computed in floats.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

HALF_LIFE_PARTS = 24
"""An hour of the window counts half as much as one a 24th of the window later …"""
HALF_LIFE_HOURS_MIN = 1.0
"""… or an hour later, because spend is known by the hour."""
RETURN_PARTS = 6
"""What the pace has above the mean fades with a sixth of the window."""
BAND_DEVIATIONS = 3.0
"""Chosen so that about four ends of five lie inside on real traffic, see docs/forecast.md."""
SURE_HOURS = 2.0
"""In less time nothing is known of the spread; then the mean itself is taken for it."""


@dataclass(frozen=True, slots=True)
class HourSpend:
    """Spend of one hour of a window, whose part in the window began and ended so long ago."""

    usd: float
    from_hours_ago: float
    to_hours_ago: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Spend per hour now, and at the end of the window."""

    usd_per_hour: float
    end_usd: float
    low_usd: float
    high_usd: float


def forecast(hours: Iterable[HourSpend], elapsed_hours: float, left_hours: float) -> Forecast:
    """Project the spend of a window; hours without spend may be left out."""
    half_life = max((elapsed_hours + left_hours) / HALF_LIFE_PARTS, HALF_LIFE_HOURS_MIN)
    spent = weighted = squares = 0.0
    for hour in hours:
        length = hour.from_hours_ago - hour.to_hours_ago
        spent += hour.usd
        squares += hour.usd**2 / length
        weights = _weights(half_life, hour.from_hours_ago) - _weights(half_life, hour.to_hours_ago)
        weighted += hour.usd * weights / length
    mean = spent / elapsed_hours
    pace = weighted / _weights(half_life, elapsed_hours)
    fading = (elapsed_hours + left_hours) / RETURN_PARTS
    above = (pace - mean) * fading * (1 - math.exp(-left_hours / fading))
    end = max(spent + mean * left_hours + above, spent)
    deviation = math.sqrt(max(squares / elapsed_hours - mean**2, 0.0))
    if elapsed_hours < SURE_HOURS:
        deviation = max(deviation, mean)
    spread = math.sqrt(left_hours + left_hours**2 / elapsed_hours)
    band = BAND_DEVIATIONS * deviation * spread
    return Forecast(pace, end, max(end - band, spent), end + band)


def _weights(half_life: float, hours_ago: float) -> float:
    """Add up the weights of all moments since `hours_ago`."""
    return half_life / math.log(2) * (1 - 2 ** (-hours_ago / half_life))
