"""A named fault scenario (reference/ledger.md §5) that needs a running host."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from spendgate.bootstrap import open_ledger
from spendgate.config import Settings

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.serving.conftest import HostProcess

pytestmark = pytest.mark.server

CALL = {
    "model": "databricks-claude-haiku-4-5",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 20,
    "custom_inputs": {"user": "rich"},
}
CALLS = 20


def test_scenario_10_scale_to_zero_drains_the_lanes_of_a_host(
    start: "Callable[..., HostProcess]", postgres: "PostgresServer", simulator: str
) -> None:
    ledger_url = postgres.new_database()
    billed_before = httpx.get(f"{simulator}/bill").json()["total_nano_usd"]

    settings = {"SPENDGATE_LEDGER_URL": ledger_url, "SPENDGATE_UPSTREAM_URL": simulator}
    with start("app", workers=1, **settings) as host:
        for _ in range(CALLS):
            assert host.post(CALL, "/v1/chat/completions").status_code == 200
    # What the last settlements wrote is still in the server's memory, unless the host waited.
    postgres.stop_immediately()
    postgres.start()

    ledger = open_ledger(Settings(ledger_url=ledger_url))
    audit = ledger.audit()
    ledger.close()
    billed = httpx.get(f"{simulator}/bill").json()["total_nano_usd"] - billed_before
    assert (audit.problems, audit.holds_open, audit.events) == ((), 0, CALLS)
    assert audit.spent_nano == billed > 0
