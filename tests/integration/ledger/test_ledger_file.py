"""Ledger files that can't be used: the right error, nothing changed, nothing started from zero."""

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.ledger.patience import wait_until

from spendgate.adapters.migration_files import migrations
from spendgate.adapters.sqlite_guard import SqliteGuard
from spendgate.adapters.sqlite_replacement import replacement
from spendgate.adapters.sqlite_session import LOG_FRAMES_MAX
from spendgate.domain.reservation import ReserveRequest
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError, SpendgateError

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Helper, Till

    OpenTill = Callable[..., Till]
    StartHelper = Callable[..., Helper]

NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A file: all of this module is about files."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def used(open_till: "OpenTill") -> "Till":
    """A closed ledger with something held and spent."""
    till = open_till()
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.settle("h#1", 25)
    till.reserve("h#2", 30)
    till.ledger.close()
    return till


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def edit(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
        connection.commit()


def test_missing_folders_are_made(open_till: "OpenTill", tmp_path: Path) -> None:
    till = open_till(tmp_path / "a" / "b" / "ledger.db")

    till.budget("day", "user:ann", 100)

    till.reserve("h#1", 60)
    assert till.totals("day") == (0, 60)


def test_a_folder_that_cannot_be_made_is_unavailable(open_till: "OpenTill", tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(LedgerUnavailableError, match="folder"):
        open_till(tmp_path / "file" / "ledger.db").store.session()


def test_a_folder_in_the_file_s_place_is_unavailable(open_till: "OpenTill", tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()

    with pytest.raises(LedgerUnavailableError):
        open_till().store.session()


def try_as_nobody(pipe: Connection, till: "Till", request: ReserveRequest) -> None:
    """Use a ledger as somebody whom file permissions bind; root may write anything."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for use in (lambda: till.totals("day"), lambda: till.ledger.reserve([request])):
        try:
            pipe.send(use())
        except SpendgateError as error:
            pipe.send(error)


def test_a_read_only_file_can_be_read_and_fails_closed(
    open_till: "OpenTill", start_helper: "StartHelper", open_folder: Path
) -> None:
    till = open_till(open_folder / "ledger.db")
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    request = till.request("h#2", 10)
    till.ledger.close()
    till.path.chmod(0o444)
    (open_folder / "ledger.db.lock").chmod(0o666)

    helper = start_helper(try_as_nobody, till, request)

    assert helper.hear() == (0, 60)
    assert isinstance(helper.hear(), LedgerUnavailableError)


def test_a_read_only_folder_is_unavailable(
    open_till: "OpenTill", start_helper: "StartHelper", open_folder: Path
) -> None:
    till = open_till(open_folder / "ledger.db")
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 10)
    till.ledger.close()
    (open_folder / "ledger.db.lock").chmod(0o444)
    open_folder.chmod(0o555)

    helper = start_helper(try_as_nobody, till, request)

    assert isinstance(helper.hear(), LedgerUnavailableError)
    assert isinstance(helper.hear(), LedgerUnavailableError)


def test_another_program_s_file_is_refused_and_left_as_it_is(
    open_till: "OpenTill", tmp_path: Path
) -> None:
    edit(tmp_path / "ledger.db", "CREATE TABLE theirs (x)")
    before = (tmp_path / "ledger.db").read_bytes()

    with pytest.raises(LedgerBrokenError, match="no spendgate ledger"):
        open_till().store.session()

    assert (tmp_path / "ledger.db").read_bytes() == before


def test_a_text_file_is_refused_and_left_as_it_is(open_till: "OpenTill", tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("dear diary, " * 1000)

    with pytest.raises(LedgerBrokenError, match="restore it from a copy"):
        open_till().store.session()

    assert (tmp_path / "ledger.db").read_text() == "dear diary, " * 1000


def test_a_damaged_header_is_refused_and_left_as_it_is(used: "Till", open_till: "OpenTill") -> None:
    content = bytearray(used.path.read_bytes())
    content[:16] = b"X" * 16
    used.path.write_bytes(content)

    with pytest.raises(LedgerBrokenError):
        open_till().store.session()

    assert used.path.read_bytes() == content


def test_damaged_pages_are_noticed_when_they_are_used(used: "Till") -> None:
    request = used.request("h#3", 1)
    used.ledger.close()
    content = bytearray(used.path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    used.path.write_bytes(content)

    with pytest.raises(LedgerBrokenError):
        used.ledger.reserve([request])
    with pytest.raises(LedgerBrokenError):
        used.ledger.balances()


@pytest.mark.parametrize("table", ["meta", "hold", "balance", "outbox"])
def test_a_missing_table_is_damage_not_a_fresh_start(used: "Till", table: str) -> None:
    request = used.request("h#3", 1)
    used.ledger.close()
    edit(used.path, f"DROP TABLE {table}")

    def call() -> None:
        used.ledger.reserve([request])
        used.settle("h#3", 1)

    with pytest.raises(LedgerBrokenError):
        call()


@pytest.mark.parametrize("user", ["ann", "bob"])  # a balance that is there, and a new one
def test_a_hold_that_the_file_does_not_take_is_never_granted(till: "Till", user: str) -> None:
    till.budget("day", "user:*", 100)
    till.ledger.reserve([till.request("h#1", 10)])
    before = till.standing()
    till.tamper("CREATE TRIGGER lossy BEFORE INSERT ON hold BEGIN SELECT RAISE(IGNORE); END")

    with pytest.raises(LedgerBrokenError, match="h#2"):
        till.ledger.reserve([till.request("h#2", 10, scopes={"user": user})])

    assert till.standing() == before


def test_a_ledger_of_a_later_version_is_refused(used: "Till", open_till: "OpenTill") -> None:
    newest = max(migrations("sqlite"))
    edit(used.path, f"UPDATE meta SET value = '{newest + 1}' WHERE key = 'schema_version'")

    with pytest.raises(
        LedgerBrokenError, match=f"schema {newest + 1}, this spendgate knows {newest}"
    ):
        open_till().store.session()


def test_a_ledger_of_the_first_version_is_brought_to_this_one_and_keeps_its_money(
    tmp_path: Path, open_till: "OpenTill"
) -> None:
    old = sqlite3.connect(tmp_path / "ledger.db")
    old.executescript(migrations("sqlite")[1])
    old.execute("INSERT INTO balance VALUES (1, 'day', 'ann', '2026-03-14', 0, 25, 40, 0)")
    old.execute("INSERT INTO hold VALUES ('h#1', 'fp', 'held', 40, 0, '[1]', '{}', 0, 99)")
    old.commit()
    old.close()

    till = open_till()

    assert till.totals("day") == (25, 40)
    assert till.query("SELECT count(*) FROM adjustment") == [(0,)]
    till.ledger.void(["h#1"], datetime(2026, 3, 14, tzinfo=UTC))
    assert till.totals("day") == (25, 0)
    assert till.query("SELECT hold_id, fp, state, amount, bals, facts, events FROM hold") == [
        ("h#1", "fp", "voided", 40, "[1]", "{}", 1)
    ]
    assert till.query("SELECT value FROM meta WHERE key = 'schema_version'") == [
        (str(max(migrations("sqlite"))),)
    ]


def test_a_transaction_that_cannot_begin_leaves_the_lock_to_others(open_till: "OpenTill") -> None:
    till = open_till()
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 10)
    with closing(sqlite3.connect(till.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # past the lock, as a tool of SQLite's would

        with pytest.raises(LedgerUnavailableError):
            till.reserve("h#2", 10)

        with closing(SqliteGuard(till.path)) as guard:
            guard.take(time.monotonic() + 5)  # the checkpointer may have it for a moment
            guard.release()


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_ledger_that_is_gone_or_emptied_is_never_started_from_zero(
    used: "Till", open_till: "OpenTill", is_deleted: bool
) -> None:
    if is_deleted:
        used.path.unlink()
    else:
        used.path.write_bytes(b"")

    with pytest.raises(LedgerBrokenError, match="gone or empty"):
        open_till().store.session()

    assert used.path.exists() is not is_deleted


def test_a_running_process_notices_that_its_ledger_was_deleted(used: "Till") -> None:
    request = used.request("h#9", 1)
    used.path.unlink()

    with pytest.raises(LedgerUnavailableError, match="was deleted or replaced"):
        used.ledger.reserve([request])
    for _ in range(2):
        with pytest.raises(LedgerBrokenError, match="gone or empty"):
            used.ledger.reserve([request])


def test_a_running_process_whose_whole_folder_was_emptied_makes_no_new_ledger(used: "Till") -> None:
    request = used.request("h#9", 1)
    for path in used.path.parent.glob(f"{used.path.name}*"):
        path.unlink()

    with pytest.raises(LedgerUnavailableError, match="was deleted or replaced"):
        used.ledger.reserve([request])
    for _ in range(2):
        with pytest.raises(LedgerBrokenError, match="gone or empty"):
            used.ledger.reserve([request])

    assert not used.path.exists()


def test_a_running_process_goes_on_with_the_ledger_that_took_its_own_s_place(
    used: "Till", open_till: "OpenTill"
) -> None:
    request = used.request("h#9", 1)
    budgets = used.ledger.policies.policy().budgets
    used.path.unlink()
    with replacement(used.path, "NORMAL", 5) as made:
        made.policies.put_budgets(budgets)

    with pytest.raises(LedgerUnavailableError, match="was deleted or replaced"):
        used.ledger.reserve([request])
    used.reserve("h#9", 7)

    assert used.totals("day") == (0, 7)
    used.ledger.close()
    again = open_till()
    assert again.totals("day") == (0, 7)
    again.assert_sound()


def test_removing_the_lock_too_starts_a_new_ledger(used: "Till", open_till: "OpenTill") -> None:
    name = used.ledger.ledger_id
    used.ledger.close()
    for path in used.path.parent.glob("ledger.db*"):
        path.unlink()

    fresh = open_till()

    assert fresh.ledger.balances() == []
    assert fresh.ledger.ledger_id != name


def test_a_reopened_ledger_knows_everything(used: "Till", open_till: "OpenTill") -> None:
    again = open_till()

    assert again.totals("day") == (25, 30)
    assert again.settle("h#2", 5).moved
    again.assert_sound()


def test_failing_to_open_leaves_neither_threads_nor_files_open(
    used: "Till", open_till: "OpenTill"
) -> None:
    edit(used.path, "UPDATE meta SET value = '9999' WHERE key = 'schema_version'")
    till = open_till()
    files, threads = open_files(), threading.active_count()

    for _ in range(5):
        with pytest.raises(LedgerBrokenError):
            till.store.session()

    assert open_files() == files
    assert threading.active_count() == threads


def test_closing_leaves_neither_threads_nor_files_open(open_till: "OpenTill") -> None:
    files, threads = open_files(), threading.active_count()
    till = open_till()
    till.budget("day", "user:ann", 100)

    till.ledger.close()

    assert open_files() == files
    assert threading.active_count() == threads


def log_bytes(till: "Till") -> int:
    return till.path.with_name("ledger.db-wal").stat().st_size


def test_the_log_is_emptied_while_the_writer_never_rests(till: "Till") -> None:
    deadline = time.monotonic() + 60
    ((page_bytes,),) = till.store.read("PRAGMA page_size")
    log_bytes_max, is_shorter = 0, False

    while not is_shorter:
        with till.store.write() as connection:
            connection.execute("INSERT INTO price (spec) VALUES (?)", ("x" * 200_000,))
        is_long = log_bytes_max > LOG_FRAMES_MAX * int(str(page_bytes))
        is_shorter = is_long and log_bytes(till) < log_bytes_max
        log_bytes_max = max(log_bytes_max, log_bytes(till))
        assert time.monotonic() < deadline

    assert till.store.read("PRAGMA integrity_check") == [("ok",)]


def test_the_log_is_emptied_when_all_is_quiet(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    wait_until(lambda: log_bytes(till) == 0)

    assert till.totals("day") == (0, 60)
    till.assert_sound()
