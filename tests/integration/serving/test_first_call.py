"""A host that is ready answers its first call like others: nothing is left to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

IMPORTS_OF_FIRST_CALLS = """
import json, sys
from starlette.testclient import TestClient
from spendgate.app.host import create_app

body = {"model": "databricks-claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]}
body |= {"max_tokens": 20, "custom_inputs": {"user": "ann"}}
with TestClient(create_app()) as client:
    client.get("/health").raise_for_status()  # the client's own imports are done then
    before = set(sys.modules)
    for fields in ({}, {"stream": True}):
        answer = client.post("/v1/chat/completions", json=body | fields).raise_for_status()
        assert "spend" in answer.text
    print(json.dumps(sorted(set(sys.modules) - before)))
"""


POLICY = {"budgets": [{"id": "users", "scope": {"user": "*"}, "limit_usd": 1}]}


def test_an_app_that_is_ready_imports_nothing_for_its_first_calls(
    tmp_path: Path, simulator: str
) -> None:
    (tmp_path / "budgets.yml").write_text(json.dumps(POLICY))
    home = {"SPENDGATE_HOME": str(tmp_path), "SPENDGATE_UPSTREAM_URL": simulator}
    policy = ["-m", "spendgate", "budget", "import", str(tmp_path / "budgets.yml")]

    told = [
        subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **home},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for arguments in (policy, ["-c", IMPORTS_OF_FIRST_CALLS])
    ]

    assert json.loads(told[-1]) == []
