"""What an event takes on disk."""

from pathlib import Path

import pyarrow as pa
from bench.events import Traffic, event_tables
from deltalake import DeltaTable, write_deltalake

BYTES_PER_EVENT_MAX = 300
EVENTS = 20_000


def test_an_event_takes_at_most_300_bytes_in_parquet(tmp_path: Path) -> None:
    for table in event_tables(Traffic(), 0, EVENTS, EVENTS // 4):
        write_deltalake(tmp_path / "spend_events", table, mode="append")

    adds = DeltaTable(tmp_path / "spend_events").get_add_actions(flatten=True)
    sizes = pa.table(adds)["size_bytes"].to_pylist()

    assert len(sizes) == 4
    assert 100 < sum(sizes) / EVENTS <= BYTES_PER_EVENT_MAX
