"""What a reconciliation finds in the platform's tables: calls one by one, and their sums."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.event_codec import from_micros
from spendgate.domain.money import to_decimal
from spendgate.gateway.reconciling import BypassSum, SeenCall
from spendgate.transforms.platform_usage import CALL_TYPES

BYPASS_SCHEMA = "hour timestamp, endpoint string, bypass_requests bigint, bypass_usd decimal(28,9)"

Place = tuple[datetime, str]
"""An hour and an endpoint."""


@dataclass
class Findings:
    """What was found in the platform's tables, beside the frames."""

    sums: dict[str, BypassSum] = field(default_factory=dict[str, BypassSum])
    unpriced: Counter[Place] = field(default_factory=Counter[Place])
    without_tokens: Counter[Place] = field(default_factory=Counter[Place])

    @property
    def problems(self) -> list[str]:
        """What can't be charged, per endpoint: it isn't free."""
        reasons = (
            (self.unpriced, "the model has no price: add one with `spendgate price set`"),
            (
                self.without_tokens,
                "the platform counted no tokens of them; see residual_usd of the hours",
            ),
        )
        found: list[str] = []
        for places, reason in reasons:
            counts: Counter[str] = Counter()
            for (_, endpoint), count in places.items():
                counts[endpoint] += count
            found += [
                f"{count} calls to {endpoint} around the gate aren't charged, because {reason}"
                for endpoint, count in sorted(counts.items())
            ]
        return found

    def rows(self) -> list[tuple[object, ...]]:
        """Add up per hour and endpoint; the cost of what has no price is unknown."""
        requests = self.unpriced + self.without_tokens
        costs: Counter[Place] = Counter()
        for one in self.sums.values():
            requests[one.hour, one.endpoint] += one.requests
            costs[one.hour, one.endpoint] += one.cost_nano
        return [
            (*place, count, None if place in self.unpriced else to_decimal(costs[place]))
            for place, count in requests.items()
        ]


def seen_calls(calls: DataFrame) -> Iterator[SeenCall]:
    """Read calls one after the other."""
    return (call for call, _ in seen_held(calls))


def seen_held(calls: DataFrame) -> Iterator[tuple[SeenCall, bool]]:
    """Read calls, each with whether a hold is known by its id.

    Times are read as numbers, so that no time zone comes in between.
    """
    columns = [name for name in CALL_TYPES if name != "requested_at"]
    micros = F.unix_micros("requested_at").alias("requested_at")
    for row in calls.select(*columns, micros, "is_held").toLocalIterator():
        values: dict[str, Any] = row.asDict()  # of the types that the schema says
        is_held = values.pop("is_held")
        at = from_micros(values.pop("requested_at"))
        values["workspace_id"] = values["workspace_id"] or ""
        values["status_code"] = values["status_code"] or 0
        yield SeenCall(requested_at=at, **values), is_held
