"""A ledger that is away: nothing is sent without a hold, and nothing paid for is lost."""

from collections.abc import Callable
from typing import Any

import pytest

from spendgate.domain.hold import EventKind
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError
from spendgate.gateway.ports import UpstreamLost, UpstreamNotSent

ERRORS = [LedgerUnavailableError("away"), LedgerBrokenError("damaged")]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("verb", ["reserve", "policies"])
def test_without_a_reservation_nothing_is_sent(
    gate: Callable[..., Any], verb: str, error: Exception
) -> None:
    opened = gate()
    opened.failing.break_down(verb, error=error)

    reply = opened.chat()

    assert (reply.status, reply.body["error"]["code"]) == (503, "ledger_unavailable")
    assert opened.upstream.bodies == []
    assert opened.held_nano == 0


def test_an_error_of_the_ledger_is_not_shown_to_the_caller(gate: Callable[..., Any]) -> None:
    opened = gate()
    opened.failing.break_down("reserve", error=LedgerUnavailableError("postgres://user:SECRET@db"))

    assert "SECRET" not in str(opened.chat().body)


@pytest.mark.parametrize("error", ERRORS)
def test_an_answer_is_delivered_although_its_settlement_has_to_wait(
    gate: Callable[..., Any], error: Exception
) -> None:
    opened = gate()
    opened.failing.break_down("settle", "positions", error=error)

    reply = opened.chat()

    assert reply.status == 200
    assert reply.body["spend"]["cost_usd"] == "0.000135000"
    assert reply.body["spend"]["budgets"][0]["spent_usd"] == "0.000000000"
    assert opened.spent_nano == 0
    assert opened.held_nano > 0


def test_a_settlement_says_itself_where_its_budgets_stand(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(), budget(id="all", scope={}, window="lifetime"))
    opened.chat()
    opened.failing.break_down("positions")

    shown = opened.chat().body["spend"]["budgets"]

    assert [(one["spent_usd"], one["held_usd"]) for one in shown] == [
        ("0.000270000", "0.000000000")
    ] * 2


def test_a_budget_that_looks_at_other_windows_too_is_read_after_a_settlement(
    gate: Callable[..., Any], budget: Callable[..., Any], clock: Any
) -> None:
    opened = gate(budget(window={"rolling": "24h"}))
    opened.chat()
    clock.advance(hours=2)

    (shown,) = opened.chat().body["spend"]["budgets"]

    assert shown["spent_usd"] == "0.000270000"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("verb", "outcome", "kind"),
    [
        ("settle", None, EventKind.SETTLED),
        ("void", UpstreamNotSent("ConnectError"), EventKind.VOIDED),
        ("expire", UpstreamLost("ReadTimeout"), EventKind.EXPIRED),
    ],
)
def test_scenario_13_what_couldnt_be_ended_is_ended_late_and_once(
    gate: Callable[..., Any], verb: str, outcome: Any, kind: EventKind, error: Exception
) -> None:
    opened = gate()
    for _ in range(3):
        if outcome is not None:
            opened.upstream.script.append(outcome)
        opened.failing.break_down(verb, error=error)
        opened.chat()

    assert opened.gateway.settle_late() == 3
    opened.failing.break_down()
    assert opened.gateway.settle_late() == 0
    assert opened.gateway.settle_late() == 0

    assert [event.kind for event in opened.events] == [kind] * 3
    assert opened.held_nano == 0


def test_a_late_settlement_corrects_what_expired_meanwhile(
    gate: Callable[..., Any], clock: Any
) -> None:
    opened = gate(hold_seconds=60)
    opened.failing.break_down("settle")
    opened.chat()

    clock.advance(seconds=61)
    opened.ledger.sweep(clock())
    opened.failing.break_down()
    opened.gateway.settle_late()

    assert (opened.spent_nano, opened.held_nano) == (135_000, 0)


def test_an_answer_goes_out_without_its_decision_record(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    chain = [{"from": ["big"], "to": "small"}]
    opened = gate(budget(soft_cap=0.0001, auto_downgrade=chain))
    opened.failing.break_down("record")

    assert opened.chat().body["spend"]["decision"] == "downgrade"
    assert opened.decisions == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, LedgerBrokenError])
def test_a_hold_whose_call_never_got_ready_is_voided(
    gate: Callable[..., Any], budget: Callable[..., Any], end: type[BaseException]
) -> None:
    chain = [{"from": ["big"], "to": "small"}]
    opened = gate(budget(soft_cap=0.0001, auto_downgrade=chain))
    opened.failing.failing = {"record": end("now")}

    if end is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            opened.chat()
    else:
        assert opened.chat().status == 503

    assert opened.upstream.bodies == []
    assert [event.kind for event in opened.events] == [EventKind.VOIDED]
    assert opened.held_nano == 0
