"""Reserve on a real ledger file: all balances move or none, and a repeat moves nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from spendgate.domain.decision import Granted, RefusalCode, Refused
from spendgate.domain.hold import HoldState
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    Settled,
    StalePolicy,
)

if TYPE_CHECKING:
    from tests.integration.ledger.conftest import Till

DAY = ("day", "ann", "2026-03-14")
SIX = {
    "org": "acme",
    "team": "support",
    "agent": "triage",
    "user": "ann",
    "session": "s-1",
    "task": "t-1",
}


def test_a_call_is_held_then_charged_what_it_cost(till: "Till") -> None:
    till.budget("day", "user:ann", 100)

    granted = till.reserve("h#1", 60)
    held = till.standing()
    settled = till.settle("h#1", 25)

    assert isinstance(granted, Granted)
    assert granted.amount_nano == 60
    assert held == {DAY: (0, 60)}
    assert settled == Settled("h#1", HoldState.SETTLED, 25, moved=True)
    assert till.standing() == {DAY: (25, 0)}
    till.assert_sound()


def test_an_unknown_cost_is_charged_in_full(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    settled = till.settle("h#1", None)

    assert settled.charged_nano == 60
    assert till.standing() == {DAY: (60, 0)}


def test_reserving_twice_holds_once(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    again = till.reserve("h#1", 60)

    assert again == AlreadyReserved(HoldState.HELD, 60, 0, "m")
    assert till.standing() == {DAY: (0, 60)}


def test_reserving_again_after_the_end_answers_what_became_of_the_hold(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    for name in ("paid", "gone", "late"):
        till.reserve(name, 10)
    till.settle("paid", 4)
    till.void("gone")
    till.expire("late")

    answers = [till.reserve(name, 10) for name in ("paid", "gone", "late")]

    assert answers == [
        AlreadyReserved(HoldState.SETTLED, 10, 4, "m"),
        AlreadyReserved(HoldState.VOIDED, 10, 0, "m"),
        AlreadyReserved(HoldState.EXPIRED, 10, 10, "m"),
    ]
    assert till.standing() == {DAY: (14, 0)}


def test_a_hold_id_with_another_body_is_a_conflict_and_moves_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)

    verdict = till.reserve("h#1", 30, fingerprint="another body")

    assert verdict == FingerprintConflict()
    assert till.standing() == {DAY: (0, 60)}


def test_ids_within_one_batch_are_told_apart_too(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    one = till.request("h#1", 60)

    verdicts = till.ledger.reserve([one, one, replace(one, fingerprint="another body")])

    assert isinstance(verdicts[0], Granted)
    assert verdicts[1:] == [AlreadyReserved(HoldState.HELD, 60, 0, "m"), FingerprintConflict()]


def test_a_request_under_an_old_policy_is_told_so_and_moves_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 60)
    till.budget("other", "org:acme", 5)

    (verdict,) = till.ledger.reserve([request])

    assert verdict == StalePolicy(till.ledger.policy_version())
    assert till.standing() == {}


def test_an_old_policy_moves_nothing_in_balances_that_are_there_either(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    first, second = till.request("h#1", 60), till.request("h#2", 10)
    till.ledger.reserve([first])
    before = till.standing()
    till.budget("other", "org:acme", 5)

    (verdict,) = till.ledger.reserve([second])

    assert verdict == StalePolicy(till.ledger.policy_version())
    assert till.standing() == before


def test_a_repeat_is_answered_even_if_the_money_is_gone_meanwhile(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    first, second = till.request("h#1", 60), till.request("h#2", 40)
    till.ledger.reserve([first, second])

    (verdict,) = till.ledger.reserve([first])

    assert verdict == AlreadyReserved(HoldState.HELD, 60, 0, "m")


def test_a_repeat_is_answered_even_if_the_policy_changed_meanwhile(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    request = till.request("h#1", 60)
    till.ledger.reserve([request])
    till.budget("other", "org:acme", 5)

    (verdict,) = till.ledger.reserve([request])

    assert verdict == AlreadyReserved(HoldState.HELD, 60, 0, "m")


@pytest.mark.parametrize("short", SIX)
def test_scenario_20_one_short_budget_of_six_refuses_and_nothing_moves_anywhere(
    till: "Till", short: str
) -> None:
    for name, value in SIX.items():
        till.budget(f"{name}-day", f"{name}:{value}", 100)
    till.reserve("first", 10, scopes=SIX)
    till.reserve("other", 50, scopes={short: SIX[short]})
    before = till.standing()

    verdict = till.reserve("second", 41, scopes=SIX)

    assert isinstance(verdict, Refused)
    assert verdict.binding.claim.budget.budget_id == f"{short}-day"
    assert till.standing() == before
    assert till.ledger.audit().holds_open == 2


def test_all_six_budgets_move_together(till: "Till") -> None:
    for name, value in SIX.items():
        till.budget(f"{name}-day", f"{name}:{value}", 100)

    till.reserve("h#1", 30, scopes=SIX)
    held = set(till.standing().values())
    till.settle("h#1", 12)

    assert held == {(0, 30)}
    assert len(till.standing()) == 6
    assert set(till.standing().values()) == {(12, 0)}


def test_a_new_wildcard_value_gets_its_balance_inside_the_reserve(till: "Till") -> None:
    till.budget("each-session", "session:*", 100)

    till.reserve("h#1", 60, scopes={"session": "s-1"})
    till.reserve("h#2", 70, scopes={"session": "s-2"})

    assert till.standing() == {
        ("each-session", "s-1", "2026-03-14"): (0, 60),
        ("each-session", "s-2", "2026-03-14"): (0, 70),
    }


def test_a_refusal_leaves_no_row_for_an_unseen_wildcard_value(till: "Till") -> None:
    till.budget("each-session", "session:*", 100)
    till.budget("org", "org:acme", 10)

    verdict = till.reserve("h#1", 60, scopes={"session": "s-1", "org": "acme"})

    assert isinstance(verdict, Refused)
    assert till.standing() == {}


def test_scenario_19_the_last_cent_can_be_spent_and_no_more(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 99)
    till.settle("h#1", 99)

    last = till.reserve("h#2", 1)
    beyond = till.reserve("h#3", 1)

    assert isinstance(last, Granted)
    assert isinstance(beyond, Refused)
    assert beyond.code is RefusalCode.HELD
    till.settle("h#2", 1)
    gone = till.reserve("h#4", 1)
    assert isinstance(gone, Refused)
    assert gone.code is RefusalCode.EXHAUSTED


def test_a_batch_cannot_hold_the_same_money_twice(till: "Till") -> None:
    till.budget("day", "user:ann", 100)

    first, second = till.ledger.reserve([till.request("h#1", 60), till.request("h#2", 60)])

    assert isinstance(first, Granted)
    assert isinstance(second, Refused)
    assert till.standing() == {DAY: (0, 60)}


def test_a_batch_that_fails_leaves_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    broken = replace(till.request("h#2", 10), model="unknown")

    with pytest.raises(KeyError):
        till.ledger.reserve([till.request("h#1", 60), broken])

    assert till.standing() == {}
    assert isinstance(till.reserve("h#1", 60), Granted)


def test_a_call_without_budgets_is_journalled_too(till: "Till") -> None:
    till.reserve("h#1", 60, scopes={})

    settled = till.settle("h#1", 25)

    assert settled.charged_nano == 25
    assert till.standing() == {}
    assert till.ledger.audit().spent_nano == 25
    till.assert_sound()


def test_a_hold_settled_after_midnight_is_spent_on_the_day_it_was_reserved(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    before = till.noon.replace(hour=23, minute=59, second=59, microsecond=900_000)
    after = before + timedelta(seconds=2)
    till.reserve("h#1", 100, at=before)

    next_day = till.reserve("h#2", 100, at=after)
    till.settle("h#1", 80, at=after)

    assert isinstance(next_day, Granted)
    assert till.standing() == {DAY: (80, 0), ("day", "ann", "2026-03-15"): (0, 100)}
    batch = till.ledger.outbox.claim_batch(1)
    assert batch is not None
    assert batch.events[0].facts.occurred_at == before
    assert batch.events[0].recorded_at == after


def test_scenario_21_a_lowered_limit_honours_holds_and_admits_nothing(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.reserve("h#1", 60)
    till.budget("day", "user:ann", 50)

    refused = till.reserve("h#2", 1)

    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.HELD
    assert till.settle("h#1", 40).moved
    assert isinstance(till.reserve("h#2", 10), Granted)


def test_a_rolling_window_frees_what_is_older_than_it(till: "Till") -> None:
    till.budget("hour", "user:ann", 100, "rolling:60m")
    till.reserve("h#1", 60)
    till.settle("h#1", 60, at=till.noon + timedelta(minutes=30))

    within = till.reserve("h#2", 50, at=till.noon + timedelta(minutes=59, seconds=59))
    fitting = till.reserve("h#3", 40, at=till.noon + timedelta(minutes=59, seconds=59))
    after = till.reserve("h#4", 60, at=till.noon + timedelta(minutes=61))

    assert isinstance(within, Refused)
    assert isinstance(fitting, Granted)
    assert isinstance(after, Granted)
    till.assert_sound()


def test_many_rolling_budgets_at_once_see_all_their_buckets(till: "Till") -> None:
    # 20 x 61 balances: more than one query reads.
    for number in range(20):
        till.budget(f"hour-{number:02}", "user:ann", 100 + number, "rolling:60m")
    for minute in range(0, 50, 10):
        till.reserve(f"h{minute}", 20, at=till.noon + timedelta(minutes=minute))

    verdict = till.reserve("full", 1, at=till.noon + timedelta(minutes=50))

    assert isinstance(verdict, Refused)
    assert {one.held_nano for one in verdict.positions} == {100}
    assert verdict.binding.claim.budget.budget_id == "hour-00"


def test_positions_say_where_budgets_stand_without_holding_anything(till: "Till") -> None:
    till.budget("day", "user:ann", 100)
    till.budget("unseen", "org:acme", 10)
    till.reserve("h#1", 60)
    till.settle("h#1", 25)
    till.reserve("h#2", 30)

    positions = till.ledger.positions(till.claims({"user": "ann", "org": "acme"}))

    assert [(p.spent_nano, p.held_nano, p.available_nano) for p in positions] == [
        (25, 30, 45),
        (0, 0, 10),
    ]
