"""`spendgate adjust` on a ledger with real calls, and what it leaves in ledger and tables."""

import os
import pwd
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.bootstrap import new_request_id, open_price_book, utc_now
from spendgate.config import Settings
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import UpstreamAnswer, UpstreamOutcome
from spendgate.gateway.terms import Terms
from spendgate.gateway.wire import CHAT, Host

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""
HAIKU = "databricks-claude-haiku-4-5"
COST = "0.000110000"


class TerseModel:
    """A model server that always answers 20 tokens to 10."""

    name = "terse"

    def stream(self, route: str, body: object) -> UpstreamOutcome:
        return self.call(route, body)  # it never streams

    def call(self, route: str, body: object) -> UpstreamOutcome:
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        return UpstreamAnswer(200, {"id": "x", "model": HAIKU, "choices": [], "usage": usage})


@pytest.fixture
def gateway(run: Run, ledger: SqliteLedger) -> Gateway:
    """A gate with budgets, before a model server that answers."""
    run("budget", "set", "users", "--scope", "user:*", "--limit", "5", "--window", "day")
    run("budget", "set", "org", "--scope", "org:acme", "--limit", "50", "--window", "lifetime")
    return Gateway(
        ledger,
        TerseModel(),
        lambda: open_price_book(Settings(), ledger),
        clock=utc_now,
        new_id=new_request_id,
        verifier=None,
        terms=Terms(),
    )


@pytest.fixture
def called(gateway: Gateway) -> str:
    """Alice has paid for one call; answers its hold."""
    body = {
        "model": HAIKU,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 50,
        "custom_inputs": {"org": "acme", "user": "alice"},
    }
    reply: Any = gateway.handle(CHAT, body, host=Host.ASGI)
    assert reply.status == 200
    return f"{reply.body['spend']['request_id']}#1"


def standing(run: Run) -> dict[str, str]:
    rows = run("spend", "show", "--json").json
    return {one["scope"]: one["spent_usd"] for one in rows}


def test_a_wrong_price_a_wrong_user_and_spend_elsewhere_end_up_everywhere(
    run: Run, called: str
) -> None:
    price = ("adjust", "--hold", called, "--cost-usd", "0.0001", "--reason", "old rate")
    run(*price, "--id", "fix-1")
    again = run(*price, "--id", "fix-1", "--json").json
    run("adjust", "--hold", called, "--to", "user:bob", "--reason", "wrong user", "--by", "olga")
    run(
        *("adjust", "--charge", "2", "--scope", "org:acme,user:carl", "--external"),
        *("--model", "gpt-x", "--reason", "batch outside"),
    )

    assert (again["moved"], again["amount_usd"]) == (False, "-0.000010000")
    assert standing(run) == {
        "org:acme": "2.000100000",
        "user:alice": "0.000000000",
        "user:bob": "0.000100000",
        "user:carl": "2.000000000",
    }
    assert run("audit", "--json").json["problems"] == []
    run("job", "drain")
    me = pwd.getpwuid(os.getuid()).pw_name
    rows = run(
        "sql",
        "SELECT kind, user_id, model, cost_usd, adjustment_id, adjusted_by, reason "
        "FROM spend_events ORDER BY recorded_at, event_id",
        "--json",
    ).json
    assert [tuple(row.values())[:4] for row in rows] == [
        ("settled", "alice", HAIKU, COST),
        ("corrected", "alice", HAIKU, "-0.000010000"),
        ("corrected", "alice", HAIKU, "-0.000100000"),
        ("corrected", "bob", HAIKU, "0.000100000"),
        ("external", "carl", "gpt-x", "2.000000000"),
    ]
    assert [row["adjusted_by"] for row in rows] == [None, me, "olga", "olga", me]
    assert (rows[1]["adjustment_id"], rows[1]["reason"]) == ("fix-1", "old rate")
    by_user = run("spend", "show", "--by", "user", "--json").json
    assert {one["user"]: one["requests"] for one in by_user} == {"alice": 1, "bob": 0, "carl": 0}


def test_a_credit_on_one_budget_leaves_the_others(run: Run, called: str) -> None:
    told = run(
        *("adjust", "--credit", "0.00001", "--budget", "users", "--scope", "user:alice"),
        *("--reason", "a gift", "--json"),
    ).json

    assert told["kind"] == "corrected"
    assert [one["budget_id"] for one in told["budgets"]] == ["users"]
    assert standing(run) == {"org:acme": COST, "user:alice": "0.000100000"}


def test_a_charge_falls_into_the_window_of_its_time(run: Run, called: str) -> None:
    run("adjust", "--charge", "1", "--scope", "org:acme,user:alice", "--at", "3d", "--reason", "x")

    assert standing(run) == {"org:acme": "1.000110000", "user:alice": COST}


HOLD = ("--hold", "HOLD")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--charge", "1"], 2, "say whose with --scope or --budget"),
        (["--scope", "all"], 2, "say what to adjust"),
        ([*HOLD], 2, "say what to adjust"),
        ([*HOLD, "--charge", "1"], 2, "say what to adjust"),
        ([*HOLD, "--to", "user:x", "--cost-usd", "1"], 2, "give --to or --cost-usd, not both"),
        ([*HOLD, "--cost-usd", "1", "--at", "1h"], 2, "leave out --budget"),
        (
            ["--charge", "1", "--credit", "1", "--scope", "all"],
            2,
            "give --credit or --charge, not both",
        ),
        (["--credit", "1", "--scope", "user:a", "--external"], 2, "goes with --charge"),
        (["--charge", "0", "--scope", "user:a"], 2, "must be more than 0"),
        (["--charge", "-1", "--scope", "user:a"], 2, "must be more than 0"),
        (["--charge", "nan", "--scope", "user:a"], 2, "not a finite amount"),
        (["--charge", "9200000001", "--scope", "user:a"], 2, "more than a ledger holds"),
        (["--charge", "1", "--scope", "user:a", "--at", "2999-01-01"], 2, "yet to come"),
        (["--charge", "1", "--scope", "user:a", "--at", "soon"], 2, "for --at: 'soon' is no time"),
        (["--charge", "1", "--scope", "user"], 2, "for --scope: 'user' is no scope"),
        ([*HOLD, "--to", "user"], 2, "for --to: 'user' is no scope"),
        (["--charge", "1", "--scope", "agent:a"], 1, "no budget covers agent:a"),
        (["--charge", "1", "--scope", "user:a", "--id", "a b"], 1, "the id must be"),
        (["--credit", "1", "--scope", "user:alice"], 1, "would be taken off"),
        ([*HOLD, "--cost-usd", "0.00011"], 1, "nothing would change"),
        ([*HOLD, "--to", "user:alice"], 1, "nothing would change"),
        ([*HOLD, "--to", "user:*"], 1, "name who pays"),
        (["--hold", "nobody#1", "--to", "user:x"], 1, "there is no hold 'nobody#1'"),
        (["--hold", "nobody#1", "--cost-usd", "1"], 1, "there is no hold 'nobody#1'"),
    ],
)
def test_what_can_t_be_adjusted_is_told_and_moves_nothing(
    run: Run, called: str, arguments: list[str], code: int, problem: str
) -> None:
    before = standing(run)
    given = [called if one == "HOLD" else one for one in arguments]

    told = run("adjust", *given, "--reason", "x", code=code)

    assert problem in told.err
    assert "Traceback" not in told.err
    assert standing(run) == before


def test_an_adjustment_needs_a_reason(run: Run, called: str) -> None:
    assert "--reason" in run("adjust", "--charge", "1", "--scope", "user:a", code=2).err
    assert (
        "reason must be"
        in run(*("adjust", "--charge", "1", "--scope", "user:a", "--reason", " "), code=1).err
    )


def test_a_callers_own_hold_is_found_by_both_of_its_spellings(run: Run, gateway: Gateway) -> None:
    own = {"operation": "reserve", "org": "acme", "user": "alice"}
    body = {
        "model": HAIKU,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 50,
        "custom_inputs": own,
    }
    hold: Any = gateway.handle(CHAT, body, host=Host.ASGI).body
    ended = {"operation": "settle", "hold_id": hold["hold_id"], "org": "acme", "user": "alice"}
    assert gateway.handle(CHAT, {"custom_inputs": ended}, host=Host.ASGI).status == 200
    price = ("--cost-usd", "0.0001", "--reason", "old rate", "--id", "once", "--json")

    shown = run("adjust", "--hold", hold["hold_id"], *price).json
    stored = run("adjust", "--hold", hold["client_request_id"], *price).json

    assert hold["hold_id"] != hold["client_request_id"] == shown["hold_id"]
    assert (shown["moved"], stored["moved"]) == (True, False)


def test_a_raise_that_is_over_is_in_no_figure_of_what_was_spent_under_it(
    run: Run, called: str
) -> None:
    over = utc_now() + timedelta(milliseconds=300)
    amount = ("--amount", "100", "--reason", "launch")
    run("budget", "raise", "users", *amount, "--expires-at", over.isoformat())
    while utc_now() <= over:
        time.sleep(0.05)
    booked = ("--charge", "0.1", "--scope", "user:alice")
    before = (utc_now() - timedelta(seconds=1)).isoformat()  # while it held

    for what in (("--hold", called, "--cost-usd", "0.5"), (*booked, "--at", before)):
        shown = run("adjust", *what, "--reason", "the bill", "--json").json
        limits = {one["budget_id"]: one["limit_usd"] for one in shown["budgets"]}
        assert limits["users"] == "5"
