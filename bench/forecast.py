"""The forecast against the plain run rate, on a real hour of traffic stretched to a day.

The trace isn't part of the package: without it this part says so and measures nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from spendgate.demo.trace_file import read_trace
from spendgate.domain.forecast import HourSpend, forecast

TRACE = Path(__file__).resolve().parents[2] / "shared" / "data" / "AzureLLMInferenceTrace_conv.csv"
HOURS = 24
"""Hours of a window; the forecast is made at the end of each but the last."""
INPUT_USD, OUTPUT_USD = 3e-6, 15e-6
SLICES = 5
"""Slices of the trace per window, for windows that begin anywhere in it."""

Method = Callable[[Sequence[float], int], tuple[float, float, float]]


def run() -> dict[str, object]:
    """Return the mean error of both methods, in percent, and how often the band was right."""
    if not TRACE.exists():
        return {"skipped": "needs ../shared/data/AzureLLMInferenceTrace_conv.csv"}
    arrivals = read_trace(TRACE)
    length = arrivals[-1].offset_seconds
    cost = [(a.offset_seconds / length, a.context_tokens * INPUT_USD + a.generated_tokens
             * OUTPUT_USD) for a in arrivals]  # fmt: skip
    whole = _binned(cost, HOURS)
    fine = _binned(cost, HOURS * SLICES)
    sliding = [fine[start : start + HOURS] for start in range(len(fine) - HOURS + 1)]
    return {
        "calls": len(arrivals),
        "the trace as one day": _compared([whole]),
        f"a fifth of it as a day, {len(sliding)} starts": _compared(sliding),
    }


def run_rate(hours: Sequence[float], elapsed: int) -> tuple[float, float, float]:
    """Project the mean of the window so far; it knows no band."""
    end = sum(hours[:elapsed]) / elapsed * len(hours)
    return end, end, end


def ours(hours: Sequence[float], elapsed: int) -> tuple[float, float, float]:
    """Project as `budget_state` does."""
    known = [
        HourSpend(usd, elapsed - hour, elapsed - hour - 1)
        for hour, usd in enumerate(hours[:elapsed])
    ]
    found = forecast(known, elapsed, len(hours) - elapsed)
    return found.end_usd, found.low_usd, found.high_usd


def _binned(cost: Sequence[tuple[float, float]], parts: int) -> list[float]:
    bins = [0.0] * parts
    for at, usd in cost:
        bins[min(int(at * parts), parts - 1)] += usd
    return bins


def _compared(windows: Sequence[Sequence[float]]) -> dict[str, object]:
    naive, better = _errors(windows, run_rate), _errors(windows, ours)
    inside = [
        low <= sum(hours) <= high
        for hours in windows
        for elapsed in range(1, len(hours))
        for _, low, high in [ours(hours, elapsed)]
    ]
    return {
        "run rate, mean error %": round(100 * naive, 2),
        "forecast, mean error %": round(100 * better, 2),
        "ratio": round(better / naive, 3),
        "ends inside the band %": round(100 * sum(inside) / len(inside), 1),
    }


def _errors(windows: Sequence[Sequence[float]], method: Method) -> float:
    errors = [
        abs(method(hours, elapsed)[0] - sum(hours)) / sum(hours)
        for hours in windows
        for elapsed in range(1, len(hours))
    ]
    return sum(errors) / len(errors)
