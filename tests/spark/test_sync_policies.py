"""The job sync_policies over real Delta tables and a real ledger."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from spendgate.adapters.budget_codec import parse_raise
from spendgate.adapters.budget_requests import BudgetRequests
from spendgate.adapters.delta_query import query_rows
from spendgate.bootstrap import build_admin, open_ledger, open_price_book, utc_now
from spendgate.config import Settings
from spendgate.gateway.adjusting import adjustment, booking, claim_of_budget
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.sync_policies import run as sync

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
FILE = """
budgets:
  - {id: org, scope: {org: acme}, limit_usd: 500}
  - {id: each, scope: {user: "*"}, limit_usd: 5, window: day}
"""


class Place:
    """A home with a policy file, and the SQL of somebody who edits its tables."""

    def __init__(self, spark: SparkSession, home: Path) -> None:
        self.spark = spark
        self.home = home
        self.file = home / "budgets.yml"
        self.file.write_text(FILE)
        self.settings = Settings(home=home, budgets_file=self.file)
        self.ledger = open_ledger(self.settings)

    def sync(self) -> Mapping[str, object]:
        return sync(JobRun(self.settings, AT))

    def sql(self, text: str) -> None:
        for name in ("budgets", "prices"):
            text = text.replace(f"{{{name}}}", f"delta.`{self.home}/delta/{name}`")
        self.spark.sql(text).collect()

    def limits(self) -> dict[str, object]:
        rows = query_rows(
            self.home / "delta",
            "SELECT budget_id, limit_usd, owner FROM budgets WHERE raise_id IS NULL",
        )
        return {
            str(one["budget_id"]): (Decimal(str(one["limit_usd"])), one["owner"]) for one in rows
        }

    def in_force(self) -> dict[str, object]:
        return {
            one.budget_id: (Decimal(one.limit_nano).scaleb(-9), one.source)
            for one in self.ledger.policies.policy().budgets
        }

    def versions(self) -> tuple[int, ...]:
        tables = [DeltaTable(self.home / "delta" / name) for name in ("budgets", "prices")]
        return (self.ledger.policies.version(), *(one.version() for one in tables))


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    return Place(spark, tmp_path)


def changes(report: Mapping[str, object]) -> list[tuple[object, ...]]:
    found = cast(list[dict[str, object]], report["changes"])
    return [tuple(one.values()) for one in found]


def test_a_budget_that_an_edit_starts_at_zero_is_told_with_what_was_spent(place: Place) -> None:
    place.sync()
    claim, payer = claim_of_budget(place.ledger.policies.policy(), "org", None, AT)
    change = booking((claim,), payer, 10**9, AT)
    place.ledger.adjust([adjustment("call", change, {}, actor="ann", reason="a call", at=AT)])

    place.sql("UPDATE {budgets} SET window = 'lifetime' WHERE budget_id = 'org'")
    (told,) = cast(list[str], place.sync()["notes"])

    assert "'org' starts at zero from now: window month -> lifetime; 1 USD were spent" in told
    assert place.sync()["notes"] == []


def test_file_sql_and_ledger_agree_and_an_unchanged_run_writes_nothing(place: Place) -> None:
    first = place.sync()

    assert first["tables_created"] == [
        "budgets", "prices", "policy_changes", "budget_requests",
    ]  # fmt: skip
    assert place.limits() == place.in_force() == {"org": (500, "file"), "each": (5, "file")}
    assert first["price_rows_to_table"] == len(
        query_rows(place.home / "delta", "SELECT model FROM prices")
    )
    before = place.versions()
    second = place.sync()
    assert (second["changes"], second["kept"], second["problems"]) == ([], 2, [])
    assert place.versions() == before

    _edits_on_every_side(place)
    _removals(place)
    _a_broken_file(place)


def _edits_on_every_side(place: Place) -> None:
    # Somebody edits in SQL, somebody else the ledger, and the file is changed.
    place.sql("UPDATE {budgets} SET limit_usd = 7 WHERE budget_id = 'each'")
    place.sql(
        "INSERT INTO {budgets} (budget_id, scope, limit_usd, window, expires_at) VALUES "
        "('night', 'agent:night', 2.5, 'rolling:24h', TIMESTAMP '2026-04-01 00:00:00Z'), "
        "('bad', 'agent:bad', -1, NULL, NULL)"
    )
    place.sql(
        "INSERT INTO {budgets} (budget_id, raise_id, raise_usd, reason, expires_at) VALUES "
        "('org', 'launch', 100, 'launch', TIMESTAMP '2026-03-11 00:00:00Z')"
    )
    place.sql(
        "INSERT INTO {prices} (model, effective_from, token_class, usd_per_million) VALUES "
        "('house', TIMESTAMP '2026-01-01 00:00:00Z', 'input', 1.5), "
        "('house', TIMESTAMP '2026-01-01 00:00:00Z', 'output', 6)"
    )
    place.file.write_text(FILE.replace("500", "600").replace("limit_usd: 5,", "limit_usd: 6,"))
    third = place.sync()

    assert changes(third) == [
        ("budget each", "changed", "sql", {"limit_usd": ["6", "7"]}),
        ("budget night", "added", "sql"),
        ("budget org", "changed", "file", {"limit_usd": ["500", "600"]}),
        ("raise launch", "added", "sql"),
    ]
    assert third["conflicts"] == ["budget each"]
    (problem,) = cast(list[str], third["problems"])
    assert "budget bad: limit_usd: -1" in problem
    expected = {"org": (600, "file"), "each": (7, "people"), "night": (Decimal("2.5"), "people")}
    assert place.in_force() == expected
    assert place.limits() == {**expected, "bad": (-1, None)}
    policy = place.ledger.policies.policy()
    night = policy.budget("night")
    assert night is not None
    assert night.expires_at == datetime(2026, 4, 1, tzinfo=UTC)
    org = policy.budget("org")
    assert org is not None
    assert policy.limit(org, AT) == 700 * 10**9
    assert open_price_book(place.settings, place.ledger).has("house", AT)
    versions = query_rows(
        place.home / "delta", "SELECT DISTINCT price_version FROM prices WHERE model = 'house'"
    )
    (row_json,) = place.ledger.policies.prices()
    assert json.loads(row_json)["model"] == "house"
    assert [len(str(one["price_version"])) for one in versions] == [12]


def _removals(place: Place) -> None:
    # What was edited through the ledger shows up in the table; what was deleted goes everywhere.
    place.sql("DELETE FROM {budgets} WHERE budget_id IN ('each', 'org')")
    raised = {"raises": "night", "id": "more", "amount_usd": "1", "reason": "retry"}
    place.ledger.policies.put_raise(parse_raise(raised, where="test", source="people"))
    desk = BudgetRequests(build_admin(place.settings, place.ledger), utc_now)
    asked = {"budget_id": "org", "amount_usd": "5", "reason": "tests", "request_id": "q1"}
    desk.ask(asked, "bot")
    fourth = place.sync()
    assert fourth["budget_requests"] == 1

    assert changes(fourth) == [
        ("budget each", "added", "file"),
        ("budget org", "added", "file"),
        ("raise launch", "removed", "sql"),
        ("raise more", "added", "ledger"),
    ]
    assert place.in_force()["each"] == (6, "file")
    assert place.limits()["org"] == (600, "file")
    place.ledger.policies.remove_budget("night")
    desk.approve("q1", "boss")
    fifth = place.sync()
    assert changes(fifth) == [
        ("budget night", "removed", "ledger"),
        ("raise more", "removed", "ledger"),
        ("raise raise-q1", "added", "ledger"),
    ]
    # Who changed what is in SQL too, each change once.
    journal = query_rows(
        place.home / "delta",
        "SELECT changed_by, kind, name FROM policy_changes WHERE kind = 'budget'",
    )
    kept = place.ledger.policies.changes_since(0)
    assert len(journal) == len([one for one in kept if one.kind == "budget"]) > 5
    assert {"changed_by": "sql", "kind": "budget", "name": "night"} in journal
    assert {"changed_by": "policy file", "kind": "budget", "name": "org"} in journal
    assert query_rows(
        place.home / "delta", "SELECT request_id, status, raise_id FROM budget_requests"
    ) == [{"request_id": "q1", "status": "approved", "raise_id": "raise-q1"}]


def _a_broken_file(place: Place) -> None:
    before = place.versions()
    place.file.write_text("budgets: 5")
    sixth = place.sync()
    assert "budgets: must be a list" in cast(list[str], sixth["problems"])[0]
    assert place.versions() == before
    assert place.in_force()["org"] == (600, "file")
