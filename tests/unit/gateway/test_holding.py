"""Two phases over the wire: what a hold's end costs, and what a repeat does."""

import json
from typing import Any

import pytest
from tests.unit.gateway.two_phases import COST_NANO, USAGE, Open, code, end, held, reserve

from spendgate.errors import LedgerUnavailableError


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
    "report",
    [
        {"usage": USAGE},
        {"answer": {"choices": [], "usage": USAGE}},
        {"answer": {"type": "response.completed", "response": {"output": [], "usage": USAGE}}},
    ],
    ids=["usage", "all", "last event of a stream"],
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
    "report",
    [
        {},
        {"usage": None},
        {"answer": {}},
        {"answer": {"usage": None}},
        {"answer": {"choices": []}},
        {"answer": {"output": []}},
        {"answer": {"data": []}},
        {"usage": {"prompt_tokens": 0}},
    ],
    ids=str,
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


@pytest.mark.parametrize(
    ("asked_for", "split", "usd_per_million"),
    [("1h", {}, 6), ("5m", {}, 3.75), ("1h", {"ephemeral_5m_input_tokens": 400}, 3.75)],
    ids=["hour", "five minutes", "reported"],
)
def test_cache_writes_cost_the_dearest_that_the_hold_covers(
    gate: Open, asked_for: str, split: dict[str, int], usd_per_million: float
) -> None:
    opened = gate()
    rates = {"input": "3", "output": "15", "cache_write": "3.75", "cache_write_1h": "6"}
    opened.ledger.policies.put_price(
        json.dumps(
            {
                "model": "big",
                "kind": "chat",
                "effective_from": "2026-03-10T11:00:00Z",
                "source": "t",
                "usd_per_million": rates,
                "caches_implicitly": False,
            }
        )
    )
    cached = {"type": "text", "text": "x" * 330, "cache_control": {"type": "ephemeral"}}
    cached["cache_control"] |= {"ttl": asked_for}
    hold = held(opened, messages=[{"role": "user", "content": [cached]}], max_tokens=1)
    usage = {"prompt_tokens": 400, "completion_tokens": 0, "total_tokens": 400}
    writes = {"cache_creation_input_tokens": 400, "cache_creation": split}

    reply = end(opened, hold["hold_id"], usage={**usage, **writes})

    assert opened.spent_nano == 400 * usd_per_million * 1000
    assert reply.body["spend"]["usage_source"] == "reported"  # type: ignore[index]


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
    sources = [one.body["spend"]["usage_source"] for one in (voided, unknown, known)]  # type: ignore[index]
    assert sources == ["reserved", "reserved", "reported"]
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

    def test_another_process_s_hold_is_not_taken_for_one_that_was_voided(self, gate: Open) -> None:
        here, there = gate(), gate()
        first = held(here, KEYED)
        end(there, first["hold_id"], "void")
        second = held(there, KEYED)

        reply = reserve(here, KEYED)

        assert code(reply)[:2] == (409, "idempotency_replayed")
        assert reply.body["hold_id"] == second["hold_id"] != first["hold_id"]

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
