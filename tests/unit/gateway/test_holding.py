"""Two phases over the wire: who may end a hold, what its end costs, and what a repeat does."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from spendgate.adapters.spend_token import SpendTokenVerifier, mint_token
from spendgate.domain.revocation import Revocation
from spendgate.errors import LedgerUnavailableError
from spendgate.gateway.reply import Reply

Open = Callable[..., Any]
KEY = "a key that is long enough for HS256, really"
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
COST_NANO = 20 * 3_000 + 5 * 15_000  # big: 3 and 15 USD per million


def reserve(gate: Any, own: dict[str, Any] | None = None, **fields: Any) -> Reply:
    return gate.chat(own={"operation": "reserve", **(own or {})}, **fields)


def held(gate: Any, own: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    reply = reserve(gate, own, **fields)
    assert reply.status == 200, reply.body
    return reply.body


def end(
    gate: Any, hold_id: object, operation: str = "settle", headers: Any = None, **own: Any
) -> Reply:
    inputs = {"operation": operation, "hold_id": hold_id, **own}
    return gate.send({"custom_inputs": inputs}, headers=headers)


def token(**scopes: str) -> str:
    return mint_token(KEY, scopes, ttl_seconds=600, now=datetime.now(UTC))


def code(reply: Reply) -> tuple[int, str, str | None]:
    error: Any = reply.body["error"]
    return reply.status, error["code"], error["param"]


def test_reserving_holds_the_worst_case_and_calls_nobody(gate: Open) -> None:
    opened = gate()

    hold = held(opened, temperature=0.5)

    assert opened.upstream.bodies == []
    assert opened.held_nano == int(hold["spend"]["reserved_usd"].replace(".", "")) > 0
    assert (hold["model"], hold["max_tokens"], hold["state"]) == ("big", 100, "held")
    assert hold["expires_at"] > "2026-03-10T12:00"
    assert hold["body"] == {
        "model": "big",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
        "temperature": 0.5,
    }
    assert hold["client_request_id"].replace("#", ".") == hold["hold_id"]


def test_the_body_is_what_was_granted(gate: Open, budget: Open) -> None:
    careful = budget(
        soft_cap=0.000001,
        auto_downgrade=[{"from": ["big"], "to": "small"}],
        disable_tools=["look"],
    )
    opened = gate(careful)
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]

    hold = held(opened, tools=tools, stream=True)

    assert hold["model"] == hold["body"]["model"] == "small"
    assert hold["tools_disabled"] == ["look"]
    assert "tools" not in hold["body"]
    assert hold["body"]["stream_options"] == {"include_usage": True}
    assert hold["spend"]["decision"] == "downgrade"


@pytest.mark.parametrize(
    "report", [{"usage": USAGE}, {"answer": {"choices": [], "usage": USAGE}}], ids=["usage", "all"]
)
def test_settling_charges_what_the_provider_reported(gate: Open, report: dict[str, Any]) -> None:
    opened = gate()
    hold = held(opened)

    reply = end(opened, hold["hold_id"], **report)

    assert (reply.status, reply.body["state"], reply.body["changed"]) == (200, "settled", True)
    assert (opened.spent_nano, opened.held_nano) == (COST_NANO, 0)
    spend: Any = reply.body["spend"]
    assert spend["cost_usd"] == "0.000135000"
    assert spend["usage_source"] == "reported"
    assert spend["budgets"][0]["spent_usd"] == "0.000135000"
    (event,) = opened.events
    assert event.hold_id == hold["client_request_id"]
    assert event.facts.model == "big"


@pytest.mark.parametrize(
    "report", [{}, {"usage": None}, {"answer": {"choices": []}}, {"usage": {"prompt_tokens": 0}}]
)
def test_unknown_usage_is_the_full_hold(gate: Open, report: dict[str, Any]) -> None:
    opened = gate()
    hold = held(opened)
    full = opened.held_nano
    if report.get("usage"):
        report["usage"]["completion_tokens"] = 0

    reply = end(opened, hold["hold_id"], **report)

    assert (opened.spent_nano, opened.held_nano) == (full, 0)
    assert reply.body["spend"]["usage_source"] == "reserved"  # type: ignore[index]


def test_a_repeated_settlement_answers_the_first_one(gate: Open) -> None:
    opened = gate()
    hold = held(opened)
    end(opened, hold["hold_id"], usage=USAGE)

    again = end(opened, hold["hold_id"], usage={**USAGE, "completion_tokens": 1})

    assert (again.status, again.body["changed"]) == (200, False)
    assert again.body["spend"]["cost_usd"] == "0.000135000"  # type: ignore[index]
    assert opened.spent_nano == COST_NANO


def test_a_void_releases_once(gate: Open) -> None:
    opened = gate()
    hold = held(opened)

    first, again = (end(opened, hold["hold_id"], "void") for _ in range(2))

    assert (first.body["state"], first.body["changed"]) == ("voided", True)
    assert (again.body["state"], again.body["changed"]) == ("voided", False)
    assert (opened.spent_nano, opened.held_nano) == (0, 0)


def test_a_void_after_a_settlement_changes_nothing(gate: Open) -> None:
    opened = gate()
    hold = held(opened)
    end(opened, hold["hold_id"], usage=USAGE)

    reply = end(opened, hold["hold_id"], "void")

    assert (reply.status, reply.body["state"], reply.body["changed"]) == (200, "settled", False)
    assert opened.spent_nano == COST_NANO


def test_a_settlement_after_a_void_is_told_that_it_is_not_charged(gate: Open) -> None:
    opened = gate()
    hold = held(opened)
    end(opened, hold["hold_id"], "void")

    reply = end(opened, hold["hold_id"], usage=USAGE)

    assert code(reply) == (409, "hold_voided", None)
    assert "spendgate adjust" in str(reply.body["message"])
    assert opened.spent_nano == 0


def test_a_settlement_after_the_expiry_corrects_the_charge(gate: Open) -> None:
    opened = gate()
    hold = held(opened)
    full = opened.held_nano
    opened.clock.advance(hours=1)
    opened.ledger.sweep(opened.clock())
    assert opened.spent_nano == full

    voided = end(opened, hold["hold_id"], "void")
    unknown = end(opened, hold["hold_id"])
    known = end(opened, hold["hold_id"], usage=USAGE)

    assert [one.body["state"] for one in (voided, unknown, known)] == [
        "expired",
        "expired",
        "settled",
    ]
    assert (opened.spent_nano, opened.held_nano) == (COST_NANO, 0)


def test_it_is_priced_as_when_it_was_reserved(gate: Open) -> None:
    opened = gate()
    hold = held(opened)
    opened.clock.advance(hours=2)
    opened.ledger.policies.put_price(
        '{"model": "big", "kind": "chat", "effective_from": "2026-03-10T13:00:00Z", "source": "t",'
        ' "usd_per_million": {"input": "30", "output": "150"}, "caches_implicitly": false}'
    )

    end(opened, hold["hold_id"], usage=USAGE)

    assert opened.spent_nano == COST_NANO


def test_refusals_are_those_of_a_call(gate: Open, budget: Open) -> None:
    opened = gate(budget(limit_usd=0.000001))

    assert code(reserve(opened)) == (402, "budget_exhausted", None)
    assert code(reserve(opened, messages=[])) == (400, "invalid_request", "messages")
    assert opened.held_nano == 0


def test_a_paused_scope_still_settles_what_it_has_held(gate: Open) -> None:
    opened = gate()
    hold = held(opened)
    opened.ledger.policies.pause(opened.gateway.policy.budgets[0].scope, "test", opened.clock())

    assert end(opened, hold["hold_id"], usage=USAGE).status == 200


class TestWhoMayEndIt:
    @pytest.fixture
    def keyed(self, gate: Open) -> Any:
        return gate(verifier=SpendTokenVerifier(KEY))

    @pytest.fixture
    def hold_id(self, keyed: Any) -> str:
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
        self, keyed: Any, hold_id: str, scopes: dict[str, str], operation: str
    ) -> None:
        before = keyed.held_nano

        reply = end(keyed, hold_id, operation, spend_token=token(**scopes))

        assert code(reply) == (404, "hold_not_found", "hold_id")
        assert (keyed.spent_nano, keyed.held_nano) == (0, before)

    def test_nobody_can_without_a_token(self, keyed: Any, hold_id: str) -> None:
        assert code(end(keyed, hold_id, "void")) == (401, "invalid_spend_token", "spend_token")
        asserted = end(keyed, hold_id, "void", user="alice", team="t")
        assert code(asserted) == (401, "invalid_spend_token", "spend_token")

    def test_an_asserted_name_is_no_proof(self, keyed: Any, hold_id: str) -> None:
        reply = end(keyed, hold_id, "void", spend_token=token(user="alice"), team="t")

        assert code(reply) == (403, "scope_forbidden", "custom_inputs.team")
        assert keyed.held_nano > 0

    def test_a_revoked_token_cannot(self, keyed: Any, hold_id: str) -> None:
        mine = token(user="alice", team="t")
        claims = SpendTokenVerifier(KEY).verify(mine)
        revoked = Revocation.of_token(claims.token_ids[-1], "test", datetime.now(UTC))
        keyed.ledger.policies.revoke(revoked)

        assert code(end(keyed, hold_id, "void", spend_token=mine))[0] == 401

    def test_who_reserved_it_can_by_another_token_too(self, keyed: Any, hold_id: str) -> None:
        bearer = {"authorization": f"Bearer {token(user='alice', team='t')}"}

        reply = end(keyed, hold_id, headers=bearer, usage=USAGE)

        assert reply.status == 200
        assert keyed.spent_nano == COST_NANO

    def test_where_the_platform_says_who_calls_it_must_be_the_same_user(self, gate: Open) -> None:
        opened = gate()
        hold = held(opened, {"user": None}, vouched={"user": "alice"})
        body = {"custom_inputs": {"operation": "void", "hold_id": hold["hold_id"]}}

        other = opened.send(body, vouched={"user": "bob"})
        nobody = opened.send(body, vouched={})
        own = opened.send(body, vouched={"user": "alice"})

        assert [code(other)[0], code(nobody)[0], own.status] == [404, 401, 200]

    def test_without_a_key_the_id_is_the_proof_and_what_is_said_must_agree(
        self, gate: Open
    ) -> None:
        opened = gate()
        hold = held(opened)

        assert code(end(opened, hold["hold_id"], "void", user="bob"))[0] == 404
        assert code(end(opened, hold["hold_id"], "void", tags={"a": "b"}))[0] == 404
        assert end(opened, hold["hold_id"], "void").status == 200

    @pytest.mark.parametrize("mark", ["#", "."])
    def test_a_call_of_the_gate_cannot_be_settled_by_its_caller(
        self, gate: Open, answer: Open, mark: str
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


KEYED = {"idempotency_key": "k-1"}


class TestIdempotencyKeys:
    def test_the_same_key_and_body_get_the_same_hold(self, gate: Open) -> None:
        opened = gate()

        first, again = (reserve(opened, KEYED) for _ in range(2))

        assert again.body == first.body
        assert again.is_replay
        assert opened.held_nano == int(first.body["spend"]["reserved_usd"].replace(".", ""))  # type: ignore[index]

    def test_another_body_is_a_conflict(self, gate: Open) -> None:
        opened = gate()
        held(opened, KEYED)

        assert code(reserve(opened, KEYED, max_tokens=7))[:2] == (409, "idempotency_conflict")

    def test_a_process_that_does_not_know_the_answer_still_names_the_hold(self, gate: Open) -> None:
        opened = gate(answers_kept_max=0)
        hold = held(opened, KEYED)

        reply = reserve(opened, KEYED)

        assert code(reply)[:2] == (409, "idempotency_replayed")
        assert (reply.body["hold_id"], reply.body["retryable"]) == (hold["hold_id"], True)
        assert end(opened, str(reply.body["hold_id"]), "void").status == 200

    def test_a_hold_that_has_ended_is_not_given_out_again(self, gate: Open) -> None:
        opened = gate()
        end(opened, held(opened, KEYED)["hold_id"], usage=USAGE)

        reply = reserve(opened, KEYED)

        assert code(reply)[:2] == (409, "idempotency_replayed")
        assert reply.body["retryable"] is False
        assert opened.held_nano == 0

    def test_after_a_void_the_key_holds_anew(self, gate: Open) -> None:
        opened = gate()
        first = held(opened, KEYED)
        end(opened, first["hold_id"], "void")

        second = held(opened, KEYED)

        assert second["hold_id"] != first["hold_id"]
        assert end(opened, second["hold_id"], usage=USAGE).body["changed"] is True

    def test_a_key_of_a_hold_is_none_of_a_call(self, gate: Open) -> None:
        opened = gate()
        held(opened, KEYED)

        assert opened.chat(own=KEYED).status == 200


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"operation": "refund"}, "custom_inputs.operation"),
        ({"operation": ["settle"]}, "custom_inputs.operation"),
        ({"operation": "settle"}, "custom_inputs.hold_id"),
        ({"operation": "settle", "hold_id": 7}, "custom_inputs.hold_id"),
        ({"operation": "settle", "hold_id": "hold-\n1.1"}, "custom_inputs.hold_id"),
        ({"operation": "settle", "hold_id": "hold-1.1" * 99}, "custom_inputs.hold_id"),
        ({"operation": "void", "hold_id": "hold-1.1", "model": "big"}, "custom_inputs.model"),
        ({"operation": "settle", "hold_id": "hold-1.1", "usage": "many"}, "usage"),
        ({"operation": "settle", "hold_id": "hold-1.1", "usage": {}}, "usage"),
        (
            {"operation": "settle", "hold_id": "hold-1.1", "usage": {"prompt_tokens": -1}},
            "usage",
        ),
        ({"operation": "settle", "hold_id": "hold-1.1", "answer": []}, "custom_inputs.answer"),
        ({"operation": "void", "hold_id": "hold-1.1", "user": 7}, "custom_inputs.user"),
        (
            {"operation": "void", "hold_id": "hold-1.1", "idempotency_key": 7},
            "custom_inputs.idempotency_key",
        ),
        ({"hold_id": "hold-1.1"}, "custom_inputs.hold_id"),
    ],
    ids=str,
)
def test_a_malformed_operation_names_its_field(
    gate: Open, own: dict[str, object], field: str
) -> None:
    assert code(gate().send({"custom_inputs": own})) == (400, "invalid_request", field)


@pytest.mark.parametrize("hold_id", ["nonsense", "hold-1", "hold-1.0", "hold-1.1", "call-1#1"])
def test_a_hold_that_is_not_there_is_not_found(gate: Open, hold_id: str) -> None:
    assert code(end(gate(), hold_id)) == (404, "hold_not_found", "hold_id")


@pytest.mark.parametrize("verb", ["hold_record", "settle", "policy_version"])
def test_without_the_ledger_an_end_is_to_be_sent_again(gate: Open, verb: str) -> None:
    opened = gate()
    hold = held(opened)
    opened.failing.break_down(verb, error=LedgerUnavailableError("it is away"))

    reply = end(opened, hold["hold_id"], usage=USAGE)

    assert code(reply)[:2] == (503, "ledger_unavailable")
    assert reply.body["retryable"] is True
    opened.failing.break_down()
    assert end(opened, hold["hold_id"], usage=USAGE).body["changed"] is True


def test_without_the_ledger_nothing_is_reserved_even_where_calls_go_on(
    gate: Open, budget: Open
) -> None:
    opened = gate(budget(bound="counted", on_store_error="allow"))
    opened.chat()
    opened.failing.break_down("reserve")

    assert code(reserve(opened))[:2] == (503, "ledger_unavailable")
