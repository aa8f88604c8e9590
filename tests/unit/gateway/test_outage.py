"""Calls while the ledger is away, for budgets that let them out, and their bookings afterwards."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spendgate.adapters.unheld_folder import UnheldFolder
from spendgate.domain.hold import EventKind
from spendgate.errors import LedgerBrokenError
from spendgate.gateway import outage
from spendgate.gateway.ports import UpstreamLost, UpstreamNotSent

AWAY = ("reserve", "settle", "void", "expire", "adjust", "positions", "policy_version")


@pytest.fixture
def folder(tmp_path: Path) -> UnheldFolder:
    return UnheldFolder(tmp_path / "home")


@pytest.fixture
def opened(gate: Callable[..., Any], budget: Callable[..., Any], folder: UnheldFolder) -> Any:
    """A gate with one budget that lets calls out, its rules read, its ledger away."""
    opened = gate(budget(bound="counted", on_store_error="allow"), unheld=folder)
    assert opened.chat().status == 200
    opened.failing.break_down(*AWAY)
    return opened


def test_a_call_goes_out_and_is_booked_once_when_the_ledger_is_back(
    opened: Any, folder: UnheldFolder
) -> None:
    reply = opened.chat()

    assert reply.status == 200
    spend = reply.body["spend"]
    assert (spend["cost_usd"], spend["ledger"], spend["budgets"]) == (
        "0.000135000",
        "unavailable",
        [],
    )
    assert opened.gateway.settle_late() == 1
    assert opened.spent_nano == 135_000

    opened.failing.break_down()
    assert (opened.gateway.settle_late(), opened.gateway.settle_late()) == (0, 0)
    assert (opened.spent_nano, opened.held_nano, folder.count()) == (270_000, 0, 0)
    booked = opened.events[-1]
    assert (booked.hold_id, booked.kind, booked.cost_nano) == (
        "call-2#1",
        EventKind.SETTLED,
        135_000,
    )
    assert booked.facts.budget_ids == ("users",)
    assert booked.charge.usage_source == "reported"
    assert "on_store_error" in booked.charge.note.reason


def test_after_the_outage_calls_are_held_again(opened: Any) -> None:
    opened.chat()
    opened.failing.break_down()
    opened.gateway.settle_late()

    spend = opened.chat().body["spend"]

    assert "ledger" not in spend
    assert spend["budgets"][0]["spent_usd"] == "0.000405000"


@pytest.mark.parametrize(
    "others",
    [
        [{"id": "strict", "scope": {"agent": "*"}}],
        [{"id": "counted", "scope": {"agent": "*"}, "bound": "counted"}],
    ],
)
def test_one_budget_that_refuses_keeps_the_call_in(
    gate: Callable[..., Any],
    budget: Callable[..., Any],
    folder: UnheldFolder,
    others: list[dict[str, Any]],
) -> None:
    allowing = budget(bound="counted", on_store_error="allow")
    opened = gate(allowing, *(budget(**one) for one in others), unheld=folder)
    opened.chat(own={"agent": "a"})
    opened.failing.break_down(*AWAY)

    reply = opened.chat(own={"agent": "a"})

    assert (reply.status, reply.body["error"]["code"]) == (503, "ledger_unavailable")
    assert len(opened.upstream.bodies) == 1
    assert opened.chat().status == 200  # not covered by the other one


def test_a_shadow_budget_lets_nothing_out_and_keeps_nothing_in(
    gate: Callable[..., Any], budget: Callable[..., Any], folder: UnheldFolder
) -> None:
    allowing = budget(bound="counted", on_store_error="allow")
    shadow = budget(id="shadow", scope={"agent": "*"}, mode="shadow")
    opened = gate(allowing, shadow, unheld=folder)
    opened.chat(own={"agent": "a"})
    opened.failing.break_down(*AWAY)

    assert opened.chat(own={"agent": "a"}).status == 200
    assert opened.chat(own={"agent": "a", "user": None}).status == 503
    opened.failing.break_down()
    opened.gateway.settle_late()
    assert opened.spent_nano == 4 * 135_000  # both budgets count both calls


def test_a_broken_ledger_is_no_outage(opened: Any) -> None:
    opened.failing.break_down("reserve", error=LedgerBrokenError("damaged"))

    assert opened.chat().status == 503


def test_a_call_that_only_the_ledger_can_tell_from_a_repeat_stays_in(opened: Any) -> None:
    assert opened.chat(own={"idempotency_key": "k"}).status == 503


def test_a_process_that_never_read_its_rules_lets_nothing_out(
    gate: Callable[..., Any], budget: Callable[..., Any], folder: UnheldFolder
) -> None:
    opened = gate(budget(bound="counted", on_store_error="allow"), unheld=folder)
    opened.failing.break_down("policies", *AWAY)

    assert opened.chat().status == 503


def test_without_a_place_to_keep_calls_none_goes_out(
    gate: Callable[..., Any], budget: Callable[..., Any]
) -> None:
    opened = gate(budget(bound="counted", on_store_error="allow"))
    opened.chat()
    opened.failing.break_down(*AWAY)

    assert opened.chat().status == 503


def test_what_cant_be_kept_doesnt_go_out(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")

    assert opened.chat().status == 503
    assert len(opened.upstream.bodies) == 1


def test_no_more_calls_go_out_than_can_be_kept(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "UNHELD_MAX", 2)

    assert [opened.chat().status for _ in range(3)] == [200, 200, 503]


def test_a_call_that_is_booked_makes_room_for_another(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "UNHELD_MAX", 2)
    assert [opened.chat().status for _ in range(2)] == [200, 200]
    opened.failing.break_down()
    assert opened.gateway.settle_late() == 0

    opened.failing.break_down(*AWAY)

    assert [opened.chat().status for _ in range(3)] == [200, 200, 503]


def test_a_call_that_was_never_billed_books_nothing(opened: Any, folder: UnheldFolder) -> None:
    opened.upstream.script.append(UpstreamNotSent("ConnectError"))
    assert opened.chat().status == 502
    opened.failing.break_down()

    assert opened.gateway.settle_late() == 0
    assert (opened.spent_nano, folder.count()) == (135_000, 0)


def test_an_unknown_end_books_the_worst_case(opened: Any) -> None:
    opened.upstream.script.append(UpstreamLost("ReadTimeout"))
    opened.chat()
    opened.failing.break_down()
    opened.gateway.settle_late()

    booked = opened.events[-1]
    assert booked.kind is EventKind.EXPIRED
    assert booked.cost_nano > 100 * 15_000  # all of its output at least


def test_a_reserve_that_reached_the_ledger_after_all_is_settled_and_not_booked_twice(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reserve_and_lose(requests: Any) -> None:
        opened.ledger.reserve(requests)
        raise opened.failing.failing["settle"]

    opened.failing.failing.pop("reserve")
    monkeypatch.setattr(opened.failing, "reserve", reserve_and_lose, raising=False)
    assert opened.chat().body["spend"]["ledger"] == "unavailable"
    assert opened.held_nano > 0

    opened.failing.break_down()
    opened.gateway.settle_late()

    assert (opened.spent_nano, opened.held_nano) == (270_000, 0)
    assert opened.events[-1].charge.note is None


def test_a_dead_process_leaves_its_calls_to_the_next_one_at_their_worst_case(
    gate: Callable[..., Any], budget: Callable[..., Any], opened: Any, folder: UnheldFolder
) -> None:
    opened.upstream.script.append(KeyboardInterrupt())
    opened.failing.failing.pop("policy_version")
    died: list[str] = []
    keep = folder.put

    def die_at_the_end(call: Any) -> None:
        if died:
            raise OSError(28, "No space left on device")
        died.append(call.hold_id)
        keep(call)

    folder.put = die_at_the_end  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        opened.chat()
    folder.put = keep  # type: ignore[method-assign]

    allowing = budget(bound="counted", on_store_error="allow")
    follower = gate(allowing, unheld=folder)
    assert follower.gateway.settle_late() == 0
    assert follower.spent_nano == 135_000  # it may still be in flight
    follower.clock.advance(seconds=400)
    follower.gateway.settle_late()

    assert follower.spent_nano > 100 * 15_000
    assert folder.count() == 0


def test_two_processes_that_book_the_same_call_book_it_once(
    gate: Callable[..., Any], budget: Callable[..., Any], opened: Any, folder: UnheldFolder
) -> None:
    opened.chat()
    other = gate(budget(bound="counted", on_store_error="allow"), unheld=folder)

    other.gateway.settle_late()
    opened.failing.break_down()
    opened.gateway.settle_late()

    assert opened.spent_nano == 270_000


def test_a_file_that_cant_be_read_is_told_and_left(
    opened: Any, folder: UnheldFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened.chat()
    (tmp_path / "home" / "unheld" / "x%231.json").write_text("{")
    opened.failing.break_down()

    with caplog.at_level(logging.ERROR):
        opened.gateway.settle_late()

    assert "x%231.json" in caplog.text
    assert (opened.spent_nano, folder.count()) == (270_000, 1)


def test_a_call_in_flight_when_the_ledger_is_back_is_booked_at_what_it_cost(
    opened: Any, answer: Callable[..., Any], folder: UnheldFolder
) -> None:
    waiting: list[int] = []

    def answer_after_the_outage(_body: Any) -> Any:
        opened.failing.break_down()
        waiting.append(opened.gateway.settle_late())
        return answer()

    opened.upstream.script.append(answer_after_the_outage)
    assert opened.chat().status == 200

    assert (waiting, opened.gateway.settle_late()) == ([1], 0)
    assert (opened.spent_nano, opened.held_nano, folder.count()) == (270_000, 0, 0)


def test_what_ends_after_its_worst_case_was_booked_changes_nothing(
    opened: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def answer_late(_body: Any) -> Any:
        clock.advance(seconds=400)
        opened.failing.break_down()
        opened.gateway.settle_late()
        return UpstreamLost("ReadTimeout")

    opened.upstream.script.append(answer_late)
    opened.chat()

    spent = opened.spent_nano
    assert opened.gateway.settle_late() == 0
    assert opened.spent_nano == spent > 100 * 15_000
    assert "worst case" in caplog.text
