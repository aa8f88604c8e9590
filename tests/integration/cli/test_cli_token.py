"""Narrowing and revoking tokens from the command line."""

import io
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spendgate.adapters.spend_token import SpendTokenVerifier

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Run

KEY = "a key that is long enough for HS256, really"


@pytest.fixture(autouse=True)
def _key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPENDGATE_SIGNING_KEY", KEY)


@pytest.fixture
def parent(run: "Run") -> str:
    return run(
        *("token", "mint", "--agent", "bot", "--model", "a", "--model", "b", "--ttl", "600")
    ).out.strip()


def test_an_operator_narrows_a_token(run: "Run", parent: str) -> None:
    child = run(
        *("token", "narrow", parent, "--user", "ann", "--tag", "subagent=reader"),
        *("--model", "a", "--ttl", "60", "--json"),
    ).json

    claims = SpendTokenVerifier(KEY).verify(child["spend_token"])
    assert claims.scopes == {"agent": "bot", "user": "ann"}
    assert (claims.tags, claims.models) == ({"subagent": "reader"}, ("a",))
    assert claims.asserted == frozenset()
    assert claims.token_ids == (
        *SpendTokenVerifier(KEY).verify(parent).token_ids,
        child["token_id"],
    )
    assert datetime.fromisoformat(child["expires_at"]) == claims.expires_at


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--agent", "other"], "--agent: the token is for another agent"),
        (["--model", "c"], "the token doesn't allow this model"),
        (["--user", "*"], "can't vouch for every user"),
    ],
)
def test_a_token_isnt_widened(run: "Run", parent: str, arguments: list[str], problem: str) -> None:
    assert problem in run("token", "narrow", parent, *arguments, code=1).err


def test_a_revoked_token_is_shown_as_revoked_and_listed(run: "Run", parent: str) -> None:
    child = run("token", "narrow", parent, "--task", "t").out.strip()
    token_id = run("token", "show", parent, "--json").json["jti"]
    assert run("token", "revoke", code=1).err.startswith("error: there is no ledger")

    told = run("token", "revoke", parent, "--reason", "laptop lost").out

    assert f"token {token_id} is revoked (laptop lost)" in told
    for text in (parent, child):
        shown = run("token", "show", text, "--json", code=1).json
        assert shown["verified"] is False
        assert "revoked" in shown["problem"]
    (row,) = run("token", "revoke", "--json").json
    assert (row["subject"], row["reason"]) == (f"token {token_id}", "laptop lost")
    assert row["expires_at"] is not None
    assert "laptop lost" in run("token", "revoke").out


def test_a_token_is_revoked_by_its_id_alone(run: "Run", parent: str) -> None:
    token_id = run("token", "show", parent, "--json").json["jti"]

    run("token", "revoke", token_id)

    assert run("token", "show", parent, "--json", code=1).json["verified"] is False


def test_a_scope_s_tokens_so_far_are_revoked(run: "Run", parent: str) -> None:
    told = run("token", "revoke", "--scope", "agent:bot").out

    assert "scope agent:bot, minted until now, is revoked" in told
    assert "revoked" in run("token", "show", parent, code=1).out


def test_a_token_may_come_from_stdin(
    run: "Run", parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(parent + "\n"))

    assert "is revoked" in run("token", "revoke", "-").out


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["revoke", "x", "--scope", "user:a"], 2, "not both"),
        (["revoke", "--scope", "planet:mars"], 2, "unknown scope"),
        (["revoke", "a.b"], 1, "this is no spend token"),
        (["revoke", "a\tb"], 1, "unprintable"),
        (["narrow", "a.b.c"], 1, "the spend token is invalid"),
    ],
)
def test_a_wrong_command_is_told(run: "Run", arguments: list[str], code: int, problem: str) -> None:
    assert problem in run("token", *arguments, code=code).err


def test_the_first_of_several_keys_signs(run: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPENDGATE_SIGNING_KEYS", json.dumps({"new": KEY[::-1]}))

    token = run("token", "mint", "--user", "u", "--ttl", "60").out.strip()

    shown = run("token", "show", token, "--json").json
    assert (shown["kid"], shown["verified"]) == ("new", True)
    assert "new HS256, without id HS256" in run("doctor").out


def test_a_model_that_a_parent_lacks_is_told_by_its_flag(run: "Run", parent: str) -> None:
    told = run("token", "narrow", parent, "--model", "c", code=1).err

    assert told.startswith("error: --model: ")


@pytest.mark.parametrize("command", [("mint",), ("narrow", "a.b.c")])
def test_a_token_lasts_ten_years_at_most(run: "Run", command: tuple[str, ...]) -> None:
    told = run("token", *command, "--ttl", "99999999999", code=2).err

    assert "--ttl" in told
    assert "316224000" in told
