"""Events read back from a real Delta table are what they were written from."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import write_deltalake

from spendgate.adapters.delta_events import read_events
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.event_rows import event_table
from spendgate.domain.event import AdjustmentNote, CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.domain.usage import TokenUsage
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.ports import EventBatch

AT = datetime(2026, 3, 29, 0, 59, 59, 123456, tzinfo=UTC)
FACTS = CallFacts(
    2, AT, {"org": "acme", "session": "s"}, "big", "small", "main", "global", "v1", "downgrade",
    ("month", "day"), {"cost_center": "4711"},
)  # fmt: skip
CHARGE = Charge(TokenUsage(100, 20, 30, 40, 0, 5), None, 17, "short", "reported", 250)
SETTLED = SpendEvent(
    "r1#2:1", "r1#2", EventKind.SETTLED, AT, FACTS, CHARGE, 5_000_000_001, 1_230_000_001
)
NOTE = AdjustmentNote("a1", "olga", "why")
ADJUSTED = SpendEvent(
    "a1:1",
    "a1",
    EventKind.CORRECTED,
    AT,
    replace(FACTS, scopes={}, tags={}, upstream="", geo="", price_version="", decision=""),
    Charge(usage_source="external", note=NOTE),
    0,
    -7,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    sink = DeltaSink(tmp_path)
    sink.append("l", EventBatch(1, (SETTLED,), ()))
    sink.append("l", EventBatch(2, (ADJUSTED,), ()))

    read = sorted(read_events(tmp_path), key=lambda one: one.event_id)

    assert read == [ADJUSTED, SETTLED]


def test_a_table_of_the_first_version_is_read(tmp_path: Path) -> None:
    rows = event_table([SETTLED]).drop_columns(["adjustment_id", "adjusted_by", "reason"])
    write_deltalake(tmp_path / "spend_events", rows)

    assert list(read_events(tmp_path)) == [SETTLED]


def test_without_a_table_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SinkUnavailableError, match="there is no table spend_events"):
        list(read_events(tmp_path))
