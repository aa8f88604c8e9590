"""Every notebook from top to bottom: real calls through a host, real jobs, tables of a schema."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spendgate.adapters.budget_requests import BudgetRequests
from spendgate.adapters.stored_policy import Author
from spendgate.bootstrap import build_admin, drain_outbox, open_ledger, utc_now
from spendgate.config import Settings
from spendgate.domain.policy_tables import BUDGETS as BUDGET_TABLE
from spendgate.domain.table_list import ALL_TABLES
from spendgate.jobs.table_space import TableSpace
from tests.contract.conftest import simulator
from tests.contract.running_app import App, running
from tests.dashboard_tables import fill_tables, realistic_rows
from tests.spark.notebook_run import Shown, run_notebook

__all__ = ["simulator"]  # a fixture of the host's tests, used here too

pytestmark = [pytest.mark.spark, pytest.mark.server]
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SCHEMA = "notebook_tables"
BUDGETS = """
budgets:
  - {id: quickstart-agent, scope: {agent: quickstart}, limit_usd: 0.002, window: day, fit: false}
"""
STRICTER = BUDGETS.replace("0.002", "0.0005")


def _schema_over(spark: SparkSession, folder: Path) -> None:
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for table in ALL_TABLES:
        path = folder / table.name
        spark.sql(f"DROP TABLE IF EXISTS {SCHEMA}.{table.name}")
        spark.sql(f"CREATE TABLE {SCHEMA}.{table.name} USING DELTA LOCATION '{path}'")


@pytest.fixture(scope="module")
def traffic_shown(
    spark: SparkSession, simulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shown, Path]]:
    """Run the quickstart against a host, then bring its calls into the tables of a schema."""
    home = tmp_path_factory.mktemp("notebooks")
    with running(home, simulator, budgets=BUDGETS, workers=1) as app:
        shown = run_notebook(NOTEBOOKS / "quickstart.py", spark, _host(app))
    rows = realistic_rows(datetime.now(UTC))
    kept = {name: rows[name] for name in ("budget_state", "reconciliation")}
    settings = Settings(home=home)
    fill_tables(home / "tables", kept)
    ledger = open_ledger(settings)
    try:
        drain_outbox(ledger, settings)
    finally:
        ledger.close()
    for name in ("spend_events", "decisions"):
        (home / "tables" / name).rename(home / f"unused-{name}")
        (settings.delta_folder / name).rename(home / "tables" / name)
    # As setup leaves it: what a notebook writes must keep to its constraints.
    TableSpace(home / "tables").constrain(spark, BUDGET_TABLE)
    _schema_over(spark, home / "tables")
    before = spark.catalog.currentDatabase()
    yield shown, home
    spark.catalog.setCurrentDatabase(before)


def _host(app: App) -> dict[str, str]:
    model = "databricks-claude-haiku-4-5"
    return {"base_url": f"{app.url}/v1", "model": model, "served_model": model, "calls_max": "60"}


def _run(spark: SparkSession, name: str, **filled: str) -> Shown:
    return run_notebook(NOTEBOOKS / f"{name}.py", spark, {"schema": SCHEMA, **filled})


def test_the_quickstart_shows_what_a_call_cost_and_hits_a_cap(
    traffic_shown: tuple[Shown, Path],
) -> None:
    shown, _ = traffic_shown

    (spend,), budgets = shown.tables
    assert spend.decision == "allow"
    assert float(spend.cost_usd) > 0
    assert [one.budget_id for one in budgets] == ["quickstart-agent"]
    assert shown.lines[0].startswith("budget_exhausted - ")


def test_a_refusal_is_explained_by_its_budget_and_who_spent_it(
    spark: SparkSession, traffic_shown: tuple[Shown, Path]
) -> None:
    shown = _run(spark, "explain_a_refusal", agent="quickstart")

    refusals, _, spenders = shown.tables
    assert {row.code for row in refusals} == {"budget_exhausted"}
    assert "budget quickstart-agent of 0.002" in shown.lines[0]
    assert [(row.agent_id, row.calls > 1) for row in spenders] == [("quickstart", True)]


def test_a_budget_and_its_raise_become_rows_that_people_own(
    spark: SparkSession, traffic_shown: tuple[Shown, Path]
) -> None:
    _run(spark, "set_and_raise_budgets", limit_usd="100")
    shown = _run(spark, "set_and_raise_budgets", limit_usd="250")

    rows = {row.raise_id: row for row in shown.tables[0]}
    assert rows.keys() == {None, "research-monthly-raise"}
    assert rows[None].scope == "team:research"
    assert rows[None].limit_usd == 250
    raised = rows["research-monthly-raise"]
    assert (raised.raise_usd, raised.reason) == (50, "a launch this week")
    assert [row.owner for row in rows.values()] == [None, None]  # so that they are people's


def test_what_was_asked_for_is_approved_in_a_notebook(spark: SparkSession, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    url = settings.ledger_location
    ledger = open_ledger(settings)
    admin = build_admin(settings, ledger)
    row = {"id": "bots", "scope": {"agent": "*"}, "limit_usd": 10}
    admin.create(row, Author("ann"))
    asked = {"budget_id": "bots", "amount_usd": 5, "reason": "a long report", "lasts": "4h"}
    waiting = BudgetRequests(admin, utc_now).ask(asked, "triage-bot")
    notebook = NOTEBOOKS / "approve_requests.py"

    looked = run_notebook(notebook, spark, {"ledger": url})
    filled = {"ledger": url, "request_id": waiting.request_id}
    mistyped = run_notebook(notebook, spark, {**filled, "decision": "aprove"})
    decided = run_notebook(notebook, spark, {**filled, "reason": "fine"})
    again = run_notebook(notebook, spark, {"ledger": url})

    assert [row.request_id for row in looked.tables[0]] == [waiting.request_id]
    assert "nothing was decided" in looked.lines[0]
    assert "neither approve nor deny" in mistyped.lines[0]
    assert [(row.status, row.amount_usd) for row in decided.tables[1]] == [("approved", "5")]
    assert again.tables == [[]]
    policy = ledger.policies.policy()
    ledger.close()
    assert policy.limit(policy.budgets[0], utc_now()) == 15 * 10**9


def test_the_chargeback_report_sums_to_what_was_charged(
    spark: SparkSession, traffic_shown: tuple[Shown, Path]
) -> None:
    shown = _run(spark, "chargeback_report")

    by_team, by_model = shown.tables
    total = spark.table(f"{SCHEMA}.spend_events").agg({"cost_usd": "sum"}).first()
    assert total is not None
    assert sum(row.usd for row in by_team) == sum(row.usd for row in by_model) == total[0] > 0
    assert f"{total[0]} USD in all" in shown.lines[0]


def test_bypass_and_the_bill_are_shown(
    spark: SparkSession, traffic_shown: tuple[Shown, Path]
) -> None:
    shown = _run(spark, "reconcile_and_find_bypass")

    bill, _, bypass, _ = shown.tables
    assert float(bill[0].ratio) == pytest.approx(0.99, abs=0.01)
    assert bypass[0].calls > 0
    assert shown.lines == ["somebody went around the gate"]


def test_a_stricter_policy_is_replayed_over_what_happened(
    spark: SparkSession, traffic_shown: tuple[Shown, Path]
) -> None:
    policy = traffic_shown[1] / "stricter.yml"
    policy.write_text(STRICTER)

    shown = _run(spark, "replay_a_policy", policy=str(policy))

    happened, replayed = (row.asDict() for row in shown.tables[0])
    assert float(replayed["usd"]) < float(happened["usd"])
    assert int(replayed["refuse"]) > int(happened["refuse"])


def test_every_notebook_is_run_here() -> None:
    tested = {
        "quickstart", "explain_a_refusal", "set_and_raise_budgets", "chargeback_report",
        "reconcile_and_find_bypass", "replay_a_policy", "approve_requests",
    }  # fmt: skip

    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == tested
