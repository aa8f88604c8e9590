"""Who may end a hold that was reserved over the wire: who could have reserved it, nobody else."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.gateway.two_phases import COST_NANO, KEY, USAGE, Open, code, end, held, token

from spendgate.adapters.spend_token import SpendTokenVerifier
from spendgate.domain.revocation import Revocation
from spendgate.gateway.reply import Reply


@pytest.fixture
def keyed(gate: Open) -> Any:
    return gate(verifier=SpendTokenVerifier(KEY))


@pytest.fixture
def hold_id(keyed: Any) -> str:
    own = {"spend_token": token(user="alice", team="t"), "user": None, "session": "s"}
    return held(keyed, own)["hold_id"]


@pytest.mark.parametrize("operation", ["settle", "void"])
@pytest.mark.parametrize(
    "scopes",
    [
        {"user": "bob", "team": "t"},
        {"user": "alice"},
        {"team": "t"},
        {"user": "alice", "team": "t", "org": "more"},
        {"user": "alice", "team": "t", "session": "another"},
        {"user": "alice", "team": "t", "task": "narrower"},
    ],
    ids=lambda scopes: "-".join(scopes.values()),
)
def test_somebody_else_cannot(
    keyed: Any, hold_id: str, scopes: dict[str, str], operation: str
) -> None:
    before = keyed.held_nano

    reply = end(keyed, hold_id, operation, spend_token=token(**scopes))

    assert code(reply) == (404, "hold_not_found", "hold_id")
    assert (keyed.spent_nano, keyed.held_nano) == (0, before)


def test_nobody_can_without_a_token(keyed: Any, hold_id: str) -> None:
    assert code(end(keyed, hold_id, "void")) == (401, "invalid_spend_token", "spend_token")
    asserted = end(keyed, hold_id, "void", user="alice", team="t")
    assert code(asserted) == (401, "invalid_spend_token", "spend_token")


def test_an_asserted_name_is_no_proof(keyed: Any, hold_id: str) -> None:
    reply = end(keyed, hold_id, "void", spend_token=token(user="alice"), team="t")

    assert code(reply) == (403, "scope_forbidden", "custom_inputs.team")
    assert keyed.held_nano > 0


def test_a_revoked_token_cannot(keyed: Any, hold_id: str) -> None:
    mine = token(user="alice", team="t")
    claims = SpendTokenVerifier(KEY).verify(mine)
    revoked = Revocation.of_token(claims.token_ids[-1], "test", datetime.now(UTC))
    keyed.ledger.policies.revoke(revoked)

    assert code(end(keyed, hold_id, "void", spend_token=mine))[0] == 401


def test_who_reserved_it_can_by_another_token_too(keyed: Any, hold_id: str) -> None:
    bearer = {"authorization": f"Bearer {token(user='alice', team='t')}"}

    reply = end(keyed, hold_id, headers=bearer, usage=USAGE)

    assert reply.status == 200
    assert keyed.spent_nano == COST_NANO


def test_where_the_platform_says_who_calls_it_must_be_the_same_user(gate: Open) -> None:
    opened = gate()
    hold = held(opened, {"user": None}, vouched={"user": "alice"})
    body = {"custom_inputs": {"operation": "void", "hold_id": hold["hold_id"]}}

    other = opened.send(body, vouched={"user": "bob"})
    nobody = opened.send(body, vouched={})
    own = opened.send(body, vouched={"user": "alice"})

    assert [code(other)[0], code(nobody)[0], own.status] == [404, 401, 200]


def test_without_a_key_the_id_is_the_proof_and_what_is_said_must_agree(gate: Open) -> None:
    opened = gate()
    hold = held(opened)

    assert code(end(opened, hold["hold_id"], "void", user="bob"))[0] == 404
    assert code(end(opened, hold["hold_id"], "void", tags={"a": "b"}))[0] == 404
    assert end(opened, hold["hold_id"], "void").status == 200


@pytest.mark.parametrize("mark", ["#", "."])
def test_a_call_of_the_gate_cannot_be_settled_by_its_caller(
    gate: Open, answer: Open, mark: str
) -> None:
    """Its caller sees the id in a stream's header and would settle it for less."""
    opened = gate()
    replies: list[Reply] = []

    def while_it_runs(body: Any) -> Any:
        hold_id = body["client_request_id"].replace("#", mark)
        replies.append(end(opened, hold_id, usage={**USAGE, "completion_tokens": 0}))
        replies.append(end(opened, hold_id, "void"))
        return answer()

    opened.upstream.script.append(while_it_runs)
    opened.chat()

    assert [code(one)[0] for one in replies] == [404, 404]
    assert opened.spent_nano == COST_NANO
