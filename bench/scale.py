"""How the time of `aggregate` follows the table's size: the same new events onto more and more.

`python -m bench scale` adds 1 million events to 1 and to 10 million; `scale:NEW:SIZE,SIZE…` takes
other sizes, such as `scale:1000000:1000000,10000000,100000000`. Then it rebuilds everything, and
lets DuckDB sum the same files.
"""

import os
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import duckdb
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from bench.events import START, Traffic, event_tables
from spendgate.domain.budget import BalanceRow, Budget, Policy
from spendgate.domain.scope import Scope
from spendgate.domain.table import SPEND_EVENTS
from spendgate.domain.window import parse_window
from spendgate.jobs.aggregate import aggregate
from spendgate.jobs.spark_session import local_session
from spendgate.jobs.table_space import TableSpace

NEW = 1_000_000
SIZES = (1_000_000, 10_000_000)
ROWS_PER_FILE = 50_000
STEP = 10_000_000
"""Events of the base that one run takes in, so that its memory doesn't follow the table's size."""
HELD = 200
"""Tasks of the last hour that hold money."""
HELD_NANO = 5 * 10**6
REPEATS = 3
POLICY = Policy(
    tuple(
        Budget(f"{name}-{window}" if window != "lifetime" else f"{name}-life",
               Scope.of({name: "*"}), 10**15, parse_window(window))
        for name, window in (
            ("org", "month"), ("agent", "day"), ("user", "day"), ("task", "lifetime"),
        )
    )
)  # fmt: skip


def run(sizes: str = "") -> dict[str, object]:
    """Return seconds per size, their ratio, and events per second of a rebuild."""
    new_text, _, size_text = sizes.partition(":")
    new = int(new_text or NEW)
    existing = [int(one) for one in size_text.split(",")] if size_text else list(SIZES)
    work = Path(tempfile.mkdtemp(prefix="spendgate-scale-"))
    try:
        spark = local_session(work)
        seconds = _seconds_by_size(spark, work, sorted(existing), new)
        smallest, largest = min(existing), max(existing)
        medians = {size: sorted(seconds[size])[REPEATS // 2] for size in seconds}
        return {
            "new events": new,
            "load average of a minute at the end": round(os.getloadavg()[0], 1),
            "seconds to add them to": {
                f"{size:,}": [round(one, 2) for one in seconds[size]] for size in seconds
            },
            "ratio largest to smallest": round(medians[largest] / medians[smallest], 3),
            **_rebuilt(spark, work / str(largest)),
        }
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _seconds_by_size(
    spark: SparkSession, work: Path, sizes: list[int], new: int
) -> dict[int, list[float]]:
    """Return the times of runs that take in new events, after those that took the rest.

    The sizes take turns, so that what else the machine does slows all of them alike; making the
    events isn't counted.
    """
    traffic = Traffic()
    for size in sizes:
        for first in range(0, size, STEP):
            count = min(STEP, size - first)
            _append(work / str(size), traffic, first, count)
            _aggregated(spark, work / str(size), traffic, first + count)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for repeat in range(REPEATS):
        for size in sizes:
            total = size + (repeat + 1) * new
            _append(work / str(size), traffic, total - new, new)
            started = time.monotonic()
            _aggregated(spark, work / str(size), traffic, total)
            times[size].append(time.monotonic() - started)
    return times


def _append(home: Path, traffic: Traffic, first: int, count: int) -> None:
    for table in event_tables(traffic, first, count, ROWS_PER_FILE):
        write_deltalake(home / "delta" / SPEND_EVENTS.name, table, mode="append")


def _aggregated(
    spark: SparkSession, home: Path, traffic: Traffic, total: int, *, is_rebuild: bool = False
) -> None:
    as_of = START + timedelta(hours=total / traffic.events_per_hour)
    aggregate(spark, TableSpace(home / "delta"), POLICY, _held(traffic, total), as_of,
              home / "checkpoint", is_rebuild=is_rebuild)  # fmt: skip


def _held(traffic: Traffic, total: int) -> list[BalanceRow]:
    """Return what calls in flight hold; a real ledger has the other balances besides."""
    last = (total - 1) // traffic.events_per_hour * traffic.tasks_per_hour
    return [BalanceRow("task-life", f"t-{last + n}", "*", 0, HELD_NANO) for n in range(HELD)]


def _rebuilt(spark: SparkSession, home: Path) -> dict[str, object]:
    path = home / "delta" / SPEND_EVENTS.name
    files = DeltaTable(path).file_uris()
    total = DeltaTable(path).count()
    started = time.monotonic()
    _aggregated(spark, home, Traffic(), total, is_rebuild=True)
    rebuilt = time.monotonic() - started
    started = time.monotonic()
    duckdb.execute(
        "SELECT date_trunc('hour', occurred_at), org_id, team_id, agent_id, user_id, model, "
        "count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(dbu) "
        f"FROM read_parquet({files!r}) GROUP BY ALL"
    ).fetchall()
    duck = time.monotonic() - started
    return {
        "events": total,
        "bytes per event": round(sum(Path(f).stat().st_size for f in files) / total),
        "rebuild of all four tables, events/s": round(total / rebuilt),
        "DuckDB, spend_hourly alone, events/s": round(total / duck),
    }
