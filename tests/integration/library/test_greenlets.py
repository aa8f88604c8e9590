"""A host that gevent has patched steps on every ledger, with many greenlets in one thread."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
POLICY = """
defaults: {held_wait_seconds: 10}
budgets:
  - {id: agents, scope: {agent: "*"}, limit_usd: 1, window: lifetime, fit: false}
"""
STEPS = 400
COST_USD = 100 * 3e-6 + 10 * 15e-6


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_greenlets_of_a_patched_process_step_side_by_side(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    policy = tmp_path / "budgets.yml"
    policy.write_text(POLICY)
    place = [request.getfixturevalue("postgres").new_database()] if store == "postgres" else []
    command = [sys.executable, "-m", "tests.integration.library.greenlet_host"]

    run = subprocess.run(
        [*command, str(policy), str(tmp_path), *place],
        cwd=ROOT,
        env={**os.environ, "SPENDGATE_LEDGER_TIMEOUT_SECONDS": "30"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert (said["steps"], said["problems"], said["held_nano"]) == (STEPS, [], 0)
    assert said["costs"] == [pytest.approx(COST_USD)]
    assert said["spent_nano"] == round(STEPS * COST_USD * 1e9)
    assert said["inside_max"] > 1
