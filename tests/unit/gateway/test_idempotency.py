"""Idempotency keys: one key, one bill, and the first answer again."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.gateway.idempotency import KeptAnswers, keyed_request_id
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent
from spendgate.gateway.reply import Reply, spend_headers
from spendgate.gateway.wire import EMBEDDINGS, Host

KEY = {"idempotency_key": "k-1"}


def code(reply: Any) -> object:
    return reply.body["error"]["code"] if "error" in reply.body else reply.status


def test_the_same_call_again_gets_the_first_answer_and_costs_nothing(
    gate: Callable[..., Any], answer: Any
) -> None:
    opened = gate()
    opened.upstream.script += [answer(content="first"), answer(content="second")]

    first, again = opened.chat(own=KEY), opened.chat(own=KEY)

    assert again == first
    assert again.body["choices"][0]["message"]["content"] == "first"
    assert len(opened.upstream.bodies) == 1
    assert (opened.spent_nano, opened.held_nano) == (135_000, 0)


def test_the_key_may_come_as_a_header(gate: Callable[..., Any]) -> None:
    opened = gate()
    headers = {"idempotency-key": "k-1"}

    first = opened.chat(host=Host.ASGI, headers=headers)

    assert opened.chat(host=Host.ASGI, headers=headers) == first == opened.chat(own=KEY)


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 99}, {"temperature": 0}, {"own": {**KEY, "model": "small"}}]
)
def test_scenario_34_the_same_key_for_another_body_is_a_conflict(
    gate: Callable[..., Any], fields: dict[str, Any]
) -> None:
    opened = gate()
    opened.chat(own=KEY)

    reply = opened.chat(**{"own": KEY, **fields})

    assert (reply.status, code(reply)) == (409, "idempotency_conflict")
    assert reply.body["retryable"] is False
    assert len(opened.upstream.bodies) == 1


def test_an_answer_no_longer_kept_is_answered_with_its_spend(gate: Callable[..., Any]) -> None:
    opened = gate(answers_kept_max=1)
    first = opened.chat(own=KEY)
    opened.chat(own={"idempotency_key": "k-2"})

    reply = opened.chat(own=KEY)

    assert (reply.status, code(reply)) == (409, "idempotency_replayed")
    assert reply.body["retryable"] is False
    spend, first_spend = reply.body["spend"], first.body["spend"]
    for name in ("request_id", "cost_usd", "reserved_usd", "model_served"):
        assert spend[name] == first_spend[name]
    assert len(opened.upstream.bodies) == 2


@pytest.mark.parametrize("outcome", [UpstreamNotSent("ConnectError"), UpstreamAnswer(429, None)])
def test_scenario_30_an_attempt_that_was_voided_may_be_made_again_on_its_own_hold(
    gate: Callable[..., Any], outcome: Any
) -> None:
    opened = gate()
    opened.upstream.script += [outcome, outcome]

    assert code(opened.chat(own=KEY)) == "upstream_error"
    assert code(opened.chat(own=KEY)) == "upstream_error"
    third, fourth = opened.chat(own=KEY), opened.chat(own=KEY)

    assert (third.status, fourth) == (200, third)
    attempts = [body["client_request_id"].partition("#")[2] for body in opened.upstream.bodies]
    assert attempts == ["1", "2", "3"]
    assert [event.facts.attempt for event in opened.events] == [1, 2, 3]
    assert (opened.spent_nano, opened.held_nano) == (135_000, 0)


def test_an_attempt_that_may_have_been_billed_is_not_made_again(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamLost("ReadTimeout"))
    lost = opened.chat(own=KEY)

    reply = opened.chat(own=KEY)

    assert code(reply) == "idempotency_replayed"
    assert reply.body["spend"]["cost_usd"] == lost.body["spend"]["cost_usd"]
    assert reply.body["spend"]["usage_source"] == "reserved"
    assert len(opened.upstream.bodies) == 1


def test_a_twin_of_a_running_call_is_asked_to_come_back(
    gate: Callable[..., Any], answer: Any
) -> None:
    opened = gate()
    twins: list[Any] = []

    def meanwhile(_body: object) -> Any:
        twins.append(opened.chat(own=KEY))
        return answer()

    opened.upstream.script.append(meanwhile)
    first = opened.chat(own=KEY)

    (twin,) = twins
    assert (twin.status, code(twin)) == (409, "idempotency_replayed")
    assert twin.body["retryable"] is True
    assert "running" in twin.body["error"]["message"]
    assert len(opened.upstream.bodies) == 1
    assert opened.chat(own=KEY) == first


@pytest.mark.parametrize("other", [{"user": "bob"}, {"org": "acme"}, {"team": "t"}, {"agent": "a"}])
def test_a_key_belongs_to_who_sent_it(gate: Callable[..., Any], other: dict[str, str]) -> None:
    opened = gate()
    alice = opened.chat(own=KEY)

    reply = opened.chat(max_tokens=50, own={**KEY, **other})

    assert reply.status == 200
    assert reply.body["spend"]["request_id"] != alice.body["spend"]["request_id"]
    assert len(opened.upstream.bodies) == 2


@pytest.mark.parametrize(
    ("key", "scopes", "other_key", "others"),
    [
        ("1x", {"user": "ann"}, "x", {"user": "ann1"}),
        ("k", {"org": "a"}, "k", {"team": "a"}),
        ("k", {"agent": "a"}, "k", {"user": "a"}),
        ("k", {"org": "a", "team": "bc"}, "k", {"org": "ab", "team": "c"}),
    ],
)
def test_two_callers_whose_names_and_keys_read_alike_together_share_no_id(
    key: str, scopes: dict[str, str], other_key: str, others: dict[str, str]
) -> None:
    assert keyed_request_id(key, scopes) != keyed_request_id(other_key, others)


def test_a_refused_call_uses_its_key_up_only_when_it_is_admitted(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.0001"))
    assert code(opened.chat(own=KEY)) == "budget_exhausted"

    opened.ledger.policies.put_budgets([budget(limit_usd=10)])

    assert opened.chat(own=KEY).status == 200


def test_a_call_paid_for_is_answered_again_after_the_budget_is_gone(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate()
    first = opened.chat(own=KEY)

    opened.ledger.policies.put_budgets([budget(limit_usd="0.000001")])

    assert opened.chat(own=KEY) == first


def test_another_gate_over_the_same_ledger_knows_the_key(
    gate: Callable[..., Any],
) -> None:
    first_gate = gate()
    first_gate.chat(own=KEY)

    reply = gate().chat(own=KEY)

    assert code(reply) == "idempotency_replayed"
    assert len(first_gate.upstream.bodies) == 1


def test_each_refused_try_of_a_key_is_a_decision_of_its_own(
    gate: Callable[..., Any], budget: Callable[..., Any], clock: Any
) -> None:
    opened = gate(budget(limit_usd="0.0003"))

    for _ in range(2):
        assert code(opened.chat(own=KEY)) == "budget_exhausted"
        clock.advance(milliseconds=5)

    first, second = opened.decisions
    assert first.decision_id != second.decision_id


@pytest.mark.parametrize("own", [{"session": "another"}, {"tags": {"cost_center": "1"}}])
def test_the_same_key_for_another_session_or_tag_is_a_conflict(
    gate: Callable[..., Any], own: dict[str, Any]
) -> None:
    opened = gate()
    opened.chat(own=KEY)

    assert code(opened.chat(own={**KEY, **own})) == "idempotency_conflict"


def test_kept_answers_are_bounded_by_their_bytes(gate: Callable[..., Any], answer: Any) -> None:
    opened = gate(answers_bytes_max=10_000)
    opened.upstream.script += [answer(content="x" * 6_000), answer(content="y" * 6_000)]
    opened.chat(own={"idempotency_key": "k-1"})
    opened.chat(own={"idempotency_key": "k-2"})

    assert code(opened.chat(own={"idempotency_key": "k-1"})) == "idempotency_replayed"
    assert code(opened.chat(own={"idempotency_key": "k-2"})) == 200


def test_an_answer_that_is_kept_again_takes_its_room_once() -> None:
    kept = KeptAnswers(kept_max=10, bytes_max=1_000)
    first, second = (Reply(200, {"text": letter * 600}) for letter in "xy")

    kept.put("id", "print", first)
    kept.put("id", "print", second)

    found = kept.get("id", "print")
    assert found is not None
    assert found.body == second.body
    assert kept.get("id", "another") is None


def test_an_answer_larger_than_all_the_room_drives_no_other_out(
    gate: Callable[..., Any], answer: Any
) -> None:
    opened = gate(answers_bytes_max=10_000)
    opened.upstream.script += [answer(), answer(content="x" * 20_000)]
    opened.chat(own={"idempotency_key": "small"})
    opened.chat(own={"idempotency_key": "large"})

    assert code(opened.chat(own={"idempotency_key": "small"})) == 200
    assert code(opened.chat(own={"idempotency_key": "large"})) == "idempotency_replayed"


def test_with_no_room_every_host_answers_a_repeated_key_alike(gate: Callable[..., Any]) -> None:
    opened = gate(answers_kept_max=0)
    opened.chat(own=KEY)

    assert code(opened.chat(own=KEY)) == "idempotency_replayed"


def test_a_replay_says_so_and_a_client_is_told_whether_to_retry(
    gate: Callable[..., Any], answer: Any
) -> None:
    opened = gate(answers_kept_max=1)
    first, again = opened.chat(own=KEY), opened.chat(own=KEY)
    opened.chat(own={"idempotency_key": "k-2"})
    forgotten = opened.chat(own=KEY)

    assert "Idempotent-Replayed" not in spend_headers(first)
    assert spend_headers(again)["Idempotent-Replayed"] == "true"
    assert "X-Should-Retry" not in spend_headers(again)
    assert spend_headers(forgotten)["X-Should-Retry"] == "false"
    opened.upstream.script.append(UpstreamAnswer(429, None))
    assert spend_headers(opened.chat())["X-Should-Retry"] == "true"


@pytest.mark.parametrize("outcome", [UpstreamLost("ReadTimeout"), UpstreamAnswer(408, None)])
def test_no_client_pays_a_lost_answer_again_by_itself(
    gate: Callable[..., Any], outcome: Any
) -> None:
    opened = gate()
    opened.upstream.script.append(outcome)

    lost = opened.chat()

    assert lost.body["retryable"] is True
    assert spend_headers(lost)["X-Should-Retry"] == "false"


def test_embeddings_have_keys_too(gate: Callable[..., Any]) -> None:
    opened = gate()
    body = {"input": "x", "custom_inputs": {"model": "embed", "user": "alice", **KEY}}

    first = opened.send(body, route=EMBEDDINGS)

    assert first.status == 200
    assert opened.send(body, route=EMBEDDINGS) == first
    assert code(opened.send({**body, "input": "y"}, route=EMBEDDINGS)) == "idempotency_conflict"
    assert code(opened.chat(own=KEY)) == "idempotency_conflict"
    assert len(opened.upstream.bodies) == 1
