"""What the live page shows, read from the ledger: every query and every list is bounded."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from spendgate.adapters.standing import standing
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.domain.budget import PPM
from spendgate.domain.event import DecisionRecord, SpendEvent
from spendgate.domain.money import format_usd
from spendgate.domain.scope import Dimension

VALUES_MAX: Final = 200
"""Values of one budget and window that are looked at, the dearest first; also rows in all."""
EVENTS_MAX: Final = 2_000
REFUSALS_MAX: Final = 25
SERIES_MAX: Final = 6
BUCKETS: Final = 60
NAME_MAX: Final = 120
"""Characters of a name; callers choose their length."""

_OTHERS = "(others)"
_NONE = "(none)"


def budget_rows(ledger: StoredLedger, at: datetime) -> list[dict[str, object]]:
    """Return where the fullest budgets stand; each row has the recipes' three keys too."""
    policy = ledger.policies.policy()
    caps = {one.budget_id: one for one in policy.budgets}
    rows: list[dict[str, object]] = []
    for row in standing(ledger, at, values_max=VALUES_MAX):
        budget = caps.get(str(row["budget_id"]))
        limit, spent = Decimal(str(row["limit_usd"])), Decimal(str(row["spent_usd"]))
        scope = str(row["scope"])
        values = ",".join(part.partition(":")[2] or "*" for part in scope.split(","))
        rows.append(
            {
                **row,
                "scope": _short(scope),
                # The recipes' clients read numbers; what is exact stands beside them as text.
                "scopeKey": _short(values),
                "spent": float(spent),
                "remaining": float(Decimal(str(row["remaining_usd"]))),
                "used_ratio": float(spent / limit) if limit else None,
                "soft_cap": None if budget is None else budget.soft_cap_ppm / PPM,
                "hard_cap": None if budget is None else budget.hard_cap_ppm / PPM,
            }
        )
    rows.sort(key=_fullness, reverse=True)
    return rows[:VALUES_MAX]


def latest(ledger: StoredLedger, by: str, at: datetime) -> dict[str, object]:
    """Return spend over time by a dimension or by model, and the last refusals with reasons."""
    events = ledger.outbox.latest_events(EVENTS_MAX)
    refused = [one for one in ledger.outbox.latest_decisions(EVENTS_MAX) if one.code is not None]
    return {
        "at": at.isoformat(),
        "by": by,
        "events": len(events),
        **_series(events, by, at),
        "refusals": [_refusal(record) for record in refused[:REFUSALS_MAX]],
    }


GROUPINGS: Final = (*(dimension.value for dimension in Dimension), "model")
"""What spend over time may be split by."""


def _fullness(row: Mapping[str, object]) -> float:
    ratio = row["used_ratio"]
    return ratio if isinstance(ratio, float) else 0.0


def _series(events: Sequence[SpendEvent], by: str, at: datetime) -> dict[str, object]:
    since = min((event.recorded_at for event in events), default=at - timedelta(minutes=1))
    seconds = max((at - since).total_seconds() / BUCKETS, 1.0)
    totals: dict[str, int] = defaultdict(int)
    for event in events:
        totals[_name(event, by)] += event.cost_nano
    top = sorted(totals, key=lambda name: totals[name], reverse=True)[:SERIES_MAX]
    sums = {name: [0] * BUCKETS for name in top}
    for event in events:
        name = _name(event, by)
        name = name if name in sums else _OTHERS
        index = int((event.recorded_at - since).total_seconds() // seconds)
        sums.setdefault(name, [0] * BUCKETS)[min(max(index, 0), BUCKETS - 1)] += event.cost_nano
    return {
        "since": since.isoformat(),
        "bucket_seconds": seconds,
        "series": [
            {"name": name, "usd": [format_usd(nano) for nano in line]}
            for name, line in sums.items()
        ],
    }


def _name(event: SpendEvent, by: str) -> str:
    facts = event.facts
    return _short((facts.model if by == "model" else facts.scopes.get(by)) or _NONE)


def _refusal(record: DecisionRecord) -> dict[str, object]:
    amounts = ("limit", "spent", "held", "needed")
    nanos = (record.limit_nano, record.spent_nano, record.held_nano, record.needed_nano)
    return {
        "occurred_at": record.occurred_at.isoformat(),
        "code": record.code,
        "decision": record.decision,
        "who": _short(", ".join(f"{name}:{value}" for name, value in record.scopes.items())),
        "model": _short(record.model_requested),
        "budget_id": record.budget_id,
        **{
            f"{name}_usd": None if nano is None else format_usd(nano)
            for name, nano in zip(amounts, nanos, strict=True)
        },
        "suggested_model": record.suggested_model,
    }


def _short(text: str) -> str:
    return text if len(text) <= NAME_MAX else f"{text[: NAME_MAX - 1]}…"
