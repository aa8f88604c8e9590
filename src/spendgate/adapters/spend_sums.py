"""Sums of a home's spend events, grouped by who paid, model, day …, without Spark."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spendgate.adapters.delta_query import query_rows
from spendgate.domain.scope import Dimension
from spendgate.errors import HostError, InvalidRequestError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GROUPINGS = {
    **{dimension.value: f"{dimension.value}_id" for dimension in Dimension},
    "model": "model",
    "upstream": "upstream",
    "kind": "kind",
    "day": "CAST(occurred_at AS DATE)",
}
"""What sums may be grouped by, and the expression over `spend_events` that it stands for."""


def spend_sums(
    folder: Path, names: Sequence[str], since: datetime | None
) -> list[dict[str, object]]:
    """Return calls and money per group, the dearest first.

    Raises:
        InvalidRequestError: if a grouping is unknown.
        HostError: if there is no table yet.
    """
    unknown = [name for name in names if name not in GROUPINGS]
    if unknown:
        known = ", ".join(GROUPINGS)
        raise InvalidRequestError(f"{unknown[0][:40]!r} is unknown; known are {known}", "by")
    if not (folder / "spend_events").exists():
        raise HostError(f"there is no table spend_events in {folder} yet")
    # A void was no call, and a correction's call has an event of its own.
    calls = "COUNT(DISTINCT CASE WHEN kind IN ('settled', 'expired') THEN hold_id END)"
    # Everything in this text comes from the table above and from a parsed time.
    columns = ", ".join(f"{GROUPINGS[name]} AS {name}" for name in names)
    keys = ", ".join(GROUPINGS[name] for name in names)
    where = "" if since is None else f" WHERE occurred_at >= {instant_literal(since)}"
    sql = (
        f"SELECT {columns}, {calls} AS requests, SUM(cost_usd) AS cost_usd "  # noqa: S608
        f"FROM spend_events{where} GROUP BY {keys} ORDER BY cost_usd DESC"
    )
    return query_rows(folder, sql)


def instant_literal(instant: datetime) -> str:
    """Write an instant for DataFusion."""
    # A TIMESTAMP literal would be nanoseconds, which end in 2262 and fail beyond.
    micros = (instant - EPOCH) // timedelta(microseconds=1)
    return f"arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
