"""What a policy says without effect is told where it is imported, tried, used or checked."""

from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run

from spendgate.adapters.budget_codec import decode_budget, encode_budget, parse_budget
from spendgate.domain.budget import Budget
from spendgate.domain.scope import Scope
from spendgate.domain.window import parse_window
from spendgate.errors import PolicyError

EXPIRED = "budgets whose expires_at is past, so that they bind nothing: 'old'; remove them"
UNPRICED = "model 'databricks-claude-haiku-45' has no price, so calls for it are refused; did you"
TEXT = """\
budgets:
  - {id: old, scope: {team: a}, limit_usd: 1, expires_at: "2020-01-01T00:00:00Z"}
  - {id: new, scope: {team: a}, limit_usd: 1, expires_at: "2999-01-01T00:00:00Z"}
models:
  databricks-claude-haiku-45: {max_output_tokens: 10}
  databricks-claude-haiku-4-5: {max_output_tokens: 10}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    written = tmp_path / "budgets.yml"
    written.write_text(TEXT, encoding="utf-8")
    return str(written)


def test_the_import_tells_expired_budgets_and_models_without_a_price(run: Run, file: str) -> None:
    told = run("budget", "import", file).err

    assert EXPIRED in told
    assert UNPRICED in told
    assert told.count("has no price") == 1


def test_a_start_logs_them(run: Run, file: str, caplog: pytest.LogCaptureFixture) -> None:
    run("app", "--budgets", file, code=1)  # it has no model server

    assert f"budgets.yml: {EXPIRED}" in caplog.text
    assert UNPRICED in caplog.text


def test_the_doctor_warns_of_expired_budgets_in_file_and_ledger(
    run: Run, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("budget", "import", file)
    monkeypatch.setenv("SPENDGATE_BUDGETS_FILE", file)

    checks = {one["check"]: one for one in run("doctor", "--json", code=1).json}

    for name in ("policy", "policy file"):
        assert checks[name]["status"] == "warn"
        assert EXPIRED in checks[name]["detail"]


def test_trust_in_a_dimension_that_the_scope_lacks_is_refused_by_budget_and_field(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "budgets.yml"
    row = "{id: b, scope: {org: acme}, limit_usd: 1, trust: {agent: asserted, org: trusted}}"
    file.write_text(f"budgets: [{row}]", encoding="utf-8")

    told = run("budget", "import", str(file), code=1).err

    assert "budgets.yml: budget 'b': trust: agent isn't in the scope org:acme" in told


def test_such_trust_in_a_budget_that_a_ledger_has_is_still_read() -> None:
    scope, window = Scope.parse("org:acme"), parse_window("day")
    stored = Budget("b", scope, 10**9, window, trust={"agent": "asserted"})

    assert decode_budget(encode_budget(stored)) == stored
    with pytest.raises(PolicyError, match="trust: agent isn't in the scope"):
        parse_budget(
            {"id": "b", "scope": "org:acme", "limit_usd": 1, "trust": {"agent": "asserted"}},
            where="budget 'b'",
        )


def test_a_replay_of_such_a_policy_tells_them(run: Run, file: str) -> None:
    told = run("replay", "--policy", file, code=1).err  # there is no past spend

    assert EXPIRED in told
    assert UNPRICED in told
