"""Which of the policy's servers a call goes to, and what that means for its money."""

from collections.abc import Callable
from typing import Any

from tests.unit.gateway.two_phases import held

from spendgate.domain.hold import EventKind
from spendgate.gateway.ports import UpstreamAnswer

FAILED = UpstreamAnswer(503, None)


def nano(usd: str) -> int:
    return round(float(usd) * 10**9)


def test_a_server_that_is_known_not_to_bill_5xx_is_believed(gate: Callable[..., Any]) -> None:
    servers = {"honest": {"url": "http://h.example", "bills_5xx": False}}
    opened = gate(upstreams=servers)
    opened.servers["honest"].script.append(FAILED)

    assert opened.chat().status == 503
    assert opened.spent_nano == 0


def test_a_call_is_priced_in_the_geography_of_its_server(gate: Callable[..., Any]) -> None:
    near = {"url": "http://near.example", "geo": "in_geo", "models": ["mid"]}
    opened = gate(upstreams={"near": near})
    opened.ledger.policies.put_price(
        '{"model": "mid", "geo": "in_geo", "effective_from": "2026-01-01T00:00:00Z",'
        ' "source": "test", "usd_per_million": {"input": "10", "output": "50"}}'
    )

    spend = opened.chat(own={"model": "mid"}).body["spend"]

    (event,) = opened.events
    assert event.facts.geo == "in_geo"
    assert nano(spend["cost_usd"]) == 20 * 10_000 + 5 * 50_000 == event.cost_nano


def test_a_hold_outlives_the_time_out_of_its_server(
    gate: Callable[..., Any], clock: Any, answer: Any
) -> None:
    slow = {"slow": {"url": "http://slow.example", "timeout_seconds": 900}}
    opened = gate(upstreams=slow, hold_seconds=60)

    def late(_body: object) -> UpstreamAnswer:
        clock.advance(seconds=899)
        assert opened.ledger.sweep(clock()) == 0
        return answer()

    opened.servers["slow"].script.append(late)

    assert opened.chat().status == 200
    assert [event.kind for event in opened.events] == [EventKind.SETTLED]


def test_a_hold_lasts_half_a_minute_longer_than_the_call_it_pays_for(
    gate: Callable[..., Any],
) -> None:
    slow = {"slow": {"url": "http://slow.example", "timeout_seconds": 900}}

    hold = held(gate(upstreams=slow, hold_seconds=60))

    assert hold["expires_at"] == "2026-03-10T12:15:30Z"


def test_models_without_a_server_go_to_the_hosts_own(gate: Callable[..., Any]) -> None:
    only_mid = {"mine": {"url": "http://mine.example", "models": ["mid"]}}
    opened = gate(upstreams=only_mid)

    opened.chat()
    opened.chat(own={"model": "mid"})

    assert [body["model"] for body in opened.upstream.bodies] == ["big"]
    assert [body["model"] for body in opened.servers["mine"].bodies] == ["mid"]


def test_a_model_that_nobody_serves_is_refused(gate: Callable[..., Any]) -> None:
    only_mid = {"mine": {"url": "http://mine.example", "models": ["mid"]}}
    opened = gate(upstreams=only_mid, has_default=False)

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["code"]) == (403, "model_forbidden")
    assert "no upstream of the policy serves this model" in reply.body["error"]["message"]
    assert opened.spent_nano == opened.held_nano == 0


def test_a_server_named_like_the_hosts_own_is_told_apart(gate: Callable[..., Any]) -> None:
    opened = gate(upstreams={"fake": {"url": "http://mine.example", "models": ["mid"]}})

    opened.chat()
    opened.chat(own={"model": "mid"})

    assert [event.facts.upstream for event in opened.events] == ["fake (--upstream)", "fake"]
    assert [body["model"] for body in opened.upstream.bodies] == ["big"]


def test_a_budget_steps_down_to_a_model_of_another_server(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(
        budget(soft_cap=0.000001, auto_downgrade=[{"from": ["big"], "to": "small"}]),
        upstreams={
            "one": {"url": "http://one.example", "models": ["big"]},
            "two": {"url": "http://two.example", "models": ["small"]},
        },
    )

    assert opened.chat().body["spend"]["decision"] == "downgrade"
    (event,) = opened.events
    assert (event.facts.model, event.facts.upstream) == ("small", "two")
    assert [body["model"] for body in opened.servers["two"].bodies] == ["small"]
