"""`verify --workspace` over the stand-in, behind which a real gate calls the simulator."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.workspace.stand_in import Answer, Request, Workspace
from typer.testing import CliRunner, Result

from spendgate.bootstrap import apply_policy, build_gateway, open_ledger, open_upstream
from spendgate.cli.program import make_program
from spendgate.cli.verify_steps import STEPS
from spendgate.config import Settings
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.reply import Reply
from spendgate.gateway.wire import CHAT, Host
from spendgate.serving.trial import model_server

KEY = "k" * 43
GATE = "dev_tester_spendgate"
POLICY = """
budgets: [{id: all, scope: {}, limit_usd: 100}]
models: {databricks-claude-haiku-4-5: {max_output_tokens: 4000}}
"""


@dataclass
class Deployed:
    """A workspace with the gate at an endpoint, and the folder of its ledger."""

    workspace: Workspace
    gateway: Gateway
    home: Path
    usage_rows: list[list[str | None]]

    def invoke(self, name: str, request: Request) -> Answer:
        if name != GATE:
            return 200, {"choices": [{"index": 0}], "usage": {}}
        body = {name: value for name, value in request.body.items() if not name.startswith("zz_")}
        if body.get("model") == GATE:
            del body["model"]
        if body.get("custom_inputs", {}).get("extra_body", {}).get("top_logprobs"):
            return 400, {"error": {"code": "upstream_error", "message": "top_logprobs"}}
        if not body.get("stream"):
            reply = self.gateway.handle(CHAT, body, host=Host.ENDPOINT)
            return reply.status, reply.body
        pieces = self.gateway.stream(CHAT, body, host=Host.ENDPOINT)
        assert not isinstance(pieces, Reply)
        sent = [json.dumps(one.document) for one in pieces if one.document is not None]
        return 200, "".join(f"data: {one}\n\n" for one in [*sent, "[DONE]"]).encode()

    def verify(self, *flags: str) -> Result:
        ledger = f"sqlite:///{self.home / 'ledger.db'}"
        given = ["verify", "--workspace", "--ledger", ledger, "--warehouse-id", "1"]
        return CliRunner().invoke(
            make_program(), [*given, "--out", str(self.home / "report.md"), *flags]
        )

    def report(self) -> dict[int, list[str]]:
        lines = (self.home / "report.md").read_text("utf-8").splitlines()
        rows = [line.strip("| ").split(" | ") for line in lines if re.match(r"\| \d", line)]
        return {int(row[0]): row[1:] for row in rows}


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    workspace = Workspace()
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    workspace.state.scopes["spendgate-dev-tester"] = {"signing-key": KEY}
    file = tmp_path / "budgets.yml"
    file.write_text(POLICY)
    with model_server(tmp_path) as url:
        settings = Settings.model_validate(
            {"home": tmp_path, "budgets_file": file, "upstream_url": url, "signing_key": KEY}
        )
        ledger, upstream = open_ledger(settings), open_upstream(settings)
        assert upstream is not None
        apply_policy(settings, ledger)
        gateway = build_gateway(settings, ledger, None, upstream)
        made = Deployed(workspace, gateway, tmp_path, [["3", "3", "1"]])
        workspace.invoke = made.invoke
        workspace.statement = lambda text: made.usage_rows
        yield made
        upstream.close()
        ledger.close()
    workspace.close()


def test_every_step_is_run_once_and_reported(deployed: Deployed):
    done = deployed.verify()

    assert done.exit_code == 0, done.output
    report = deployed.report()
    assert {number: row[3] for number, row in report.items() if row[3] != "verified"} == {
        7: "skipped",
        8: "skipped",
        9: "skipped",
    }
    assert sum(float(row[4]) for row in report.values()) > 0
    assert "budget_exhausted" in report[2][2]
    assert "[DONE]" in report[13][2]
    settings = Settings(home=deployed.home)
    ledger = open_ledger(settings)
    assert [one.budget_id for one in ledger.policies.policy().budgets] == ["all"]
    ledger.close()
    assert KEY not in done.output


def test_a_failing_step_is_named_and_the_rest_goes_on(deployed: Deployed):
    deployed.workspace.state.privileges["system.ai", "account users"] = ["EXECUTE"]
    deployed.usage_rows = [["3", "2", "1"]]

    done = deployed.verify()

    assert done.exit_code == 1
    assert "step 5 failed: system.serving.endpoint_usage: 3 calls, 2 of them" in done.stderr
    assert "step 14 failed: the bypass is closed: account users may call" in done.stderr
    report = deployed.report()
    assert [number for number, row in report.items() if row[3] == "failed"] == [5, 14]
    assert report[13][3] == "verified"


def test_a_step_whose_time_hasnt_come_says_so(deployed: Deployed):
    deployed.usage_rows = [["0", "0", "0"]]

    assert deployed.verify().exit_code == 0
    assert deployed.report()[5][3] == "pending"


def test_an_endpoint_that_isnt_there_fails_its_steps(deployed: Deployed):
    deployed.workspace.invoke = lambda name, request: (404, {"error_code": "NOT_FOUND"})

    done = deployed.verify()

    assert done.exit_code == 1
    assert deployed.report()[1][2:4] == ["status 404: NOT_FOUND", "failed"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-usd", "0.01"], "above --max-usd 0.01"),
        (
            ["--target", "prod"],
            "so target prod isn't deployed; `databricks bundle deploy -t prod` makes it",
        ),
    ],
)
def test_what_cant_start_is_told(deployed: Deployed, flags: list[str], said: str):
    done = deployed.verify(*flags)

    assert done.exit_code == 1
    assert said in str(done.exception)
    assert not deployed.workspace.asked("POST", "/serving-endpoints/.*")


def test_it_wants_to_be_told_that_it_may_pay_and_how_much(deployed: Deployed):
    done = CliRunner().invoke(make_program(), ["verify"])
    unreadable = deployed.verify("--max-usd", "a little")

    assert (done.exit_code, unreadable.exit_code) == (2, 2)
    assert "--workspace" in done.stderr
    assert "write it like 12.50" in unreadable.stderr


def test_the_runbook_lists_every_step():
    text = (Path(__file__).resolve().parents[3] / "docs/runbook.md").read_text("utf-8")
    listed = re.findall(r"^\| (\d+) \|", text.split("## To verify on a workspace")[1], re.MULTILINE)

    assert len(set(listed)) == len(listed)
    assert {step.number for step in STEPS} <= {int(one) for one in listed}
