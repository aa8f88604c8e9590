"""The Delta sink against real Delta tables: exactly once, typed, described, and never half lost."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from spendgate.adapters.delta_query import query_rows
from spendgate.adapters.delta_sink import DeltaSink
from spendgate.adapters.event_rows import arrow_schema, event_table
from spendgate.domain.event import (
    AdjustmentNote,
    CallFacts,
    Charge,
    DecisionRecord,
    SpendEvent,
)
from spendgate.domain.hold import EventKind
from spendgate.domain.table import DECISIONS, SPEND_EVENTS, Table
from spendgate.domain.usage import TokenUsage
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.drain import FlushReport, flush_outbox
from spendgate.gateway.ports import EventBatch

AT = datetime(2026, 3, 29, 0, 59, 59, 123456, tzinfo=UTC)
LEDGER = "ledger-1"


def event(
    number: int, cost_nano: int = 1, usage: TokenUsage | None = None, user: str = "u"
) -> SpendEvent:
    facts = CallFacts(
        attempt=2,
        occurred_at=AT,
        scopes={"org": "acme", "user": user},
        model_requested="big",
        model="small",
        upstream="main",
        geo="global",
        price_version="v1",
        decision="downgrade",
        budget_ids=("month", "day"),
        tags={"cost_center": "4711", "a": "b"},
    )
    charge = Charge(usage, cost_nano, 17, "short", "reported", 250)
    hold_id = f"r{number}#2"
    return SpendEvent(
        f"{hold_id}:1", hold_id, EventKind.SETTLED, AT, facts, charge, 5_000_000_001, cost_nano
    )


def decision(number: int) -> DecisionRecord:
    return DecisionRecord(
        f"d{number}", AT, {"team": "support"}, "big", "refuse", "budget_exhausted", "month",
        limit_nano=2**63 - 1, spent_nano=1, held_nano=0, needed_nano=5, suggested_model="small",
    )  # fmt: skip


def batch(number: int, events: int = 1, decisions: int = 1) -> EventBatch:
    base = number * 1000
    return EventBatch(
        number,
        tuple(event(base + i) for i in range(events)),
        tuple(decision(base + i) for i in range(decisions)),
    )


def counts(folder: Path) -> tuple[int, int]:
    return (
        len(query_rows(folder, "SELECT event_id FROM spend_events")),
        len(query_rows(folder, "SELECT decision_id FROM decisions")),
    )


def test_an_event_reads_back_as_it_was_written(tmp_path: Path) -> None:
    usage = TokenUsage(100, 20, cache_read_tokens=30, cache_write_tokens=40, reasoning_tokens=5)
    corrected = event(1, cost_nano=-1_230_000_001, usage=usage)

    DeltaSink(tmp_path).append(LEDGER, EventBatch(1, (corrected,), ()))

    assert query_rows(tmp_path, "SELECT * FROM spend_events") == [
        {
            "event_id": "r1#2:1", "hold_id": "r1#2", "attempt": 2, "kind": "settled",
            "occurred_at": "2026-03-29T00:59:59.123456Z",
            "recorded_at": "2026-03-29T00:59:59.123456Z",
            "org_id": "acme", "team_id": None, "agent_id": None, "user_id": "u",
            "session_id": None, "task_id": None, "tags": {"a": "b", "cost_center": "4711"},
            "model_requested": "big", "model": "small", "upstream": "main", "geo": "global",
            "context_tier": "short", "input_tokens": 100, "cache_read_tokens": 30,
            "cache_write_tokens": 40, "output_tokens": 20, "reasoning_tokens": 5,
            "reserved_usd": "5.000000001", "cost_usd": "-1.230000001", "dbu": "0.000000017",
            "price_version": "v1", "usage_source": "reported", "decision": "downgrade",
            "budget_ids": ["month", "day"], "latency_ms": 250, "schema_version": 2,
            "adjustment_id": None, "adjusted_by": None, "reason": None,
        }
    ]  # fmt: skip


def test_an_adjustment_s_event_says_who_and_why_and_leaves_what_isn_t_known_null(
    tmp_path: Path,
) -> None:
    told = event(1, cost_nano=-5)
    note = AdjustmentNote("adjust-7", "olga", "priced twice")
    facts = replace(
        told.facts, model_requested="", upstream="", geo="", price_version="", decision=""
    )
    adjusted = replace(
        told, kind=EventKind.CORRECTED, facts=facts, charge=Charge(note=note), reserved_nano=0
    )

    DeltaSink(tmp_path).append(LEDGER, EventBatch(1, (adjusted,), ()))

    asked = (
        "adjustment_id, adjusted_by, reason, model_requested, upstream, geo, price_version, "
        "decision, cost_usd"
    )
    assert query_rows(tmp_path, f"SELECT {asked} FROM spend_events") == [
        {
            "adjustment_id": "adjust-7", "adjusted_by": "olga", "reason": "priced twice",
            "model_requested": None, "upstream": None, "geo": None, "price_version": None,
            "decision": None, "cost_usd": "-0.000000005",
        }
    ]  # fmt: skip


def first_table(folder: Path) -> None:
    """Make `spend_events` as the first version did, with one row."""
    added = {"adjustment_id", "adjusted_by", "reason"}
    rows = event_table([event(1)]).drop_columns(sorted(added))
    schema = pa.schema([one for one in arrow_schema(SPEND_EVENTS) if one.name not in added])
    write_deltalake(folder / "spend_events", rows.cast(schema), name="spend_events")


def test_a_table_of_the_first_version_gets_the_columns_that_are_new(tmp_path: Path) -> None:
    first_table(tmp_path)

    DeltaSink(tmp_path).append(LEDGER, batch(2))
    DeltaSink(tmp_path).append(LEDGER, batch(2))

    rows = query_rows(tmp_path, "SELECT hold_id, reason FROM spend_events ORDER BY hold_id")
    assert rows == [{"hold_id": "r1#2", "reason": None}, {"hold_id": "r2000#2", "reason": None}]
    fields = DeltaTable(tmp_path / "spend_events").schema().fields
    assert [(one.name, one.metadata["comment"], not one.nullable) for one in fields] == [
        (column.name, column.comment, column.is_required) for column in SPEND_EVENTS.columns
    ]


def test_a_decision_reads_back_as_it_was_written(tmp_path: Path) -> None:
    DeltaSink(tmp_path).append(LEDGER, EventBatch(1, (), (decision(1),)))

    assert query_rows(tmp_path, "SELECT * FROM decisions") == [
        {
            "decision_id": "d1", "occurred_at": "2026-03-29T00:59:59.123456Z", "org_id": None,
            "team_id": "support", "agent_id": None, "user_id": None, "session_id": None,
            "task_id": None, "model_requested": "big", "decision": "refuse",
            "code": "budget_exhausted", "budget_id": "month", "limit_usd": "9223372036.854775807",
            "spent_usd": "0.000000001", "held_usd": "0.000000000", "needed_usd": "0.000000005",
            "suggested_model": "small",
        }
    ]  # fmt: skip


def test_unknown_usage_is_null_and_not_zero(tmp_path: Path) -> None:
    expired = replace(event(1), kind=EventKind.EXPIRED, charge=Charge())

    DeltaSink(tmp_path).append(LEDGER, EventBatch(1, (expired,), ()))

    row = query_rows(tmp_path, "SELECT input_tokens, reasoning_tokens, dbu FROM spend_events")
    assert row == [{"input_tokens": None, "reasoning_tokens": None, "dbu": None}]


@pytest.mark.parametrize("table", [SPEND_EVENTS, DECISIONS], ids=lambda table: table.name)
def test_tables_carry_types_nullability_and_comments(tmp_path: Path, table: Table) -> None:
    DeltaSink(tmp_path).create_tables()

    found = DeltaTable(tmp_path / table.name)
    assert found.metadata().description == table.comment
    assert found.metadata().partition_columns == []
    fields = found.schema().fields
    assert [(f.name, not f.nullable, f.metadata.get("comment")) for f in fields] == [
        (column.name, column.is_required, column.comment) for column in table.columns
    ]
    arrow = {field.name: field.type for field in pa.schema(found.schema().to_arrow())}
    assert arrow["occurred_at"] == pa.timestamp("us", tz="UTC")
    if table is SPEND_EVENTS:
        assert arrow["cost_usd"] == pa.decimal128(18, 9)
        assert pa.types.is_map(arrow["tags"])
        assert pa.types.is_list(arrow["budget_ids"])


def test_a_repeated_batch_changes_nothing(tmp_path: Path) -> None:
    sink = DeltaSink(tmp_path)
    sink.append(LEDGER, batch(1, events=3, decisions=2))
    sink.append(LEDGER, batch(2))

    for number in (1, 2):
        DeltaSink(tmp_path).append(LEDGER, batch(number, events=3, decisions=2))

    assert counts(tmp_path) == (4, 3)


def test_ledgers_number_their_batches_apart(tmp_path: Path) -> None:
    sink = DeltaSink(tmp_path)

    sink.append("one", batch(1))
    sink.append("two", batch(1))

    assert counts(tmp_path) == (2, 2)


def test_a_crash_between_the_appends_is_made_good(tmp_path: Path) -> None:
    sink = DeltaSink(tmp_path)
    sink.create_tables()
    decisions_log = tmp_path / "decisions" / "_delta_log"
    hidden = decisions_log.rename(tmp_path / "hidden")
    decisions_log.write_text("in the way")
    with pytest.raises(SinkUnavailableError):
        sink.append(LEDGER, batch(1))
    assert len(query_rows(tmp_path, "SELECT event_id FROM spend_events")) == 1

    decisions_log.unlink()
    hidden.rename(decisions_log)
    sink.append(LEDGER, batch(1))

    assert counts(tmp_path) == (1, 1)


def test_the_mark_survives_a_checkpoint_of_the_log(tmp_path: Path) -> None:
    sink = DeltaSink(tmp_path)
    for number in range(1, 6):
        sink.append(LEDGER, batch(number))
    for table in (SPEND_EVENTS, DECISIONS):
        DeltaTable(tmp_path / table.name).create_checkpoint()

    sink.append(LEDGER, batch(5))

    assert counts(tmp_path) == (5, 5)


def append_batches(folder: str, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]  # a Barrier's class is private to its context
    sink = DeltaSink(Path(folder))
    for number in range(1, 6):
        sink.append(LEDGER, batch(number, events=2))


def test_two_processes_append_each_batch_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=append_batches, args=(str(tmp_path), barrier)) for _ in range(2)
    ]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert counts(tmp_path) == (10, 5)


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "delta"
    folder.mkdir()
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:  # root may write anywhere, so be somebody else meanwhile
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o755)


def test_a_read_only_folder_is_an_unavailable_sink(read_only_folder: Path) -> None:
    sink = DeltaSink(read_only_folder)

    with pytest.raises(SinkUnavailableError, match="batch 1"):
        sink.append(LEDGER, batch(1))
    with pytest.raises(SinkUnavailableError, match="lock"), sink.sole_flusher():
        pass


def test_an_amount_that_no_column_holds_is_refused_whole(tmp_path: Path) -> None:
    too_much = event(2, cost_nano=10**18)

    with pytest.raises(SinkUnavailableError):
        DeltaSink(tmp_path).append(LEDGER, EventBatch(1, (event(1), too_much), ()))

    DeltaSink(tmp_path).create_tables()
    assert counts(tmp_path) == (0, 0)


def test_odd_text_comes_back_unchanged(tmp_path: Path) -> None:
    odd = ["'; DROP TABLE x; --", 'a"b\\c', "🦊\u202etfel", "é", "  ", "\x00\n\t", "%2C,", "NULL"]
    events = tuple(event(i, user=text) for i, text in enumerate(odd))

    DeltaSink(tmp_path).append(LEDGER, EventBatch(1, events, ()))

    rows = query_rows(tmp_path, "SELECT user_id FROM spend_events ORDER BY event_id")
    assert [row["user_id"] for row in rows] == odd


class MemoryOutbox:
    """An outbox over a list of batches, which forgets a confirmation when told to."""

    def __init__(self, batches: list[EventBatch]) -> None:
        self._open = list(batches)
        self.loses_confirmation = False

    def claim_batch(self, limit: int) -> EventBatch | None:
        return self._open[0] if self._open else None

    def confirm_batch(self, number: int) -> None:
        if self.loses_confirmation:
            raise KeyboardInterrupt
        assert self._open.pop(0).number == number


def test_a_flush_delivers_everything_and_says_how_much(tmp_path: Path) -> None:
    outbox = MemoryOutbox([batch(1, events=3), batch(2, events=1, decisions=0)])

    report = flush_outbox(outbox, DeltaSink(tmp_path), LEDGER, limit=3)

    assert report == FlushReport(batches=2, events=4, decisions=1)
    assert counts(tmp_path) == (4, 1)
    assert flush_outbox(outbox, DeltaSink(tmp_path), LEDGER, limit=3) == FlushReport()


def test_scenario_35_a_flusher_that_dies_before_it_confirms_delivers_once(tmp_path: Path) -> None:
    outbox = MemoryOutbox([batch(1, events=3)])
    outbox.loses_confirmation = True
    with pytest.raises(KeyboardInterrupt):
        flush_outbox(outbox, DeltaSink(tmp_path), LEDGER, limit=3)

    outbox.loses_confirmation = False
    flush_outbox(outbox, DeltaSink(tmp_path), LEDGER, limit=3)

    assert counts(tmp_path) == (3, 1)


def test_only_one_flusher_works_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "not-there-yet"

    with DeltaSink(folder).sole_flusher() as first, DeltaSink(folder).sole_flusher() as second:
        assert (first, second) == (True, False)

    with DeltaSink(folder).sole_flusher() as again:
        assert again


def test_money_sums_exactly(tmp_path: Path) -> None:
    events = tuple(event(i, cost_nano=100_000_001) for i in range(10))

    DeltaSink(tmp_path).append(LEDGER, EventBatch(1, events, ()))

    rows = query_rows(tmp_path, "SELECT SUM(cost_usd) AS total FROM spendgate.spend_events")
    assert Decimal(str(rows[0]["total"])) == Decimal("1.00000001")


IMPORTS_OF_AN_APPEND = """
import pickle, sys
from pathlib import Path
from spendgate.adapters.delta_sink import DeltaSink

folder, pickled = sys.argv[1:]
batch = pickle.loads(bytes.fromhex(pickled))
sink = DeltaSink(Path(folder))
sink.prepare()
before = set(sys.modules)
sink.create_tables()
sink.append("ledger-1", batch)
print(sorted(set(sys.modules) - before))
"""


def test_who_has_prepared_a_sink_imports_nothing_at_the_first_append(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTS_OF_AN_APPEND, str(tmp_path)]
    command.append(pickle.dumps(batch(1)).hex())

    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    assert ended.stdout.strip() == "[]"
    assert DeltaTable(tmp_path / SPEND_EVENTS.name).version() == 1
