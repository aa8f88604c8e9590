"""The loop guard at the gate: the same request too often within one task or session."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost
from spendgate.gateway.wire import EMBEDDINGS

GUARD = {"repeats": 2, "minutes": 10}
TASK = {"task": "t-1"}


@pytest.fixture
def guarded(gate: Callable[..., Any]) -> Any:
    """A gate whose defaults allow two calls in ten minutes."""
    return gate(defaults={"loop_guard": GUARD})


def outcome(reply: Any) -> object:
    return reply.body["error"]["code"] if "error" in reply.body else reply.status


def test_the_call_after_the_last_allowed_one_is_refused_and_recorded(guarded: Any) -> None:
    assert [outcome(guarded.chat(own=TASK)) for _ in range(2)] == [200, 200]

    reply = guarded.chat(own=TASK)

    assert (reply.status, outcome(reply)) == (403, "loop_detected")
    assert reply.body["retryable"] is False
    assert reply.body["error"]["param"] == "custom_inputs.task"
    assert "2 times within 10 minutes" in reply.body["error"]["message"]
    assert len(guarded.upstream.bodies) == 2
    assert guarded.held_nano == 0
    (record,) = guarded.decisions
    assert (record.code, record.decision, record.scopes["task"]) == (
        "loop_detected",
        "refuse",
        "t-1",
    )


def test_the_window_moves_on(guarded: Any, clock: Any) -> None:
    guarded.chat(own=TASK)
    clock.advance(minutes=6)
    guarded.chat(own=TASK)
    clock.advance(minutes=3, seconds=59)
    assert outcome(guarded.chat(own=TASK)) == "loop_detected"

    clock.advance(seconds=1)  # the first call is ten minutes old; the refused one never counted

    assert outcome(guarded.chat(own=TASK)) == 200
    assert outcome(guarded.chat(own=TASK)) == "loop_detected"


def test_the_message_repeats_no_value_of_the_request(guarded: Any) -> None:
    replies = [guarded.chat(own={"task": "secret-task"}, stop="secret stop") for _ in range(3)]

    assert "secret" not in str(replies[-1].body)


@pytest.mark.parametrize(
    "other",
    [
        {"own": {"task": "t-2"}},
        {"own": {**TASK, "user": "bob"}},
        {"own": {**TASK, "model": "small"}},
        {"own": TASK, "max_tokens": 99},
        {"own": TASK, "messages": [{"role": "user", "content": "ho"}]},
    ],
)
def test_another_task_caller_model_or_body_is_no_repetition(
    guarded: Any, other: dict[str, Any]
) -> None:
    for _ in range(2):
        guarded.chat(own=TASK)

    assert outcome(guarded.chat(**other)) == 200


def test_a_session_is_guarded_like_a_task_and_both_together_too(guarded: Any) -> None:
    for number in range(2):
        guarded.chat(own={"task": f"t-{number}", "session": "s"})

    reply = guarded.chat(own={"task": "t-9", "session": "s"})

    assert reply.body["error"]["param"] == "custom_inputs.session"
    assert outcome(guarded.chat(own={"task": "t-0", "session": "other"})) == 200


def test_a_call_without_task_and_session_is_never_a_loop(guarded: Any) -> None:
    assert {outcome(guarded.chat()) for _ in range(5)} == {200}


def test_without_a_guard_nothing_is_counted(gate: Callable[..., Any]) -> None:
    opened = gate()

    assert {outcome(opened.chat(own=TASK)) for _ in range(9)} == {200}


def test_embeddings_are_guarded_too(guarded: Any) -> None:
    body = {"input": "x", "custom_inputs": {"model": "embed", "user": "alice", **TASK}}

    outcomes = [outcome(guarded.send(body, route=EMBEDDINGS)) for _ in range(3)]

    assert outcomes == [200, 200, "loop_detected"]


def test_a_budget_s_own_guard_stands_in_for_the_default(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    own = budget(id="tasks", scope={"task": "*"}, loop_guard={"repeats": 3, "minutes": 1})
    opened = gate(budget(), own, defaults={"loop_guard": GUARD})

    outcomes = [outcome(opened.chat(own=TASK)) for _ in range(4)]

    assert outcomes == [200, 200, 200, "loop_detected"]
    assert opened.decisions[0].budget_id == "tasks"


def test_of_two_guards_the_stricter_one_stops_the_call(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    loose = budget(id="loose", scope={}, loop_guard={"repeats": 9, "minutes": 60})
    strict = budget(loop_guard={"repeats": 1, "minutes": 5})
    opened = gate(loose, strict)

    assert [outcome(opened.chat(own=TASK)) for _ in range(2)] == [200, "loop_detected"]


def test_a_shadow_budget_s_guard_records_and_refuses_nothing(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    watching = budget(id="watch", scope={}, mode="shadow", loop_guard={"repeats": 1, "minutes": 5})
    opened = gate(budget(), watching)

    assert [outcome(opened.chat(own=TASK)) for _ in range(3)] == [200, 200, 200]
    assert {(one.decision, one.code, one.budget_id) for one in opened.decisions} == {
        ("shadow", "loop_detected", "watch")
    }


@pytest.mark.parametrize("name", ["a-watch", "z-watch"])  # budgets are asked by their ids
def test_a_shadow_budget_s_guard_hides_no_other_loop(
    gate: Callable[..., Any], budget: Callable[..., Any], name: str
) -> None:
    guard = {"repeats": 1, "minutes": 5}
    watching = budget(id=name, scope={}, mode="shadow", loop_guard=guard)
    opened = gate(watching, budget(loop_guard=guard))

    assert [outcome(opened.chat(own=TASK)) for _ in range(2)] == [200, "loop_detected"]
    assert [one.budget_id for one in opened.decisions] == ["users"]


def test_a_shadow_budget_s_guard_doesnt_lift_the_default(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    watching = budget(id="watch", scope={}, mode="shadow", loop_guard={"repeats": 9, "minutes": 5})
    opened = gate(budget(), watching, defaults={"loop_guard": {"repeats": 1, "minutes": 5}})

    assert [outcome(opened.chat(own=TASK)) for _ in range(2)] == [200, "loop_detected"]


def test_a_call_that_never_reached_the_model_doesnt_count(guarded: Any) -> None:
    guarded.upstream.script += [UpstreamAnswer(429, None), UpstreamAnswer(429, None)]
    for _ in range(2):
        assert outcome(guarded.chat(own=TASK)) == "upstream_error"

    assert [outcome(guarded.chat(own=TASK)) for _ in range(3)] == [200, 200, "loop_detected"]


def test_a_call_whose_end_is_unknown_counts(guarded: Any) -> None:
    guarded.upstream.script += [UpstreamLost("ReadTimeout")] * 2
    for _ in range(2):
        guarded.chat(own=TASK)

    assert outcome(guarded.chat(own=TASK)) == "loop_detected"


def test_a_call_that_its_budget_refuses_doesnt_count(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.000001"), defaults={"loop_guard": GUARD})
    refused = {outcome(opened.chat(own=TASK)) for _ in range(4)}
    opened.ledger.policies.put_budgets([budget(limit_usd=10)])

    assert refused == {"budget_exhausted"}
    assert outcome(opened.chat(own=TASK)) == 200


def test_a_call_that_the_ledger_cant_take_doesnt_count(guarded: Any) -> None:
    for _ in range(3):
        guarded.failing.break_down("reserve")
        assert outcome(guarded.chat(own=TASK)) == "ledger_unavailable"
        guarded.failing.break_down()

    assert [outcome(guarded.chat(own=TASK)) for _ in range(2)] == [200, 200]


def test_a_retry_with_the_same_idempotency_key_repeats_nothing(guarded: Any) -> None:
    keyed = {**TASK, "idempotency_key": "k"}

    assert [outcome(guarded.chat(own=keyed)) for _ in range(5)] == [200] * 5
    assert outcome(guarded.chat(own=TASK)) == 200
    assert outcome(guarded.chat(own=TASK)) == "loop_detected"


def test_a_changed_guard_holds_from_the_next_refresh_on(
    guarded: Any, budget: Callable[..., Any]
) -> None:
    for _ in range(2):
        guarded.chat(own=TASK)
    guarded.ledger.policies.put_budgets([budget(loop_guard={"repeats": 3, "minutes": 10})])
    guarded.gateway.refresh()

    assert [outcome(guarded.chat(own=TASK)) for _ in range(2)] == [200, "loop_detected"]


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(guarded: Any) -> None:
    seen = guarded.gateway._parts.repetitions
    seen._calls_max = 3
    for number in range(5):
        guarded.chat(own={"task": f"t-{number}"})
        assert len(seen) <= 3

    for number, outcomes in ((4, [200, "loop_detected"]), (0, [200, 200])):
        task = {"task": f"t-{number}"}
        assert [outcome(guarded.chat(own=task)) for _ in range(2)] == outcomes


def test_what_no_longer_counts_is_forgotten(guarded: Any, clock: Any) -> None:
    seen = guarded.gateway._parts.repetitions
    for _ in range(2):
        guarded.chat(own={**TASK, "session": "s"})
    assert len(seen) == 4

    clock.advance(minutes=11)
    guarded.upstream.script.append(UpstreamAnswer(429, None))
    guarded.chat(own={**TASK, "session": "s"})

    assert len(seen) == 0
    assert not seen._seen
