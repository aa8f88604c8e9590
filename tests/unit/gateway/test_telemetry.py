"""What those who watch hear of calls: every end and every refusal, and never a prompt."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.unit.gateway.slow_upstream import SlowUpstream, asked, run_on_loop
from tests.unit.gateway.watcher import Watcher

from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.ports import UpstreamAnswer, UpstreamNotSent
from spendgate.gateway.wire import CHAT

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def test_an_answered_call_is_reported_with_its_figures(gate: Callable[..., Any]) -> None:
    watcher = Watcher()
    opened = gate(telemetry=watcher)

    reply = opened.chat(temperature=0.5, seed=7, own={"session": "s-1", "tags": {"prompt": "x"}})

    (report,) = watcher.reports
    assert watcher.outcomes == ["admitted"]
    assert report.hold_id == f"{reply.body['spend']['request_id']}#1"
    assert (report.model_requested, report.model, report.status) == ("big", "big", 200)
    assert report.scopes == {"user": "alice", "session": "s-1"}
    assert report.tags == {"prompt": "x"}
    assert report.parameters == {"temperature": 0.5, "seed": 7}
    assert report.max_tokens_granted == 100
    assert report.usage is not None
    assert (report.usage.input_tokens, report.usage.output_tokens) == (20, 5)
    assert report.cost_nano == opened.spent_nano
    assert report.budget_ids == ("users",)
    assert (report.response_id, report.finish_reasons) == ("chatcmpl-1", ("stop",))


def test_a_call_that_its_caller_made_is_reported_once_when_it_is_settled(
    gate: Callable[..., Any],
) -> None:
    watcher = Watcher()
    opened = gate(telemetry=watcher)
    hold = opened.chat(own={"operation": "reserve"}).body["hold_id"]
    settle = {"operation": "settle", "hold_id": hold, "usage": USAGE}

    for _ in range(2):
        opened.send({"custom_inputs": settle})

    (report,) = watcher.reports
    assert watcher.outcomes == ["admitted"]
    assert (report.route, report.model, report.usage_source) == (CHAT, "big", "reported")
    assert report.cost_nano == opened.spent_nano > 0
    assert report.scopes == {"user": "alice"}


def test_a_report_has_neither_prompt_nor_answer(
    gate: Callable[..., Any], upstream: Any, answer: Callable[..., Any]
) -> None:
    watcher = Watcher()
    upstream.script.append(answer(content="the secret answer"))

    gate(telemetry=watcher).chat(messages=[{"role": "user", "content": "the secret question"}])

    (report,) = watcher.reports
    assert "secret" not in repr(report)


def test_a_refusal_is_named_and_ends_nothing(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    watcher = Watcher()
    opened = gate(budget(limit_usd="0.000001"), telemetry=watcher)

    opened.chat()
    opened.chat(own={"model": "nobody-prices-this"})
    opened.chat(max_tokens="many")

    assert watcher.outcomes == ["budget_exhausted", "model_not_priced", "invalid_request"]
    assert watcher.reports == []


def test_a_replay_is_told_apart_from_a_call(gate: Callable[..., Any]) -> None:
    watcher = Watcher()
    opened = gate(telemetry=watcher)

    for _ in range(2):
        opened.chat(own={"idempotency_key": "k"})

    assert watcher.outcomes == ["admitted", "replayed"]
    assert len(watcher.reports) == 1


def test_no_answer_waits_for_its_report(gate: Callable[..., Any], answer: Any) -> None:
    watcher = Watcher()
    opened = gate(telemetry=watcher)

    async def scenario(gateway: AsyncGateway, upstream: SlowUpstream) -> int:
        upstream.go.set()
        await gateway.handle(asked())
        return len(watcher.reports)

    assert run_on_loop(opened, scenario, answer=answer, at_once=True) == 0
    assert [one.status for one in watcher.reports] == [200]
    assert watcher.outcomes == ["admitted"]


def test_each_attempt_is_reported(gate: Callable[..., Any], upstream: Any) -> None:
    watcher = Watcher()
    opened = gate(telemetry=watcher)
    upstream.script.append(UpstreamNotSent("no route"))

    opened.chat()

    (report,) = watcher.reports
    assert (report.status, report.cost_nano, report.usage) == (502, 0, None)
    assert report.usage_source is None  # which `reserved` would say: charged in full


def test_an_upstreams_code_is_reported_and_its_prose_is_not(
    gate: Callable[..., Any], upstream: Any
) -> None:
    watcher = Watcher()
    opened = gate(telemetry=watcher)
    body: Mapping[str, Any] = {"error": {"code": "overloaded", "message": "your prompt was: hi"}}
    upstream.script.append(UpstreamAnswer(429, body))

    opened.chat()

    (report,) = watcher.reports
    assert report.error_code == "overloaded"
    assert "your prompt" not in repr(report)


def test_who_does_not_watch_gets_no_reports(gate: Callable[..., Any]) -> None:
    watcher = Watcher(is_watching=False)

    gate(telemetry=watcher).chat()

    assert watcher.outcomes == ["admitted"]
    assert watcher.reports == []
