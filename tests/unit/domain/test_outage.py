"""Calls without a ledger: who lets them out, and what is booked for them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.budget import BalanceKey, Budget, Claim, Mode
from spendgate.domain.decision import Candidate, Granted
from spendgate.domain.event import CallFacts, Charge
from spendgate.domain.hold import EventKind, HoldState
from spendgate.domain.outage import ended, granted_without_ledger, unheld_call
from spendgate.domain.reservation import ReserveRequest
from spendgate.domain.scope import Scope
from spendgate.domain.window import Window, WindowKind, WindowSpec

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=320)
SCOPE = Scope.of({"team": "support"})
MODEL = Candidate("large", 100_000, 10_000, 100, expected_nano=300, price_version="v1")

budgets = st.lists(
    st.tuples(st.sampled_from(["allow", "refuse"]), st.sampled_from(list(Mode))), max_size=4
)


def request(*said: tuple[str, Mode]) -> ReserveRequest:
    window = WindowSpec(WindowKind.LIFETIME)
    claims = [
        Claim(
            Budget(f"b{number}", SCOPE, 1, window, on_store_error=one, mode=mode),
            SCOPE,
            Window("*", None, None, None),
            1,
        )
        for number, (one, mode) in enumerate(said)
    ]
    facts = CallFacts(1, NOON, {"team": "support"}, "large", "large", "s", "global", "v1", "", ())
    return ReserveRequest("r#1", "f", tuple(claims), {"large": MODEL}, "large", facts, 1, LATER)


@given(said=budgets)
def test_a_call_goes_out_only_if_some_budget_binds_and_each_that_does_says_so(
    said: list[tuple[str, Mode]],
) -> None:
    binding = [one for one, mode in said if mode is Mode.ENFORCE]

    granted = granted_without_ledger(request(*said))

    assert (granted is not None) == (bool(binding) and set(binding) == {"allow"})


def sent() -> tuple[ReserveRequest, Granted]:
    asked = request(("allow", Mode.ENFORCE), ("refuse", Mode.SHADOW))
    granted = granted_without_ledger(asked)
    assert granted is not None
    return asked, granted


def test_until_it_ends_a_call_is_due_at_its_worst_case_when_its_hold_would_expire() -> None:
    asked, granted = sent()

    call = unheld_call(asked, granted, NOON)

    assert (call.end, call.due_at) == (HoldState.EXPIRED, LATER)
    assert call.booking.amount_nano == granted.amount_nano == 1100
    assert call.booking.kind is EventKind.EXPIRED
    keys = (BalanceKey("b0", "support", "*"), BalanceKey("b1", "support", "*"))
    assert call.booking.keys == keys
    assert call.booking.facts.decision == "allow"


@given(cost=st.integers(0, 10**12))
def test_a_call_that_ended_is_due_at_once_at_what_it_cost(cost: int) -> None:
    call = unheld_call(*sent(), NOON)

    final = ended(call, HoldState.SETTLED, Charge(cost_nano=cost), LATER)

    assert (final.booking.amount_nano, final.booking.kind) == (cost, EventKind.SETTLED)
    assert (final.end, final.due_at) == (HoldState.SETTLED, LATER)
    assert final.booking.keys == call.booking.keys


def test_a_call_of_unknown_cost_is_booked_at_its_worst_case() -> None:
    call = unheld_call(*sent(), NOON)

    settled = ended(call, HoldState.SETTLED, Charge(), LATER)
    expired = ended(call, HoldState.EXPIRED, Charge(), LATER)

    assert settled.booking.amount_nano == expired.booking.amount_nano == 1100
    kinds = (settled.booking.kind, expired.booking.kind)
    assert kinds == (EventKind.SETTLED, EventKind.EXPIRED)


def test_whoever_books_a_call_books_it_under_its_holds_id_with_the_same_fingerprint() -> None:
    call = unheld_call(*sent(), NOON)
    final = ended(call, HoldState.SETTLED, Charge(cost_nano=5), LATER)

    assert call.adjustment.hold_id == final.adjustment.hold_id == "r#1"
    assert call.adjustment.fingerprint == final.adjustment.fingerprint
    assert "on_store_error" in final.adjustment.reason
