"""How a connection to Postgres commits, by how slow its disk is."""

import time
from typing import cast

import pytest

from spendgate.adapters.durable_commit import SLOW_DISK_SECONDS, WAIT_FOR_DISK, durable_commit
from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.postgres_wire import Command


class Server:
    """A server whose commits wait for a disk, as a session sees it."""

    def __init__(self, disk_seconds: float) -> None:
        self.disk_seconds: float | None = None
        self.asked = 0
        self._disk_seconds = disk_seconds

    def round_trip(self, *commands: Command) -> None:
        self.asked += 1
        if WAIT_FOR_DISK in commands:
            time.sleep(self._disk_seconds)


def lets_go_first(server: Server, said: bool | None = None) -> bool:
    commit = durable_commit(cast("PostgresSession", server), said)
    waits = len(commit.begin) == 2
    assert (commit.end[-1] == WAIT_FOR_DISK) is waits
    return waits


@pytest.mark.parametrize(("disk_seconds", "is_slow"), [(20 * SLOW_DISK_SECONDS, True), (0, False)])
def test_balances_are_let_go_first_where_the_disk_is_slow(
    disk_seconds: float, is_slow: bool
) -> None:
    server = Server(disk_seconds)

    assert lets_go_first(server) is is_slow

    asked = server.asked
    assert lets_go_first(server) is is_slow
    assert server.asked == asked  # measured once


@pytest.mark.parametrize("said", [True, False])
def test_what_is_said_needs_no_measurement(said: bool) -> None:
    server = Server(0)

    assert lets_go_first(server, said) is said
    assert server.asked == 0
