"""A call that fits once calls in flight have settled waits for them, but not for long."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from spendgate.domain.budget import Policy
from spendgate.domain.decision import Refused


def test_a_waiting_call_is_admitted_when_another_settles(
    gate: Callable[..., Any], budget: Callable[..., Any], answer: Any
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False), held_wait_seconds=60.0)
    is_running, may_end = threading.Event(), threading.Event()

    def hang(_body: object) -> Any:
        is_running.set()
        assert may_end.wait(60)
        return answer()

    opened.upstream.script.append(hang)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(opened.chat)
        assert is_running.wait(60)
        second = pool.submit(opened.chat)
        assert len(opened.upstream.bodies) == 1
        may_end.set()

        assert first.result().status == 200
        assert second.result().status == 200
    assert (opened.spent_nano, opened.held_nano) == (2 * 135_000, 0)


def test_scenario_22_a_raised_limit_admits_a_call_that_waits(
    gate: Callable[..., Any], budget: Callable[..., Any], answer: Any
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False), held_wait_seconds=60.0)
    is_waiting = threading.Event()
    reserve = opened.ledger.reserve

    def watching(requests: Any) -> Any:
        (verdict,) = reserve(requests)
        if isinstance(verdict, Refused):
            is_waiting.set()
        return [verdict]

    def raise_meanwhile(_body: object) -> Any:
        second = pool.submit(opened.chat)
        assert is_waiting.wait(60)
        opened.ledger.policies.put_budgets([budget(limit_usd=10)])
        assert second.result().status == 200
        return answer()

    opened.failing.reserve = watching
    opened.upstream.script.append(raise_meanwhile)

    with ThreadPoolExecutor(1) as pool:
        assert opened.chat().status == 200


def test_without_a_wait_the_refusal_comes_after_one_look(
    gate: Callable[..., Any], budget: Callable[..., Any], answer: Any
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False), held_wait_seconds=60.0)
    opened.ledger.policies.import_policy(
        _with_wait(opened.ledger.policies.policy(), seconds=0.0)  # the policy outranks the setting
    )
    looks: list[str] = []
    reserve = opened.ledger.reserve

    def counting(requests: Any) -> Any:
        looks.append(requests[0].hold_id)
        return reserve(requests)

    def meanwhile(_body: object) -> Any:
        refused = opened.chat()
        assert refused.body["error"]["code"] == "budget_held"
        return answer()

    opened.failing.reserve = counting
    opened.upstream.script.append(meanwhile)
    opened.chat()

    assert looks.count("call-2#1") == 1


def test_a_wait_ends_with_a_refusal_when_nothing_is_released(
    gate: Callable[..., Any], budget: Callable[..., Any], answer: Any
) -> None:
    opened = gate(budget(limit_usd="0.003", fit=False), held_wait_seconds=0.12)
    looks: list[str] = []
    reserve = opened.ledger.reserve

    def counting(requests: Any) -> Any:
        looks.append(requests[0].hold_id)
        return reserve(requests)

    def meanwhile(_body: object) -> Any:
        assert opened.chat().body["error"]["code"] == "budget_held"
        return answer()

    opened.failing.reserve = counting
    opened.upstream.script.append(meanwhile)
    opened.chat()

    # 0.12 s hold at most three waits of 0.05 s, so it looked at most four times.
    assert 2 <= looks.count("call-2#1") <= 4
    assert [record.code for record in opened.decisions] == ["budget_held"]


def test_a_burst_of_threads_never_passes_the_limit_and_uses_nearly_all_of_it(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    # Each call costs 135 µUSD and holds about 2,000; the limit pays for 22 calls and one hold.
    opened = gate(budget(limit_usd="0.005"), held_wait_seconds=60.0)

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: opened.chat(), range(60)))

    paid = sum(reply.status == 200 for reply in replies)
    assert opened.spent_nano == paid * 135_000 <= 5_000_000
    assert opened.held_nano == 0
    assert len(opened.upstream.bodies) == paid >= 20
    assert {reply.status for reply in replies} <= {200, 402}
    assert opened.ledger.audit().problems == ()


def _with_wait(policy: Policy, *, seconds: float) -> Policy:
    return replace(policy, defaults=replace(policy.defaults, held_wait_seconds=seconds))
