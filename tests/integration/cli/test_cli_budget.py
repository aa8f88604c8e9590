"""`spendgate budget …`, `pause` and `resume`: people change budgets, a running gate sees it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spendgate.adapters.sqlite_ledger import SqliteLedger
from spendgate.domain.budget import Mode
from spendgate.domain.scope import Identity, Scope

Run = Callable[..., Any]
"""Runs one command, checks its exit code, and answers what it printed (see conftest.py)."""

POLICY = Path(__file__).parents[3] / "budgets.yml"
NOW = datetime(2026, 1, 15, tzinfo=UTC)
SONNET, HAIKU = "databricks-claude-sonnet-4-5", "databricks-claude-haiku-4-5"


@pytest.fixture
def bot(run: Run) -> str:
    run("budget", "set", "bot", "--scope", "agent:triage-bot", "--limit", "5", "--window", "day")
    return "bot"


def test_a_new_budget_is_listed_with_all_its_fields(run: Run) -> None:
    told = run(
        *("budget", "set", "bot", "--scope", "org:acme,agent:*", "--limit", "0.25"),
        *("--window", "rolling:24h", "--tz", "Europe/Berlin", "--soft-cap", "0.5"),
        *("--hard-cap", "0.9", "--downgrade", f"{SONNET}={HAIKU}", "--disable-tool", "web_search"),
        *("--mode", "shadow", "--no-fit", "--min-output-tokens", "7", "--alerts", "0.5,1"),
    )

    (shown,) = run("budget", "list", "--json").json
    assert "added: org:acme,agent:*, 0.25 USD per rolling:24h" in told.out
    assert "a running server sees it at its next call" in told.out
    assert shown["scope"] == {"org": "acme", "agent": "*"}
    assert shown["auto_downgrade"] == [{"from": [SONNET], "to": HAIKU}]
    assert (shown["soft_cap"], shown["hard_cap"], shown["alerts"]) == (0.5, 0.9, [0.5, 1.0])
    assert (shown["mode"], shown["fit"], shown["min_output_tokens"]) == ("shadow", False, 7)
    assert (shown["limit_usd"], shown["source"]) == ("0.25", "people")


def test_a_change_touches_only_the_fields_it_names(
    run: Run, bot: str, ledger: SqliteLedger
) -> None:
    before = ledger.policies.policy().budget(bot)

    told = run("budget", "set", bot, "--limit", "8", "--mode", "shadow")

    after = ledger.policies.policy().budget(bot)
    assert before is not None
    assert after is not None
    assert "limit_usd 5 -> 8, mode enforce -> shadow" in told.out
    assert (after.limit_nano, after.mode) == (8 * 10**9, Mode.SHADOW)
    assert (after.scope, after.window) == (before.scope, before.window)


def test_a_change_to_what_already_is_leaves_the_policy_version(
    run: Run, bot: str, ledger: SqliteLedger
) -> None:
    version = ledger.policy_version()

    told = run("budget", "set", bot, "--limit", "5.00")

    assert "already so" in told.out
    assert ledger.policy_version() == version


def test_a_chain_and_tools_are_cleared_by_none(run: Run, bot: str, ledger: SqliteLedger) -> None:
    run("budget", "set", bot, "--downgrade", f"{SONNET}={HAIKU}", "--disable-tool", "search")

    run("budget", "set", bot, "--downgrade", "none", "--disable-tool", "none")

    budget = ledger.policies.policy().budget(bot)
    assert budget is not None
    assert (budget.auto_downgrade, budget.disable_tools) == ((), ())


@pytest.mark.parametrize(
    ("flags", "code", "problem"),
    [
        (["--limit", "-3"], 1, "error: budget 'bot': limit_usd: -3 must be above 0"),
        (["--soft-cap", "1.2"], 1, "soft_cap: 1.2 is above hard_cap 1.0"),
        (["--window", "fortnight"], 1, "window: 'fortnight' is not a window"),
        (["--downgrade", "nope=nada"], 1, "'nope' has no price"),
        (["--downgrade", f"{SONNET}={SONNET}"], 1, "goes in a circle"),
        (["--downgrade", "nope"], 2, "write it FROM=TO"),
        (["--scope", "planet:mars"], 2, "unknown scope 'planet'"),
        (["--min-output-tokens", "many"], 2, "should be a valid integer"),
    ],
)
def test_a_wrong_change_is_told_and_changes_nothing(
    run: Run, bot: str, ledger: SqliteLedger, flags: list[str], code: int, problem: str
) -> None:
    before = ledger.policies.policy()

    told = run("budget", "set", bot, *flags, code=code)

    assert problem in told.err
    assert "Traceback" not in told.err
    assert told.out == ""
    assert ledger.policies.policy() == before


def test_a_new_budget_needs_a_scope_and_a_limit(run: Run) -> None:
    told = run("budget", "set", "new", "--window", "day", code=2)

    assert "budget 'new' is new: it needs --scope and --limit" in told.err


def test_a_raise_adds_to_the_limit_until_it_ends(run: Run, bot: str, ledger: SqliteLedger) -> None:
    told = run("budget", "raise", bot, "--amount", "2.5", "--reason", "launch", "--for", "24h")

    policy = ledger.policies.policy()
    budget = policy.budget(bot)
    now = datetime.now(UTC)
    assert budget is not None
    assert "limit 5 -> 7.5 USD until" in told.out
    assert policy.limit(budget, now) == 7_500_000_000
    assert policy.limit(budget, now + timedelta(hours=25)) == 5_000_000_000
    assert run("budget", "list", "--json").json[0]["limit_now_usd"] == "7.5"
    assert "5 + 2.5" in run("budget", "list").out


def test_each_raise_counts(run: Run, bot: str) -> None:
    for _ in range(2):
        run("budget", "raise", bot, "--amount", "1", "--reason", "launch")

    assert run("budget", "list", "--json").json[0]["limit_now_usd"] == "7"


@pytest.mark.parametrize(
    ("flags", "code", "problem"),
    [
        (["bott", "--amount", "1"], 1, "there is no budget 'bott'; did you mean bot?"),
        (["bot", "--amount", "0"], 1, "amount_usd: 0 must be above 0"),
        (["bot", "--amount", "9200000000"], 1, "more than a ledger can hold"),
        (["bot", "--amount", "1", "--expires-at", "2001-01-01"], 2, "is past"),
        (
            ["bot", "--amount", "1", "--expires-at", "soon"],
            2,
            "for --expires-at: 'soon' is no time",
        ),
        (["bot", "--amount", "1", "--for", "a day"], 2, "for --for: 'a day' is no duration"),
        (["bot", "--amount", "1", "--for", "1d", "--expires-at", "2099-01-01"], 2, "not both"),
    ],
)
def test_a_wrong_raise_is_told(
    run: Run, bot: str, flags: list[str], code: int, problem: str
) -> None:
    told = run("budget", "raise", *flags, "--reason", "launch", code=code)

    assert problem in told.err
    assert run("budget", "list", "--json").json[0]["raises"] == []


def test_a_removed_budget_is_gone_with_its_raises(run: Run, bot: str) -> None:
    run("budget", "raise", bot, "--amount", "1", "--reason", "launch")

    told = run("budget", "remove", bot)

    assert "'bot' (agent:triage-bot) removed" in told.out
    assert run("budget", "list", "--json").json == []
    assert "there is no budget 'bot'" in run("budget", "remove", bot, code=1).err


def test_an_imported_policy_file_leaves_rows_that_people_own(run: Run) -> None:
    run("budget", "import", str(POLICY))
    taken = run("budget", "set", "org-monthly", "--limit", "600")

    told = run("budget", "import", str(POLICY))

    limits = {one["id"]: one["limit_usd"] for one in run("budget", "list", "--json").json}
    assert "the row is now yours" in taken.err
    assert "budget 'org-monthly' is kept as people set it" in told.err
    assert limits["org-monthly"] == "600"
    assert limits["user-daily"] == "5"


def test_a_removed_row_of_the_file_is_said_to_come_back(run: Run) -> None:
    run("budget", "import", str(POLICY))

    told = run("budget", "remove", "user-daily")

    assert "it comes back with the file" in told.err


def test_a_wrong_policy_file_changes_nothing(run: Run, bot: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("budgets: [{id: a, scope: {}, limit_usd: 1}, {id: b, scope: {}}]")

    told = run("budget", "import", str(file), code=1)

    assert told.err == "error: wrong.yml: budget 'b': limit_usd: is required\n"
    assert [one["id"] for one in run("budget", "list", "--json").json] == [bot]


def test_imported_profiles_are_owned_by_people_and_replace_themselves(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "profiles.json"
    for limit in (5, 6):
        profile = {"scopeType": "agent", "scopeKey": "bot", "limit": limit, "period": "daily"}
        file.write_text(json.dumps({"profiles": [profile]}))
        told = run("budget", "import", str(file))

    (shown,) = run("budget", "list", "--json").json
    assert "budget 'agent-bot-day' changed: agent:bot" in told.out
    assert (shown["limit_usd"], shown["window"], shown["source"]) == ("6", "day", "people")


def test_a_policy_written_as_json_is_a_policy(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"budgets": [{"id": "a", "scope": {}, "limit_usd": "1"}]}')

    run("budget", "import", str(file))

    assert run("budget", "list", "--json").json[0]["source"] == "file"


def test_a_paused_scope_is_refused_until_it_is_resumed(
    run: Run, bot: str, ledger: SqliteLedger
) -> None:
    triage = Identity({"agent": "triage-bot"})

    run("pause", "agent:triage-bot", "--reason", "runs wild")

    assert ledger.policies.policy().paused_scope(triage) is not None
    assert [one["reason"] for one in run("pause", "--json").json] == ["runs wild"]
    assert "paused: agent:triage-bot" in run("budget", "list").out

    run("resume", "agent:triage-bot")

    assert ledger.policies.policy().paused_scope(triage) is None
    told = run("resume", "agent:triage-bot", code=1)
    assert "agent:triage-bot isn't paused; nothing is" in told.err


def test_a_star_within_a_value_makes_no_budget_and_no_pause(
    run: Run, bot: str, ledger: SqliteLedger
) -> None:
    before = ledger.policies.policy()

    for command in (
        ("budget", "set", "bots", "--scope", "agent:bot-*", "--limit", "1"),
        ("pause", "agent:bot-*"),
        ("token", "revoke", "--scope", "agent:bot-*"),
    ):
        assert "a * within a value stands for nothing" in run(*command, code=2).err

    assert ledger.policies.policy() == before


def test_a_pause_of_a_star_within_a_value_that_was_taken_before_is_lifted(
    run: Run, bot: str, ledger: SqliteLedger
) -> None:
    ledger.policies.pause(Scope.parse("agent:bot-*"), "of an earlier version", NOW)

    run("resume", "agent:bot-*")

    assert ledger.policies.pauses() == []


def test_a_command_on_a_home_without_a_ledger_makes_none(run: Run, home: Path) -> None:
    told = run("budget", "list", code=1)

    assert told.err.startswith("error: there is no ledger at sqlite:///")
    assert not home.exists()


def test_explain_says_what_would_be_decided_and_moves_nothing(
    run: Run, bot: str, ledger: SqliteLedger
) -> None:
    flags = ("budget", "explain", "--agent", "triage-bot", "--model", HAIKU)

    allowed = run(*flags, "--json").json
    told = run(*flags)

    assert (allowed["decision"], allowed["model_served"]) == ("allow", HAIKU)
    assert [one["budget_id"] for one in allowed["budgets"]] == ["bot"]
    assert told.out.startswith(f"allow: {HAIKU} with up to ")
    assert ledger.balances() == []


def test_explain_names_the_server_that_would_be_called(
    run: Run, bot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("budget", "explain", "--agent", "triage-bot", "--model", HAIKU)

    told = run(*flags)
    monkeypatch.setenv("SPENDGATE_UPSTREAM_URL", "http://models.example/v1")
    named = run(*flags, "--json").json

    assert "(host's own)" in told.out
    assert "invalid" not in told.out
    assert [one["upstream"] for one in named["candidates"]] == ["models.example"]


def test_explain_names_the_budget_that_refuses(run: Run, bot: str) -> None:
    run("budget", "set", bot, "--limit", "0.000001")

    told = run("budget", "explain", "--agent", "triage-bot", "--model", HAIKU)

    assert told.out.startswith("refused (budget_exhausted): budget 'bot' can't hold ")


def test_explain_reads_a_request_and_vouches_for_its_flags_with_the_key(
    run: Run, bot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", "k" * 32)
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"model": SONNET, "messages": [{"role": "user", "content": "hi"}]}))
    flags = ("--body", str(body), "--model", HAIKU, "--agent", "triage-bot", "--tag", "centre=1")

    explained = run("budget", "explain", *flags, "--json").json

    assert explained["model_requested"] == HAIKU
    assert explained["trusted"] == ["agent", "tag.centre"]


def test_explain_without_a_model_names_its_own_flag(run: Run, bot: str, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"messages": [{"role": "user", "content": "hi"}]}))

    for flags in ((), ("--body", str(body))):
        told = run("budget", "explain", "--agent", "triage-bot", *flags, code=1)

        assert told.err == "error: no model is named; give --model, or model in the --body\n"


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "is not JSON"), ("[]", "must be a JSON object")]
)
def test_explain_refuses_a_body_that_is_no_request(
    run: Run, bot: str, tmp_path: Path, text: str, problem: str
) -> None:
    body = tmp_path / "body.json"
    body.write_text(text)

    assert problem in run("budget", "explain", "--body", str(body), code=1).err


@pytest.mark.parametrize("words", [("raise",), ("request",)])
def test_a_raise_below_zero_is_told_how_a_limit_is_lowered(
    run: Run, words: tuple[str, ...]
) -> None:
    run("budget", "set", "org", "--scope", "org:acme", "--limit", "50")

    told = run("budget", *words, "org", "--amount", "-5", "--reason", "r", code=1).err

    assert "-5 must be above 0: it is added to the limit; to lower that, set the budget's" in told
    assert "pause" not in told
