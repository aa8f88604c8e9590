"""`price`, `token`, `spend`, `audit`, `sql`, `job`, `doctor`: on a home with real records."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spendgate.adapters.spend_token import SpendTokenVerifier
from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.bootstrap import new_request_id, open_price_book, utc_now
from spendgate.config import Settings
from spendgate.domain.decision import Candidate
from spendgate.domain.event import CallFacts
from spendgate.domain.price import TokenClass
from spendgate.domain.reservation import ReserveRequest
from spendgate.domain.scope import Identity
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import UpstreamAnswer, UpstreamOutcome
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""

HAIKU = "databricks-claude-haiku-4-5"
KEY = "a key that is long enough for HS256, really"
NOBODY = "http://127.0.0.1:9"


class TerseModel:
    """A model server that always answers 20 tokens to 10."""

    name = "terse"

    def stream(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        return UpstreamAnswer(200, {"id": "x", "model": HAIKU, "choices": [], "usage": usage})


@pytest.fixture
def spent(run: Run, ledger: SqliteLedger) -> None:
    """Two users have each paid for one call; nothing is delivered to Delta yet."""
    run("budget", "set", "users", "--scope", "user:*", "--limit", "5", "--window", "day")
    run("budget", "set", "org", "--scope", "org:acme", "--limit", "50", "--window", "lifetime")
    gateway = Gateway(
        ledger,
        TerseModel(),
        lambda: open_price_book(Settings(), ledger),
        clock=utc_now,
        new_id=new_request_id,
        verifier=None,
        terms=Terms(),
    )
    for user in ("alice", "bob"):
        body = {
            "model": HAIKU,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 50,
            "custom_inputs": {"org": "acme", "user": user},
        }
        assert gateway.handle(CHAT, body, host=Host.ASGI).status == 200


def test_every_budget_shows_where_it_stands(run: Run, spent: None) -> None:
    rows = run("spend", "show", "--json").json

    # 10 input tokens at $1 and 20 output tokens at $5 per million.
    assert [(one["scope"], one["spent_usd"]) for one in rows] == [
        ("org:acme", "0.000220000"),
        ("user:alice", "0.000110000"),
        ("user:bob", "0.000110000"),
    ]
    assert rows[0]["remaining_usd"] == "49.999780000"
    assert {one["status"] for one in rows} == {"ok"}
    assert "user:bob" in run("spend", "show").out


def test_a_budget_whose_scope_was_changed_shows_no_earlier_values(run: Run, spent: None) -> None:
    run("budget", "set", "users", "--scope", "org:*,user:*")

    rows = run("spend", "show", "--json").json

    assert [one["scope"] for one in rows] == ["org:acme", "org:*,user:*"]


def test_the_drained_events_can_be_summed_and_queried(run: Run, spent: None) -> None:
    drained = run("job", "drain", "--json").json
    again = run("job", "drain", "--json").json

    by_user = run("spend", "show", "--by", "user,model", "--since", "1d", "--json").json
    queried = run("sql", "SELECT sum(cost_usd) AS total FROM spend_events", "--json").json
    assert (drained["events"], again["events"]) == (2, 0)
    assert sorted((one["user"], one["requests"], one["cost_usd"]) for one in by_user) == [
        ("alice", 1, "0.000110000"),
        ("bob", 1, "0.000110000"),
    ]
    assert queried == [{"total": "0.000220000"}]
    assert "alice" in run("sql", "SELECT user_id FROM spend_events").out
    for since in ("2000-01-01", "2000-01-01T00:00:00Z", "520w"):
        assert run("spend", "show", "--by", "day", "--since", since, "--json").json
    assert run("spend", "show", "--by", "day", "--since", "2999-01-01").out == "no rows\n"


def test_maintenance_removes_what_is_delivered_and_older_than_the_retention(
    run: Run, spent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("job", "drain")

    young = run("job", "maintain", "--json").json
    monkeypatch.setenv("SPENDGATE_LEDGER_RETENTION_SECONDS", "0.000001")
    old = run("job", "maintain", "--json").json

    assert young["holds_removed"] == 0
    # The last call's end is the ledger's own idea of now.
    assert (old["holds_removed"], old["balances_removed"]) == (1, 0)
    assert run("audit", "--json").json["problems"] == []
    assert run("spend", "show", "--json").json[0]["spent_usd"] == "0.000220000"


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["spend", "show", "--by", "planet"], 2, "'planet' is unknown; known are org"),
        (["spend", "show", "--since", "1d"], 2, "--since needs --by"),
        (["spend", "show", "--by", "user", "--since", "9999w"], 2, "up to ten years"),
        (["spend", "show", "--by", "user"], 1, "there is no table spend_events"),
        (["sql", "SELECT 1 FROM nothing"], 1, "there is no table nothing"),
        (["sql", "DROP TABLE spend_events"], 1, "only a SELECT"),
        (["job", "launder"], 2, "there is no job 'launder'; there are: setup, drain, aggre"),
    ],
)
def test_a_wrong_question_is_told(
    run: Run, spent: None, arguments: list[str], code: int, problem: str
) -> None:
    told = run(*arguments, code=code)

    assert problem in told.err
    assert "Traceback" not in told.err


def test_the_audit_passes_until_somebody_edits_a_balance(run: Run, home: Path, spent: None) -> None:
    passed = run("audit", "--json").json
    with sqlite3.connect(home / "ledger.db") as connection:
        connection.execute("UPDATE balance SET spent = spent + 1")
    connection.close()

    failed = run("audit", code=1)

    assert passed == {"problems": [], "balances_checked": 3, "events": 2, "holds_open": 0}
    assert "journal says" in failed.out
    assert "3 problems in 3 balances" in failed.out


def test_a_new_price_holds_from_its_date_and_keeps_the_older_one(run: Run, home: Path) -> None:
    run("price", "set", HAIKU, "--input", "2", "--output", "9", "--from", "2030-01-01")

    listed = run("price", "list", "--model", HAIKU, "--json").json
    rows = [one for one in listed if one["geo"] == "global"]
    (now,) = (
        one
        for one in run("price", "list", "--json").json
        if one["model"] == HAIKU and one["geo"] == "global"
    )
    assert rows[-1]["effective_from"] == "2030-01-01T00:00:00Z"
    assert rows[-1]["usd_per_million"] == {
        "input": "2.00",
        "output": "9.00",
        # not named, so they keep their proportion to the input: 0.1, 1.25 and 2 times
        "cache_read": "0.20",
        "cache_write": "2.50",
        "cache_write_1h": "4.00",
    }
    assert now["usd_per_million"]["input"] == "1.00"


def test_a_model_of_ones_own_gets_a_price_with_dbus(run: Run, ledger: SqliteLedger) -> None:
    told = run(
        *("price", "set", "my-own", "--input", "0.5", "--output", "1.5", "--cache-read", "0.1"),
        *("--dbu-input", "7", "--dbu-output", "21"),
    )

    book = open_price_book(Settings(), ledger)
    price = book.price_for("my-own", at=datetime.now(UTC))
    assert "my-own costs input 0.5, cache_read 0.1, output 1.5 USD per million" in told.out
    assert price is not None
    assert price.usd_pico[TokenClass.OUTPUT] == 1_500_000
    assert price.dbu_pico is not None
    assert price.dbu_pico[TokenClass.INPUT] == 7_000_000


def test_a_price_change_keeps_what_is_known_about_the_model(run: Run, ledger: SqliteLedger) -> None:
    before = open_price_book(Settings()).price_for(HAIKU, at=datetime.now(UTC))

    run("price", "set", HAIKU, "--input", "2", "--output", "9")

    after = open_price_book(Settings(), ledger).price_for(HAIKU, at=datetime.now(UTC))
    assert before is not None
    assert after is not None
    assert after.usd_pico[TokenClass.INPUT] == 2_000_000
    assert after.caches_implicitly == before.caches_implicitly
    assert after.output_tokens_max == before.output_tokens_max


def test_an_embedding_needs_no_output_price_and_a_chat_model_does(run: Run) -> None:
    run("price", "set", "my-embedding", "--input", "0.1", "--kind", "embedding")

    told = run("price", "set", "my-chat", "--input", "0.1", code=2)

    assert "a chat model needs --output" in told.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["set", "m", "--input", "0", "--output", "1"], "usd_per_million.input: must be above 0"),
        (["set", "m", "--input", "1", "--output", "x"], "usd_per_million.output: not a decimal"),
        (["list", "--model", "nope"], "'nope' has no price"),
    ],
)
def test_a_wrong_price_is_told(run: Run, arguments: list[str], problem: str) -> None:
    assert problem in run("price", *arguments, code=1).err


def test_the_shipped_prices_are_listed_without_making_a_ledger(run: Run, home: Path) -> None:
    assert HAIKU in run("price", "list").out
    assert not home.exists()


def test_a_minted_token_vouches_for_its_scopes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", KEY)
    before = datetime.now(UTC)

    minted = run(
        *("token", "mint", "--agent", "bot", "--org", "acme", "--tag", "centre=1"),
        *("--model", HAIKU, "--ttl", "60", "--json"),
    ).json

    claims = SpendTokenVerifier(KEY).verify(minted["spend_token"])
    ends = datetime.fromisoformat(minted["expires_at"])
    assert claims.scopes == {"agent": "bot", "org": "acme"}
    assert (claims.tags, claims.models) == ({"centre": "1"}, (HAIKU,))
    assert timedelta(seconds=58) <= ends - before <= timedelta(seconds=120)


def test_a_token_is_shown_with_whether_our_key_vouches_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", KEY)
    token = run("token", "mint", "--user", "u", "--ttl", "60").out.strip()

    ours = run("token", "show", token, "--json").json
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", KEY[::-1])
    forged = run("token", "show", token, "--json", code=1).json
    monkeypatch.delenv("SPENDGATE_SIGNING_KEY")
    unknown = run("token", "show", token)

    assert (ours["user"], ours["verified"]) == ("u", True)
    assert forged["verified"] is False
    assert "no signing key is configured" in unknown.out


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["mint", "--ttl", "60"], 1, "at least one scope"),
        (["mint", "--user", "u"], 2, "Missing option '--ttl'"),
        (["mint", "--user", "u", "--ttl", "0"], 2, "--ttl"),
        (["mint", "--user", "u", "--ttl", "60", "--tag", "x"], 2, "write it like name=value"),
        (["show", "no-token"], 1, "this is no spend token"),
    ],
)
def test_a_wrong_token_command_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, problem: str
) -> None:
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", KEY)

    assert problem in run("token", *arguments, code=code).err


def test_a_token_can_not_be_minted_without_a_key(run: Run) -> None:
    told = run("token", "mint", "--user", "u", "--ttl", "60", code=1)

    assert "set SPENDGATE_SIGNING_KEY" in told.err


def test_the_doctor_warns_on_a_fresh_home_and_makes_nothing(run: Run, home: Path) -> None:
    found = {one["check"]: one for one in run("doctor", "--json").json}

    assert found["python"]["status"] == "ok"
    assert found["ledger"]["status"] == "warn"
    assert found["upstream"]["status"] == "warn"
    assert all(one["way_out"] for one in found.values() if one["status"] != "ok")
    assert not home.exists()


def test_the_doctor_needs_no_server_of_the_hosts_where_the_policy_names_some(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "named.yml"
    file.write_text(f"budgets: []\nupstreams:\n  vllm: {{url: {NOBODY}}}\n")

    told = run("doctor", "--budgets", str(file), "--json")

    found = {one["check"]: one for one in json.loads(told.out)}
    assert found["upstream"]["status"] == "ok"
    assert "the policy names" in found["upstream"]["detail"]


def test_the_doctor_fails_on_what_would_stop_calls(
    run: Run, spent: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("budgets: nothing")
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", "short")

    told = run("doctor", "--upstream", NOBODY, "--budgets", str(file), "--json", code=1)

    status = {one["check"]: one["status"] for one in json.loads(told.out)}
    assert status["upstream"] == "fail"
    assert status["policy file"] == "fail"
    assert status["signing key"] == "warn"
    assert status["policy"] == status["prices"] == status["outbox"] == "ok"


def test_the_doctor_gives_the_ledgers_figures(run: Run, spent: None) -> None:
    found = {one["check"]: one for one in run("doctor", "--json").json}

    figures = found["ledger"]["figures"]
    assert figures["commit_ms"] > 0
    assert (figures["journal_rows"], figures["balances"]) == (2, 3)
    assert found["outbox"]["figures"]["waiting_events"] == 2
    assert found["holds"]["figures"] == {
        "held_usd": "0.000000000",
        "open_holds": 0,
        "overdue_holds": 0,
        "overdue_s": 0,
    }
    assert found["holds"]["status"] == "ok"


def test_the_doctor_warns_of_holds_that_nobody_ends(run: Run, ledger: SqliteLedger) -> None:
    run("budget", "set", "users", "--scope", "user:*", "--limit", "5", "--window", "lifetime")
    hour_ago = utc_now() - timedelta(hours=1)
    claims = ledger.policies.policy().claims(Identity({"user": "ann"}), hour_ago)
    facts = CallFacts(1, hour_ago, {"user": "ann"}, "m", "m", "up", "global", "", "allow", ())
    candidates = {"m": Candidate("m", 0, 1_000_000, 100, 0, "p")}
    version = ledger.policy_version()
    request = ReserveRequest("h", "h", claims, candidates, "m", facts, version, hour_ago)
    ledger.reserve([request])

    holds = {one["check"]: one for one in run("doctor", "--json").json}["holds"]

    assert holds["status"] == "warn"
    assert holds["figures"]["held_usd"] == "0.000100000"
    assert holds["figures"]["overdue_holds"] == 1
    assert holds["figures"]["overdue_s"] >= 3600
    assert "sweeper" in holds["way_out"]


def test_the_doctor_counts_the_calls_of_an_outage_that_nobody_booked(
    run: Run, ledger: SqliteLedger, home: Path
) -> None:
    assert "unheld calls" not in {one["check"] for one in run("doctor", "--json").json}
    (home / "unheld").mkdir()
    (home / "unheld" / "call%231.json").write_text("{}")

    unheld = {one["check"]: one for one in run("doctor", "--json").json}["unheld calls"]

    assert (unheld["status"], unheld["figures"]) == ("warn", {"unheld_calls": 1})


def test_the_doctor_finds_a_damaged_ledger(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "ledger.db").write_bytes(b"this is no database" * 100)

    found = {one["check"]: one for one in run("doctor", "--json", code=1).json}

    assert found["ledger"]["status"] == "fail"
    assert "restore it from a copy" in found["ledger"]["detail"]
    assert "1 fail" in run("doctor", code=1).out


def test_a_setting_that_can_not_be_used_is_named_without_its_value(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPENDGATE_FLUSH_SECONDS", "s3cr3t")

    told = run("doctor", code=1)

    assert told.err.startswith("error: SPENDGATE_FLUSH_SECONDS: ")
    assert "s3cr3t" not in told.err
