"""The gate notes each budget whose money is gone, once, by the name that the job gives it too."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from spendgate.domain.alert import AlertKey, AlertKind, period_of
from spendgate.domain.budget import Budget, Claim, Mode
from spendgate.domain.decision import Position
from spendgate.domain.window import window_at
from spendgate.gateway.hard_stops import KNOWN_MAX, WAITING_MAX, HardStops


def test_a_refusal_notes_its_budget_once_per_window(
    gate: Callable[..., Any], budget: Callable[..., Any], clock: Any
) -> None:
    opened = gate(budget(limit_usd="0.0003"), budget(id="rich", scope={}))

    for _ in range(2):
        assert opened.chat().body["error"]["code"] == "budget_exhausted"

    (stop,) = opened.gateway.stops.take()
    start = datetime(2026, 3, 10, tzinfo=clock().tzinfo)
    key = AlertKey(AlertKind.HARD_STOP, "users", "alice", period_of(start), 10**6)
    assert (stop.alert_id, stop.kind) == (key.alert_id, AlertKind.HARD_STOP)
    assert (stop.scope, stop.scope_value, stop.window) == ("user", "alice", "day")
    assert (stop.window_start, stop.window_end) == (start, start + timedelta(days=1))
    assert (stop.limit_nano, stop.spent_nano) == (300_000, 0)
    assert opened.gateway.stops.take() == []
    clock.advance(days=1)
    opened.chat()
    assert len(opened.gateway.stops.take()) == 1


def test_the_call_that_takes_the_last_money_notes_its_budget_at_its_end(
    gate: Callable[..., Any], budget: Callable[..., Any], upstream: Any, answer: Callable[..., Any]
) -> None:
    opened = gate(budget(limit_usd="0.003"))
    greedy = {"prompt_tokens": 20, "completion_tokens": 1000, "total_tokens": 1020}
    upstream.script.append(answer(greedy))

    assert opened.chat().status == 200

    (stop,) = opened.gateway.stops.take()
    assert stop.spent_nano == opened.spent_nano > 3_000_000


def position(budget: Budget, spent_nano: int, at: datetime, value: str = "u") -> Position:
    bound = replace(budget.scope, parts=(("user", value),))
    claim = Claim(budget, bound, window_at(budget.window, budget.tz, at), budget.limit_nano)
    return Position(claim, spent_nano, 0)


@pytest.mark.parametrize(("spent_nano", "mode", "count"), [
    (10**10, Mode.ENFORCE, 1), (10**10 - 1, Mode.ENFORCE, 0), (10**10, Mode.SHADOW, 0),
])  # fmt: skip
def test_only_an_enforcing_budget_without_money_stops(
    budget: Callable[..., Any], clock: Any, spent_nano: int, mode: Mode, count: int
) -> None:
    stops = HardStops()

    stops.see([position(replace(budget(), mode=mode), spent_nano, clock())], clock())

    assert len(stops.take()) == count


def test_a_burst_of_stops_and_the_memory_of_them_are_bounded(
    budget: Callable[..., Any], clock: Any
) -> None:
    stops, one = HardStops(), budget()

    for number in range(KNOWN_MAX + 1):
        stops.see([position(one, 10**10, clock(), f"u{number}")], clock())

    assert stops.take()[0].scope_value == f"u{KNOWN_MAX + 1 - WAITING_MAX}"
    stops.see([position(one, 10**10, clock(), f"u{KNOWN_MAX}")], clock())
    assert stops.take() == []
    stops.see([position(one, 10**10, clock(), "u0")], clock())
    assert len(stops.take()) == 1
