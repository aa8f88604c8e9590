"""Two hosts on one real Postgres: bill, ledger and Delta agree, and the drain job delivers."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.integration.serving.conftest import HostProcess

pytestmark = pytest.mark.server

LIMIT_NANO = 1_000_000
BUDGETS = f"""
budgets:
  - {{id: shared, scope: {{org: acme}}, limit_usd: {LIMIT_NANO / 10**9:.9f}, window: lifetime}}
  - {{id: each-user, scope: {{user: "*"}}, limit_usd: 1}}
"""


def spendgate(*arguments: str) -> str:
    program = str(Path(sys.executable).with_name("spendgate"))
    done = subprocess.run([program, *arguments], capture_output=True, check=True, text=True)
    return done.stdout


def body(number: int) -> dict[str, object]:
    own = {"model": "databricks-claude-haiku-4-5", "org": "acme", "user": f"u{number % 5}"}
    messages = [{"role": "user", "content": f"question {number}"}]
    return {"messages": messages, "max_tokens": 20, "custom_inputs": own}


def test_bill_ledger_and_delta_agree_for_two_hosts_of_one_postgres(
    start: "Callable[..., HostProcess]",
    postgres: "PostgresServer",
    simulator: str,
    tmp_path: Path,
) -> None:
    ledger, home = postgres.new_database(), tmp_path / "home"
    (tmp_path / "shared.yml").write_text(BUDGETS)
    settings = {
        "SPENDGATE_LEDGER_URL": ledger,
        "SPENDGATE_BUDGETS_FILE": str(tmp_path / "shared.yml"),
        "SPENDGATE_UPSTREAM_URL": simulator,
    }
    billed_before = billed(simulator)

    with (
        start("serve", workers=2, **settings) as one,
        start("app", workers=1, **settings) as two,
        ThreadPoolExecutor(16) as pool,
    ):
        paths = {one.url: "/invocations", two.url: "/v1/chat/completions"}
        calls = [
            pool.submit(httpx.post, url + path, json=asked(number, url == two.url), timeout=120)
            for number in range(60)
            for url, path in paths.items()
        ]
        statuses = Counter(call.result().status_code for call in calls)

    bill = billed(simulator) - billed_before
    audit = json.loads(spendgate("audit", "--ledger", ledger, "--home", str(home), "--json"))
    rows = json.loads(spendgate("spend", "show", "--ledger", ledger, "--home", str(home), "--json"))
    drained = json.loads(
        spendgate("job", "drain", "--ledger", ledger, "--home", str(home), "--json")
    )
    nano = "CAST(sum(cost_usd) * 1000000000 AS BIGINT) AS nano"
    query = f"SELECT {nano}, count(*) AS n FROM spend_events"
    (delta,) = json.loads(spendgate("sql", "--home", str(home), "--json", query))

    (shared,) = [row for row in rows if row["budget_id"] == "shared"]
    assert statuses[200] > 0
    assert statuses[402] + statuses[429] > 0
    assert bill <= LIMIT_NANO
    assert audit["problems"] == []
    assert audit["holds_open"] == 0
    assert round(float(shared["spent_usd"]) * 10**9) == bill
    assert int(delta["nano"]) == bill
    assert drained["events"] == delta["n"] == statuses[200]


def asked(number: int, is_app: bool) -> dict[str, object]:
    made = body(number)
    return {**made, "model": "databricks-claude-haiku-4-5"} if is_app else made


def billed(simulator: str) -> int:
    return httpx.get(f"{simulator}/bill").json()["total_nano_usd"]
