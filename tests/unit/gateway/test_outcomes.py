"""Every way a model call can end, and what it does to the money (reference/ledger.md §1.3)."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.domain.hold import EventKind
from spendgate.gateway.outcome import Verb, judge
from spendgate.gateway.ports import UpstreamAnswer, UpstreamLost, UpstreamNotSent

# "hi" in 100 tokens at most: the bound of the input at $3 and 100 tokens at $15 per million.
COST_NANO = 20 * 3_000 + 5 * 15_000


def reserved_nano(reply: Any) -> int:
    return round(float(reply.body["spend"]["reserved_usd"]) * 10**9)


def test_an_answer_settles_what_it_used(gate: Callable[..., Any]) -> None:
    opened = gate()

    reply = opened.chat()

    assert reply.status == 200
    assert reply.body["spend"]["cost_usd"] == "0.000135000"
    assert (opened.spent_nano, opened.held_nano) == (COST_NANO, 0)
    (event,) = opened.events
    assert event.kind is EventKind.SETTLED
    assert (event.charge.usage.input_tokens, event.charge.usage.output_tokens) == (20, 5)
    assert event.charge.usage_source == "reported"


def test_the_answer_comes_back_in_full(gate: Callable[..., Any], answer: Any) -> None:
    opened = gate()

    body = dict(opened.chat().body)

    assert body.pop("spend") is not None
    assert body == answer().body


def test_a_call_that_was_not_sent_is_voided(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamNotSent("ConnectError"))

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["code"]) == (502, "upstream_error")
    assert reply.body["retryable"] is True
    assert reply.body["spend"]["cost_usd"] == "0.000000000"
    assert (opened.spent_nano, opened.held_nano) == (0, 0)
    assert [event.kind for event in opened.events] == [EventKind.VOIDED]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422, 429])
def test_a_refused_call_is_voided(gate: Callable[..., Any], status: int) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamAnswer(status, {"error": {"code": "no"}}, 7.0))

    reply = opened.chat()

    assert reply.status == (status if status >= 400 else 502)
    assert reply.body["error"]["code"] == "upstream_error"
    assert reply.retry_after_seconds == 7.0
    assert reply.body["spend"]["usage_source"] is None
    assert (opened.spent_nano, opened.held_nano) == (0, 0)


@pytest.mark.parametrize("status", [408, 499, 500, 502, 503, 504, 529])
def test_a_call_that_may_have_run_is_charged_in_full(gate: Callable[..., Any], status: int) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamAnswer(status, None))

    reply = opened.chat()

    assert reply.status == status
    assert reply.body["spend"]["cost_usd"] == reply.body["spend"]["reserved_usd"]
    assert (opened.spent_nano, opened.held_nano) == (reserved_nano(reply), 0)
    (event,) = opened.events
    assert (event.kind, event.charge.usage_source) == (EventKind.EXPIRED, "reserved")


def test_a_server_error_is_voided_where_the_provider_is_known_not_to_bill_it(
    gate: Callable[..., Any],
) -> None:
    opened = gate(bills_5xx=False)
    opened.upstream.script += [UpstreamAnswer(503, None), UpstreamAnswer(408, None)]

    assert opened.chat().body["spend"]["cost_usd"] == "0.000000000"
    assert opened.spent_nano == 0

    # A time-out says nothing about billing, whatever is known of 5xx.
    timed_out = opened.chat()
    assert opened.spent_nano == reserved_nano(timed_out) > 0


def test_an_answer_lost_after_the_request_was_written_is_charged_in_full(
    gate: Callable[..., Any],
) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamLost("ReadTimeout"))

    reply = opened.chat()

    assert (reply.status, reply.body["retryable"]) == (504, True)
    assert (opened.spent_nano, opened.held_nano) == (reserved_nano(reply), 0)
    assert [event.kind for event in opened.events] == [EventKind.EXPIRED]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "lots",
        [],
        {},
        {"prompt_tokens": 20},
        {"prompt_tokens": 20, "completion_tokens": None},
        {"prompt_tokens": -20, "completion_tokens": 5},
        {"prompt_tokens": float("nan"), "completion_tokens": 5},
        {"prompt_tokens": float("inf"), "completion_tokens": 5},
        {"prompt_tokens": 20, "completion_tokens": 5.5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": "20", "completion_tokens": "5"},
        {"prompt_tokens": 10**30, "completion_tokens": 5},
        {"prompt_tokens": 2**53, "completion_tokens": 2**53},
    ],
)
def test_scenario_28_an_unknown_usage_is_charged_in_full_and_never_free(
    gate: Callable[..., Any], answer: Any, usage: object
) -> None:
    opened = gate()
    opened.upstream.script.append(answer(usage))

    reply = opened.chat()

    assert reply.status == 200
    assert reply.body["choices"][0]["message"]["content"] == "hello"
    assert reply.body["spend"]["usage_source"] == "reserved"
    assert (opened.spent_nano, opened.held_nano) == (reserved_nano(reply), 0)
    assert [event.kind for event in opened.events] == [EventKind.SETTLED]


def test_an_answer_that_is_no_json_is_charged_in_full(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamAnswer(200, None))

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["code"]) == (502, "upstream_error")
    assert reply.body["spend"]["usage_source"] == "reserved"
    assert (opened.spent_nano, opened.held_nano) == (reserved_nano(reply), 0)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit, RuntimeError])
def test_scenario_29_a_call_cut_off_inside_is_charged_in_full_and_the_cut_goes_on(
    gate: Callable[..., Any], end: type[BaseException]
) -> None:
    opened = gate()
    opened.upstream.script.append(end())

    with pytest.raises(end):
        opened.chat()

    (event,) = opened.events
    assert event.kind is EventKind.EXPIRED
    assert (opened.spent_nano, opened.held_nano) == (event.reserved_nano, 0)
    assert event.reserved_nano > 0


def test_scenario_32_more_than_was_held_is_booked_as_it_is_and_reported(
    gate: Callable[..., Any], answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    opened = gate()
    usage = {"prompt_tokens": 20, "completion_tokens": 5000}
    opened.upstream.script.append(answer(usage))

    reply = opened.chat()

    assert reply.body["spend"]["cost_usd"] == "0.075060000"
    assert opened.spent_nano == 75_060_000 > reserved_nano(reply)
    assert "overrun" in caplog.text


def test_each_call_is_sent_once_and_pays_with_its_own_hold(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.upstream.script += [
        UpstreamAnswer(429, None),
        UpstreamLost("ReadError"),
        UpstreamNotSent("ConnectError"),
    ]

    for _ in range(4):
        opened.chat()

    sent = [body["client_request_id"] for body in opened.upstream.bodies]
    assert sent == ["call-1#1", "call-2#1", "call-3#1", "call-4#1"]
    assert [event.hold_id for event in opened.events] == sent


def test_scenario_41_a_call_is_priced_at_the_moment_of_its_reservation(
    gate: Callable[..., Any], clock: Any, answer: Any
) -> None:
    opened = gate()

    def dearer_meanwhile(_body: object) -> UpstreamAnswer:
        opened.ledger.policies.put_price(
            '{"model": "big", "effective_from": "2026-03-10T12:00:01Z", "source": "test",'
            ' "usd_per_million": {"input": "30", "output": "150"}}'
        )
        clock.advance(seconds=60)
        return answer()

    opened.upstream.script.append(dearer_meanwhile)

    assert opened.chat().body["spend"]["cost_usd"] == "0.000135000"
    assert opened.chat().body["spend"]["cost_usd"] == "0.001350000"


def test_a_usage_that_falls_into_a_gap_of_the_prices_is_charged_in_full(
    gate: Callable[..., Any], answer: Any
) -> None:
    opened = gate()
    opened.ledger.policies.put_price(
        '{"model": "gapped", "effective_from": "2026-03-01T00:00:00Z", "source": "test",'
        ' "context_tier": "short", "long_context_over_tokens": 1000,'
        ' "usd_per_million": {"input": "3", "output": "15"}}'
    )
    usage = {"prompt_tokens": 1001, "completion_tokens": 5, "total_tokens": 1006}
    opened.upstream.script.append(answer(usage))

    reply = opened.chat(own={"model": "gapped"})

    assert reply.status == 200
    assert reply.body["spend"]["cost_usd"] == reply.body["spend"]["reserved_usd"]
    assert (opened.spent_nano, opened.held_nano) == (reserved_nano(reply), 0)
    (event,) = opened.events
    assert event.charge.usage.input_tokens == 1001


def test_a_call_over_midnight_belongs_to_the_day_it_was_reserved_in(
    gate: Callable[..., Any], clock: Any, answer: Any
) -> None:
    opened = gate()
    clock.advance(hours=11, minutes=59, seconds=59)

    def past_midnight(_body: object) -> UpstreamAnswer:
        clock.advance(minutes=2)
        return answer()

    opened.upstream.script.append(past_midnight)
    opened.chat()

    (row,) = opened.ledger.balances()
    assert (row.period, row.spent_nano) == ("2026-03-10", COST_NANO)


def test_a_settlement_after_the_hold_expired_corrects_it_by_evidence(
    gate: Callable[..., Any], clock: Any, answer: Any
) -> None:
    opened = gate(hold_seconds=60)

    def slow(_body: object) -> UpstreamAnswer:
        clock.advance(seconds=61)
        assert opened.ledger.sweep(clock()) == 1
        return answer()

    opened.upstream.script.append(slow)
    opened.chat()

    assert [event.kind for event in opened.events] == [EventKind.EXPIRED, EventKind.CORRECTED]
    assert (opened.spent_nano, opened.held_nano) == (COST_NANO, 0)


def test_one_hour_cache_writes_cost_what_was_asked_for() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 1,
        "cache_creation_input_tokens": 50,
        "total_tokens": 101,
    }
    answer = UpstreamAnswer(200, {"usage": usage})

    ending = judge(answer, bills_5xx=True, write_ttl="1h")

    assert ending.verb is Verb.SETTLE
    assert ending.usage is not None
    assert ending.usage.usage.cache_write_1h_tokens == 50


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "rate_limited", "message": "your prompt was CANARY text"}},
        {"error_code": "rate_limited", "message": "CANARY text"},
        {"error": {"type": "rate_limited", "code": "a prose of CANARY"}},
    ],
)
def test_only_the_code_of_an_upstreams_error_is_passed_on(
    gate: Callable[..., Any], body: dict[str, object]
) -> None:
    opened = gate()
    opened.upstream.script.append(UpstreamAnswer(429, body))

    reply = opened.chat()

    assert "rate_limited" in reply.body["error"]["message"]
    assert "CANARY" not in str(reply.body)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("dimensions", "dimensions"),
        ("input[0].content", "input[0].content"),
        ("a prose of CANARY", None),
        ("CANARY" * 11, None),
        ("", None),
        (7, None),
        (None, None),
    ],
)
def test_the_field_that_an_upstream_objects_to_is_named_where_it_is_a_path(
    gate: Callable[..., Any], said: object, shown: str | None
) -> None:
    opened = gate()
    error = {"code": "invalid_value", "param": said}
    opened.upstream.script.append(UpstreamAnswer(400, {"error": error}))

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["param"]) == (400, shown)
    assert "CANARY" not in str(reply.body)


@pytest.mark.parametrize("output", [0, 5])
def test_a_usage_without_input_is_no_count_and_takes_the_full_hold(
    gate: Callable[..., Any], answer: Any, output: int
) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": output, "total_tokens": output}
    opened = gate()
    opened.upstream.script += [answer(usage=nothing)]

    spend = opened.chat().body["spend"]

    assert spend["usage_source"] == "reserved"
    assert spend["cost_usd"] == spend["reserved_usd"] != "0.000000000"
