"""Alerts: which thresholds of a budget one movement of its spend crosses."""

from collections.abc import Sequence

_PPM = 10**6


def crossed(
    before_nano: int, after_nano: int, limit_nano: int, thresholds_ppm: Sequence[int]
) -> tuple[int, ...]:
    """List the thresholds that spend passes upwards, lowest first, each once.

    A threshold (parts per million of the limit) is crossed where spend was below it and now
    reaches it. A movement down crosses nothing. Raises `ValueError` unless limit and thresholds
    are positive.
    """
    if limit_nano <= 0:
        raise ValueError(f"limit_nano must be positive, got {limit_nano}")
    thresholds = sorted(set(thresholds_ppm))
    if thresholds and thresholds[0] <= 0:
        raise ValueError(f"thresholds_ppm must be positive, got {thresholds[0]}")
    # Compared as whole products, so that no threshold is lost to a rounded fraction.
    return tuple(
        threshold
        for threshold in thresholds
        if before_nano * _PPM < threshold * limit_nano <= after_nano * _PPM
    )
