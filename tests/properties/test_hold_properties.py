"""What holds for every sequence of ends that a hold can be given."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from spendgate.domain.hold import (
    EventKind,
    HoldAmounts,
    HoldState,
    Movement,
    expire,
    settle,
    void,
)

amounts = st.integers(0, 10**12)


@dataclass(frozen=True)
class End:
    """One attempt to end a hold; `actual` belongs to a settlement and may be unknown."""

    verb: str
    actual: int | None = None


ends = (
    st.builds(End, st.just("settle"), st.none() | amounts)
    | st.just(End("void"))
    | st.just(End("expire"))
)
sequences = st.lists(ends, max_size=8)


def moved(amount: int, sequence: list[End]) -> tuple[HoldAmounts, list[Movement]]:
    """Try every end in turn on one hold, as a store does."""
    hold, movements = HoldAmounts(HoldState.HELD, amount), list[Movement]()
    for end in sequence:
        movement = (
            settle(hold, end.actual)
            if end.verb == "settle"
            else {"void": void, "expire": expire}[end.verb](hold)
        )
        if movement is not None:
            hold = HoldAmounts(movement.state, amount, movement.charged_nano)
            movements.append(movement)
    return hold, movements


def expected_charge(amount: int, sequence: list[End]) -> int:
    """Say what a hold costs in the end: its first end, and the first evidence after an expiry."""
    if not sequence or sequence[0].verb == "void":
        return 0
    first, *later = sequence
    if first.verb == "settle":
        return amount if first.actual is None else first.actual
    evidence = [end.actual for end in later if end.verb == "settle" and end.actual is not None]
    return evidence[0] if evidence else amount


@given(amounts, sequences)
def test_the_movements_of_a_hold_add_up_to_its_charge(amount: int, sequence: list[End]) -> None:
    hold, movements = moved(amount, sequence)

    spent = sum(movement.spent_delta_nano for movement in movements)
    assert spent == hold.charged_nano == expected_charge(amount, sequence)


@given(amounts, sequences)
def test_what_is_held_is_released_once_and_whole(amount: int, sequence: list[End]) -> None:
    _, movements = moved(amount, sequence)

    held = amount
    for movement in movements:
        held += movement.held_delta_nano
        assert held == 0
    assert bool(movements) == bool(sequence)


@given(amounts, sequences)
def test_spend_is_never_negative_on_the_way(amount: int, sequence: list[End]) -> None:
    _, movements = moved(amount, sequence)

    spent = 0
    for movement in movements:
        spent += movement.spent_delta_nano
        assert spent == movement.charged_nano >= 0


@given(amounts, sequences)
def test_the_first_end_wins_unless_evidence_corrects_an_expiry(
    amount: int, sequence: list[End]
) -> None:
    _, movements = moved(amount, sequence)

    kinds = [movement.kind for movement in movements]
    first = {"settle": EventKind.SETTLED, "void": EventKind.VOIDED, "expire": EventKind.EXPIRED}
    assert kinds[:1] == [first[end.verb] for end in sequence[:1]]
    assert kinds[1:] in ([], [EventKind.CORRECTED])
    if kinds[1:]:
        assert kinds[0] is EventKind.EXPIRED


@given(amounts, sequences)
def test_an_expiry_never_makes_room(amount: int, sequence: list[End]) -> None:
    _, movements = moved(amount, sequence)

    for movement in movements:
        if movement.kind is EventKind.EXPIRED:
            assert movement.spent_delta_nano + movement.held_delta_nano == 0


@given(amounts, sequences)
def test_an_overrun_is_told_exactly_when_more_is_spent_than_was_set_aside(
    amount: int, sequence: list[End]
) -> None:
    hold, movements = moved(amount, sequence)

    assert any(movement.is_overrun for movement in movements) == (hold.charged_nano > amount)
