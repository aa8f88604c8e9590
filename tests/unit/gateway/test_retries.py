"""Another attempt after a failure: each with its own hold, at its own price, within the budgets."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.domain.hold import EventKind
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent
from spendgate.gateway.wire import CHAT, Host

FIRST_AND_SECOND: dict[str, Any] = {
    "first": {"url": "http://first.example/v1"},
    "second": {"url": "http://second.example/v1"},
}
ANSWERED_NANO = 20 * 3_000 + 5 * 15_000
BUSY, FAILED = UpstreamAnswer(429, None), UpstreamAnswer(503, None)


def sent_ids(opened: Any) -> list[str]:
    """Return the hold that each call sent anywhere was made with, in order of their numbers."""
    found = [body for one in (opened.upstream, *opened.servers.values()) for body in one.bodies]
    return sorted(body["client_request_id"] for body in found)


def nano(usd: str) -> int:
    return round(float(usd) * 10**9)


def test_a_call_moves_on_to_the_next_server_and_each_attempt_is_a_hold(
    gate: Callable[..., Any],
) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(FAILED)

    reply = opened.chat()

    assert reply.status == 200
    charged, settled = opened.events
    assert (charged.hold_id, charged.kind, charged.facts.upstream, charged.facts.attempt) == (
        "call-1#1",
        EventKind.EXPIRED,
        "first",
        1,
    )
    assert (settled.hold_id, settled.kind, settled.facts.upstream, settled.facts.attempt) == (
        "call-1#2",
        EventKind.SETTLED,
        "second",
        2,
    )
    assert sent_ids(opened) == ["call-1#1", "call-1#2"]
    assert settled.cost_nano == ANSWERED_NANO
    assert opened.spent_nano == charged.cost_nano + settled.cost_nano
    assert opened.held_nano == 0


def test_the_answer_names_the_cost_of_all_attempts(gate: Callable[..., Any]) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(FAILED)

    spend = opened.chat().body["spend"]

    charged, settled = opened.events
    assert nano(spend["cost_usd"]) == opened.spent_nano
    assert nano(spend["reserved_usd"]) == settled.reserved_nano
    assert spend["failed_attempts"] == [
        {
            "hold_id": "call-1#1",
            "model": "big",
            "status": 503,
            "cost_usd": f"{charged.cost_nano / 10**9:.9f}",
        }
    ]


def test_an_answer_of_the_first_attempt_names_no_others(gate: Callable[..., Any]) -> None:
    assert "failed_attempts" not in gate(upstreams=FIRST_AND_SECOND).chat().body["spend"]


@pytest.mark.parametrize("failure", [BUSY, UpstreamNotSent("ConnectError")])
def test_what_was_not_billed_costs_nothing_before_the_next_attempt(
    gate: Callable[..., Any], failure: Any
) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(failure)

    spend = opened.chat().body["spend"]

    assert nano(spend["cost_usd"]) == opened.spent_nano == ANSWERED_NANO
    assert [event.kind for event in opened.events] == [EventKind.VOIDED, EventKind.SETTLED]


def test_without_another_server_a_failure_is_the_answer(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.upstream.script.append(BUSY)

    assert opened.chat().status == 429
    assert len(opened.upstream.bodies) == 1


def test_retries_are_made_as_often_as_the_policy_says(gate: Callable[..., Any]) -> None:
    opened = gate(router={"retries": {"attempts_max": 3, "backoff_seconds": 0.001}})
    opened.upstream.script += [BUSY, BUSY, BUSY]

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["code"]) == (429, "upstream_error")
    assert "after 2 failed attempts before" in reply.body["error"]["message"]
    assert sent_ids(opened) == ["call-1#1", "call-1#2", "call-1#3"]
    assert [event.kind for event in opened.events] == [EventKind.VOIDED] * 3
    assert opened.spent_nano == 0


@pytest.mark.parametrize(
    "failure",
    [UpstreamAnswer(400, None), UpstreamAnswer(401, None), UpstreamLost("ReadTimeout")],
)
def test_other_failures_are_not_tried_again(gate: Callable[..., Any], failure: Any) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(failure)

    assert opened.chat().status >= 400
    assert opened.servers["second"].bodies == []


def test_the_policy_may_name_further_causes(gate: Callable[..., Any]) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND, router={"retries": {"causes": ["lost", "denied"]}})
    opened.servers["first"].script.append(UpstreamAnswer(404, None))

    assert opened.chat().status == 200


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for(
    gate: Callable[..., Any],
) -> None:
    opened = gate(router={"retries": {"attempts_max": 3, "total_seconds": 2}})
    opened.upstream.script.append(UpstreamAnswer(429, None, retry_after_seconds=3.0))

    reply = opened.chat()

    assert (reply.status, reply.retry_after_seconds) == (429, 3.0)
    assert len(opened.upstream.bodies) == 1


def test_a_fallback_model_serves_at_its_own_price(gate: Callable[..., Any]) -> None:
    opened = gate(router={"fallbacks": {"big": ["small"]}})
    opened.upstream.script.append(BUSY)

    spend = opened.chat().body["spend"]

    assert (spend["model_requested"], spend["model_served"]) == ("big", "small")
    assert nano(spend["cost_usd"]) == 20 * 300 + 5 * 1_500 == opened.spent_nano
    assert [body["model"] for body in opened.upstream.bodies] == ["big", "small"]


def test_a_retry_that_no_budget_affords_is_not_made_and_the_failure_is_the_answer(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd=0.003), upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(FAILED)

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["code"]) == (503, "upstream_error")
    assert opened.servers["second"].bodies == []
    assert nano(reply.body["spend"]["cost_usd"]) == opened.spent_nano
    assert opened.spent_nano <= 3_000_000
    assert opened.decisions == []


def test_a_cheaper_fallback_is_made_where_the_first_model_is_no_longer_affordable(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(
        budget(limit_usd=0.003),
        upstreams=FIRST_AND_SECOND,
        router={"fallbacks": {"big": ["small"]}},
    )
    opened.servers["first"].script.append(FAILED)

    spend = opened.chat().body["spend"]

    assert spend["model_served"] == "small"
    assert sent_ids(opened) == ["call-1#1", "call-1#2"]
    assert nano(spend["cost_usd"]) == opened.spent_nano <= 3_000_000


def test_a_routed_call_goes_to_the_next_candidate_when_the_server_of_the_first_fails(
    gate: Callable[..., Any],
) -> None:
    opened = gate(
        upstreams={
            "one": {"url": "http://one.example", "models": ["big"]},
            "two": {"url": "http://two.example", "models": ["mid"]},
        },
        router={"candidates": ["big", "mid"]},
    )
    opened.servers["one"].script.append(UpstreamNotSent("ConnectError"))

    spend = opened.chat(own={"model": "auto"}).body["spend"]

    assert spend["model_served"] == "mid"
    assert [body["model"] for body in opened.servers["two"].bodies] == ["mid"]


def test_a_key_that_was_renewed_is_tried_once_more_with_a_hold_of_its_own(
    gate: Callable[..., Any],
) -> None:
    opened = gate()
    refused = UpstreamAnswer(401, None, is_key_renewed=True)
    opened.upstream.script += [refused]
    assert opened.chat().status == 200
    assert sent_ids(opened) == ["call-1#1", "call-1#2"]

    opened.upstream.script += [refused, refused]
    assert opened.chat().status == 401
    assert len(opened.upstream.bodies) == 4
    assert opened.spent_nano == ANSWERED_NANO


def test_an_attempt_belongs_to_the_window_it_is_made_in(
    gate: Callable[..., Any], clock: Any
) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    clock.advance(hours=11, minutes=59, seconds=59)

    def past_midnight(_body: object) -> UpstreamAnswer:
        clock.advance(seconds=2)
        return FAILED

    opened.servers["first"].script.append(past_midnight)
    opened.chat()

    by_day = {row.period: row.spent_nano for row in opened.ledger.balances()}
    charged, settled = opened.events
    assert by_day == {"2026-03-10": charged.cost_nano, "2026-03-11": settled.cost_nano}


def test_a_policy_that_changes_meanwhile_holds_for_the_next_attempt(
    gate: Callable[..., Any],
) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)

    def paused(_body: object) -> UpstreamAnswer:
        from spendgate.domain.scope import Scope  # noqa: PLC0415 - here alone

        opened.ledger.policies.pause(Scope.parse("user:alice"), "stop", opened.clock())
        return BUSY

    opened.servers["first"].script.append(paused)
    reply = opened.chat()

    assert reply.status == 429
    assert opened.servers["second"].bodies == []
    assert opened.held_nano == 0


def test_a_key_is_answered_with_what_its_last_attempt_said(gate: Callable[..., Any]) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(BUSY)
    own = {"idempotency_key": "k"}

    first, again = opened.chat(own=own), opened.chat(own=own)

    assert first.status == again.status == 200
    assert first.body == again.body
    assert len(sent_ids(opened)) == 2


def test_a_call_that_failed_for_money_counts_in_a_loop_and_one_that_cost_nothing_does_not(
    gate: Callable[..., Any],
) -> None:
    guard = {"loop_guard": {"repeats": 1, "minutes": 5}}
    opened = gate(upstreams=FIRST_AND_SECOND, defaults=guard)
    opened.servers["first"].script += [BUSY, FAILED]
    opened.servers["second"].script += [BUSY, BUSY]
    own = {"task": "t-1"}

    assert opened.chat(own=own).status == 429
    assert opened.spent_nano == 0
    assert opened.chat(own=own).status == 429
    assert opened.spent_nano > 0
    assert opened.chat(own=own).body["error"]["code"] == "loop_detected"


def test_a_ledger_that_goes_away_between_attempts_ends_them(gate: Callable[..., Any]) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)

    def away(_body: object) -> UpstreamAnswer:
        opened.failing.break_down("reserve")
        return BUSY

    opened.servers["first"].script.append(away)

    assert opened.chat().status == 429
    assert opened.servers["second"].bodies == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_second_attempt_cut_off_inside_is_charged_in_full(
    gate: Callable[..., Any], end: type[BaseException]
) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(BUSY)
    opened.servers["second"].script.append(end())

    with pytest.raises(end):
        opened.chat()

    assert [event.kind for event in opened.events] == [EventKind.VOIDED, EventKind.EXPIRED]
    assert (opened.spent_nano, opened.held_nano) == (opened.events[1].reserved_nano, 0)


def test_a_stream_that_fails_before_its_first_byte_is_tried_again(
    gate: Callable[..., Any],
) -> None:
    opened = gate(upstreams=FIRST_AND_SECOND)
    opened.servers["first"].script.append(FAILED)
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
        "stream": True,
        "custom_inputs": {"model": "big", "user": "alice"},
    }

    reply = opened.gateway.stream(CHAT, body, host=Host.ASGI)

    # The fake answers whole; what matters is that it was asked, with a hold of its own.
    assert reply.status == 200
    assert reply.chunks
    assert sent_ids(opened) == ["call-1#1", "call-1#2"]
    assert nano(reply.body["spend"]["cost_usd"]) == opened.spent_nano
